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

Callback = Callable[[dict[str, Any]], None]
"""Takes {"i", "total", "t", "z", "denoised"} once per step: its number from 0, how many there are, the time
it starts from, the state z_t there, and z0_hat. Whatever it raises ends the solver and reaches the caller."""


class Solver(Protocol):
    """From z at grid[0] to the state at grid[-1]."""

    def __call__(
        self,
        denoise: Denoiser,
        z: Tensor,
        grid: Tensor,
        schedule: Schedule,
        *,
        callback: Callback | None = None,
    ) -> Tensor: ...


@dataclass(frozen=True)
class _Instant:
    """The schedule's numbers at one time of the grid."""

    t: float
    alpha: float
    sigma: float

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
    columns = (times, schedule.alpha(times), schedule.sigma(times))
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
    callback: Callback | None = None,
) -> Tensor:
    """DDIM with eta = 0 (Song et al., arXiv 2010.02502, eq. 12): order 1, one evaluation per step."""
    instants = _instants(grid, schedule)
    for i, (here, there) in enumerate(pairwise(instants)):
        denoised = _estimate(denoise, z, here)
        _report(callback, i, len(instants) - 1, here, z, denoised)
        z = _ddim_step(z, denoised, here, there)
    return z


def dpmpp_2m(
    denoise: Denoiser,
    z: Tensor,
    grid: Tensor,
    schedule: Schedule,
    *,
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


SOLVERS: dict[str, Solver] = {
    "ddim": ddim,
    "dpmpp_2m": dpmpp_2m,
}
"""The names by which a user chooses a solver."""
