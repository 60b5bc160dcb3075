"""The forward process z_t = alpha(t) z_0 + sigma(t) eps, variance preserving, and the times a solver visits.

Time t runs over [0,1]: 0 is data, 1 is (almost) pure noise. As an SDE (Song et al., arXiv 2011.13456):
    dz = -beta(t)/2 z dt + sqrt(beta(t)) dW,    alpha(t)^2 + sigma(t)^2 = 1.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
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
    def time(self, ratio: Tensor) -> Tensor:
        """The time at which sigma/alpha is `ratio`, at least 0; beyond the process's own end it is above 1."""


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

    def time(self, ratio: Tensor) -> Tensor:
        # alpha = 1/sqrt(1 + ratio^2), so the decay is known; of the two forms of the root, the one without cancellation
        decay, rate = torch.log1p(ratio * ratio) / 2, self.beta_min / 2
        return 2 * decay / (rate + torch.sqrt(rate * rate + (self.beta_max - self.beta_min) * decay))


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

    def time(self, ratio: Tensor) -> Tensor:
        # cos(x + p) = cos(p)/sqrt(1 + ratio^2); the arc tangent keeps the digits that the arc cosine loses near 0
        p = self._start()
        whole = torch.atan2(torch.sqrt(ratio * ratio + math.sin(p) ** 2), torch.full_like(ratio, math.cos(p)))
        return (whole - p) / self._speed()


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


MOST_STEPS = 10_000

SCHEDULES: dict[str, Callable[[], Schedule]] = {"linear": linear_beta, "cosine": cosine}
"""What a bundle's refiner config may name as its forward process."""


def schedule_named(name: str) -> Schedule:
    """The schedule with its usual constants that a bundle stores by `name`."""
    if name not in SCHEDULES:
        raise CLRFaceError(f"Expected a schedule ({' or '.join(SCHEDULES)}), got {name!r}: choose one of these.")
    return SCHEDULES[name]()


def time_grid(t0: float, steps: int) -> Tensor:
    """The times a solver visits, evenly spaced: (steps + 1,) float64 on the CPU, t0 first, falling, exactly 0 last.

    The last step thus lands on the denoised estimate.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= MOST_STEPS:
        raise CLRFaceError(f"Expected a whole number of steps from 1 to {MOST_STEPS}, got {steps!r}: 1 to 4 are usual.")
    if not 0 < t0 <= 1:
        raise CLRFaceError(f"Expected the diffusion to start at a time in (0,1], got {t0}: 0.5 is usual.")
    return t0 * torch.linspace(1, 0, steps + 1, dtype=torch.float64)
