"""Solvers of the reverse process: pure functions over a denoiser and a falling grid of times.

All share one signature (`Solver`) and one convention. With z0_hat = denoise(z_t, t) the score is
    score = (alpha z0_hat - z_t) / sigma^2,    that is, eps_hat = -sigma score = (z_t - alpha z0_hat) / sigma,
and a step that ends at t = 0, where the score is singular, lands on z0_hat itself. Coefficients are computed
once, in float64 on the CPU, so that they are the same on every device.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import CLRFaceError
from .schedule import Schedule

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(z_t (B,...), t (B,)) to the estimate of the clean latent, z0_hat (B,...)."""

StepNoise = Callable[[int], Tensor]
"""Step number, from 0, to standard normal noise of the state's shape, dtype and device."""

Callback = Callable[[dict[str, Any]], None]
"""Takes {"i", "total", "t", "z", "denoised"} once per step: its number from 0, how many there are, the time
it starts from, the state z_t there, and z0_hat. Whatever it raises ends the solver and reaches the caller."""


class Solver(Protocol):
    """From z at grid[0] to the state at grid[-1]. Stochastic solvers need `noise`, the others ignore it."""

    def __call__(
        self,
        denoise: Denoiser,
        z: Tensor,
        grid: Tensor,
        schedule: Schedule,
        *,
        noise: StepNoise | None = None,
        callback: Callback | None = None,
    ) -> Tensor: ...


@dataclass(frozen=True)
class _Instant:
    """The schedule's numbers at one time of the grid."""

    t: float
    alpha: float
    sigma: float
    beta: float

    @property
    def ratio(self) -> float:
        """sigma/alpha: the noise level of z/alpha, in which the probability-flow ODE has no linear part."""
        return self.sigma / self.alpha


def _instants(grid: Tensor, schedule: Schedule) -> list[_Instant]:
    times = grid.detach().to("cpu", torch.float64)
    falling = times.ndim == 1 and len(times) >= 2 and bool((times[1:] < times[:-1]).all())
    if not falling or times[0] > 1 or times[-1] < 0:
        raise CLRFaceError(
            f"A solver expects a strictly falling grid of at least two times in [0,1], got {times.tolist()}: "
            "make one with time_grid."
        )
    columns = (times, schedule.alpha(times), schedule.sigma(times), schedule.beta(times))
    return [_Instant(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def _estimate(denoise: Denoiser, z: Tensor, at: _Instant) -> Tensor:
    t = torch.full((z.shape[0],), at.t, dtype=z.dtype, device=z.device)
    return denoise(z, t).to(z.dtype)


def _report(callback: Callback | None, i: int, total: int, at: _Instant, z: Tensor, denoised: Tensor) -> None:
    if callback is not None:
        callback({"i": i, "total": total, "t": at.t, "z": z, "denoised": denoised})


def _ddim_step(z: Tensor, denoised: Tensor, here: _Instant, there: _Instant) -> Tensor:
    """alpha' z0_hat + sigma' eps_hat: exact for a constant z0_hat, and z0_hat exactly where sigma' = 0."""
    keep = there.sigma / here.sigma
    return keep * z + (there.alpha - keep * here.alpha) * denoised


def ddim(
    denoise: Denoiser,
    z: Tensor,
    grid: Tensor,
    schedule: Schedule,
    *,
    noise: StepNoise | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """DDIM with eta = 0 (Song et al., arXiv 2010.02502, eq. 12): order 1, one evaluation per step."""
    instants = _instants(grid, schedule)
    for i, (here, there) in enumerate(pairwise(instants)):
        denoised = _estimate(denoise, z, here)
        _report(callback, i, len(instants) - 1, here, z, denoised)
        z = _ddim_step(z, denoised, here, there)
    return z


def heun(
    denoise: Denoiser,
    z: Tensor,
    grid: Tensor,
    schedule: Schedule,
    *,
    noise: StepNoise | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Heun's method on the probability-flow ODE d(z/alpha) = eps_hat d(sigma/alpha): order 2.

    Karras et al., arXiv 2206.00364, algorithm 1 without churn, in the variables of a VP process. Two
    evaluations per step; a step to t = 0 has no second one.
    """
    instants = _instants(grid, schedule)
    for i, (here, there) in enumerate(pairwise(instants)):
        denoised = _estimate(denoise, z, here)
        _report(callback, i, len(instants) - 1, here, z, denoised)
        ahead = _ddim_step(z, denoised, here, there)  # Euler's step, in these variables
        if there.sigma > 0:
            slope = (z - here.alpha * denoised) / here.sigma
            slope_ahead = (ahead - there.alpha * _estimate(denoise, ahead, there)) / there.sigma
            ahead = ahead + there.alpha * (there.ratio - here.ratio) * (slope_ahead - slope) / 2
        z = ahead
    return z


def dpmpp_2m(
    denoise: Denoiser,
    z: Tensor,
    grid: Tensor,
    schedule: Schedule,
    *,
    noise: StepNoise | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """DPM-Solver++(2M) (Lu et al., arXiv 2211.01095, algorithm 2): order 2, one evaluation per step.

    The first step, and a step to t = 0 (where lambda is infinite), are of order 1.
    """
    instants = _instants(grid, schedule)
    before: Tensor | None = None
    width_before = math.inf
    for i, (here, there) in enumerate(pairwise(instants)):
        denoised = _estimate(denoise, z, here)
        _report(callback, i, len(instants) - 1, here, z, denoised)
        direction = denoised
        width = math.log(here.ratio / there.ratio) if there.sigma > 0 else math.inf
        if before is not None and math.isfinite(width):
            direction = denoised + width / (2 * width_before) * (denoised - before)
        z = _ddim_step(z, direction, here, there)
        before, width_before = denoised, width
    return z


def euler_maruyama(
    denoise: Denoiser,
    z: Tensor,
    grid: Tensor,
    schedule: Schedule,
    *,
    noise: StepNoise | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Euler-Maruyama on the reverse SDE (Song et al., arXiv 2011.13456, eq. 6): weak order 1, needs noise.

    dz = (-beta/2 z - beta score) dt + sqrt(beta) dW, with dt < 0. One evaluation per step; a step to t = 0
    adds no noise, it lands on z0_hat.
    """
    if noise is None:
        raise CLRFaceError("The Euler-Maruyama solver needs noise for its steps, got none: pass noise=.")
    instants = _instants(grid, schedule)
    for i, (here, there) in enumerate(pairwise(instants)):
        denoised = _estimate(denoise, z, here)
        _report(callback, i, len(instants) - 1, here, z, denoised)
        if there.sigma == 0:
            z = denoised
            continue
        spread = here.beta * (here.t - there.t)  # the variance that the step removes and adds
        score = (here.alpha * denoised - z) / here.sigma**2
        z = z + spread * (z / 2 + score) + math.sqrt(spread) * noise(i)
    return z


SOLVERS: dict[str, Solver] = {
    "ddim": ddim,
    "dpmpp_2m": dpmpp_2m,
    "heun": heun,
    "euler_maruyama": euler_maruyama,
}
"""The names by which a user chooses a solver."""
