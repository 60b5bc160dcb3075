"""The forward process z_t = alpha(t) z_0 + sigma(t) eps, variance preserving, and the times a solver visits.

Time t runs over [0,1]: 0 is data, 1 is (almost) pure noise. As an SDE (Song et al., arXiv 2011.13456):
    dz = -beta(t)/2 z dt + sqrt(beta(t)) dW,    alpha(t)^2 + sigma(t)^2 = 1.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CLRFaceError


class Schedule(ABC):
    """A variance-preserving process. Methods take a float tensor of any shape and keep its shape and dtype.

    Times must lie in [0,1]. That is not checked here: on a GPU, looking at values costs a synchronisation.
    """

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """How much of the clean latent is left: 1 at t = 0, falling, still above 0 at t = 1."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """Standard deviation of the noise: 0 at t = 0, rising. It avoids the cancellation in 1 - alpha^2."""

    @abstractmethod
    def beta(self, t: Tensor) -> Tensor:
        """Rate of the process, -2 d log(alpha)/dt: positive and finite on [0,1]."""

    @abstractmethod
    def time_of(self, half_log_snr: Tensor) -> Tensor:
        """Inverse of `half_log_snr`; +inf gives 0."""

    def half_log_snr(self, t: Tensor) -> Tensor:
        """lambda(t) = log(alpha/sigma), the time in which DPM-Solver steps: falling, +inf at t = 0."""
        return torch.log(self.alpha(t)) - torch.log(self.sigma(t))


@dataclass(frozen=True)
class LinearBeta(Schedule):
    """beta(t) = beta_min + t (beta_max - beta_min): the VP-SDE of Song et al. (2021), equations 32 and 33."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def _decay(self, t: Tensor) -> Tensor:
        """-log alpha(t): half the integral of beta."""
        return t * (self.beta_min / 2 + t * (self.beta_max - self.beta_min) / 4)

    def alpha(self, t: Tensor) -> Tensor:
        return torch.exp(-self._decay(t))

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(-torch.expm1(-2 * self._decay(t)))

    def beta(self, t: Tensor) -> Tensor:
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def time_of(self, half_log_snr: Tensor) -> Tensor:
        # alpha^2 = sigmoid(2 lambda), then the positive root of a quadratic in t, written so as not to cancel
        decay = F.softplus(-2 * half_log_snr) / 2
        slope = self.beta_min / 2
        return 2 * decay / (slope + torch.sqrt(slope**2 + (self.beta_max - self.beta_min) * decay))


@dataclass(frozen=True)
class Cosine(Schedule):
    """alpha(t) = cos(phi(t)) / cos(phi(0)), phi(t) = pi/2 (s + ct)/(1 + s): Nichol & Dhariwal (2021), eq. 17.

    The offset s keeps beta(0) above 0, as in the paper. The paper's process is singular at its end (alpha 0,
    beta infinite) and clips beta there; ours stops at the fraction c of the way, where alpha is about 0.008.
    """

    offset: float = 0.008
    end: float = 0.995

    def _start(self) -> float:
        return math.pi / 2 * self.offset / (1 + self.offset)

    def _speed(self) -> float:
        return math.pi / 2 * self.end / (1 + self.offset)

    def alpha(self, t: Tensor) -> Tensor:
        # cos(x + p) / cos(p), expanded: exactly 1 at t = 0
        x = self._speed() * t
        return torch.cos(x) - torch.sin(x) * math.tan(self._start())

    def sigma(self, t: Tensor) -> Tensor:
        # 1 - cos^2(x + p)/cos^2(p) = sin(x) sin(x + 2p) / cos^2(p)
        x = self._speed() * t
        return torch.sqrt(torch.sin(x) * torch.sin(x + 2 * self._start())) / math.cos(self._start())

    def beta(self, t: Tensor) -> Tensor:
        return 2 * self._speed() * torch.tan(self._start() + self._speed() * t)

    def time_of(self, half_log_snr: Tensor) -> Tensor:
        cosine = torch.exp(F.logsigmoid(2 * half_log_snr) / 2) * math.cos(self._start())
        variance = torch.sigmoid(-2 * half_log_snr)
        # sin^2(phi) - sin^2(p) = sigma^2 cos^2(p)
        sine = torch.sqrt(variance * math.cos(self._start()) ** 2 + math.sin(self._start()) ** 2)
        return (torch.atan2(sine, cosine) - self._start()) / self._speed()


def linear_beta(beta_min: float = 0.1, beta_max: float = 20.0) -> Schedule:
    """The VP schedule with a linear rate; the defaults are Song et al.'s. Needs 0 < beta_min <= beta_max."""
    if not 0 < beta_min <= beta_max < math.inf:
        raise CLRFaceError(
            f"A linear schedule needs 0 < beta_min <= beta_max, got {beta_min} and {beta_max}: "
            "the usual values are 0.1 and 20."
        )
    return LinearBeta(beta_min, beta_max)


def cosine(offset: float = 0.008) -> Schedule:
    """The cosine schedule; `offset` is Nichol & Dhariwal's s, in (0,1)."""
    if not 0 < offset < 1:
        raise CLRFaceError(
            f"A cosine schedule needs an offset between 0 and 1, got {offset}: the usual value is 0.008."
        )
    return Cosine(offset)


SCHEDULES: dict[str, Callable[[], Schedule]] = {"linear": linear_beta, "cosine": cosine}
"""What a bundle's refiner config may name as its forward process."""

SPACINGS = ("uniform", "quadratic", "log-snr")


def schedule_named(name: str) -> Schedule:
    """The schedule with its usual constants that a bundle stores by `name`."""
    if name not in SCHEDULES:
        raise CLRFaceError(f"Expected a schedule ({' or '.join(SCHEDULES)}), got {name!r}: choose one of these.")
    return SCHEDULES[name]()


def time_grid(t0: float, steps: int, spacing: str = "uniform", *, schedule: Schedule | None = None) -> Tensor:
    """The times a solver visits: (steps + 1,) float64 on the CPU, t0 first, strictly falling, exactly 0 last.

    The last step thus lands on the denoised estimate. `spacing` is "uniform" in t; "quadratic", whose points
    t0 (1 - i/steps)^2 crowd near 0; or "log-snr", which needs the `schedule`: uniform in lambda from t0 down
    to t0/steps^2, then 0. With many steps, only the last two let solvers of order 2 keep it to t = 0.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise CLRFaceError(f"The number of steps must be a whole number of at least 1, got {steps!r}: try 4.")
    if not 0 < t0 <= 1:
        raise CLRFaceError(f"The starting time t0 must lie in (0,1], got {t0}: try 0.5.")
    fraction = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    if spacing == "uniform":
        return t0 * fraction
    if spacing == "quadratic":
        return t0 * fraction**2
    if spacing == "log-snr":
        return _log_snr_grid(t0, steps, schedule)
    raise CLRFaceError(f"Expected a spacing ({' or '.join(SPACINGS)}), got {spacing!r}: choose one of these.")


def _log_snr_grid(t0: float, steps: int, schedule: Schedule | None) -> Tensor:
    if schedule is None:
        raise CLRFaceError("The log-snr spacing needs a schedule, got none: pass the refiner's own.")
    ends = schedule.half_log_snr(torch.tensor([t0, t0 / steps**2], dtype=torch.float64))
    inner = torch.linspace(float(ends[0]), float(ends[1]), steps, dtype=torch.float64)
    grid = torch.cat((schedule.time_of(inner), torch.zeros(1, dtype=torch.float64)))
    grid[0] = t0  # the inverse may miss it by a rounding error
    return grid
