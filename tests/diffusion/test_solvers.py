"""The solvers against closed forms: for Gaussian data the best denoiser and the exact flow are known.

Data N(mu, S) has, at time t, the marginal N(a mu, a^2 S + s^2), and
    E[z_0 | z_t] = mu + a S (a^2 S + s^2)^-1 (z_t - a mu).
The probability-flow ODE scales z_t - a mu, along each eigenvector of S, by the ratio of marginal deviations.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from clrface_core.diffusion.schedule import SCHEDULES, Schedule, cosine, schedule_named, time_grid
from clrface_core.diffusion.solvers import SOLVERS, Solver, ddim, dpmpp_2m
from clrface_core.errors import CLRFaceError

F64 = torch.float64
MEAN = torch.tensor([0.5, -1.0, 2.0], dtype=F64)
VARIANCES = torch.tensor([0.04, 0.3, 2.5], dtype=F64)
AXES = torch.linalg.qr(torch.tensor([[1.0, 2, 0], [0.5, -1, 3], [2, 0, 1]], dtype=F64))[0]
STARTS = torch.tensor([[0.7, -0.3, 1.2], [-1.5, 0.2, 0.4]], dtype=F64)


def gaussian_denoiser(schedule: Schedule) -> Callable[[Tensor, Tensor], Tensor]:
    def denoise(z: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
        gain = alpha * VARIANCES / (alpha**2 * VARIANCES + sigma**2)
        return MEAN + (gain * ((z - alpha * MEAN) @ AXES)) @ AXES.T

    return denoise


def exact_flow(schedule: Schedule, z: Tensor, grid: Tensor) -> Tensor:
    alpha, sigma = schedule.alpha(grid[[0, -1]]), schedule.sigma(grid[[0, -1]])
    deviation = (alpha[:, None] ** 2 * VARIANCES + sigma[:, None] ** 2).sqrt()
    moved = ((z - alpha[0] * MEAN) @ AXES) * deviation[1] / deviation[0]
    return alpha[1] * MEAN + moved @ AXES.T


def orders(errors: list[float]) -> list[float]:
    """Observed orders of convergence, for errors at step counts that double."""
    return [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]


@pytest.mark.parametrize("name", sorted(SCHEDULES))
@pytest.mark.parametrize(("solver", "order"), [(ddim, 1), (dpmpp_2m, 2)])
def test_ode_solvers_converge_to_the_exact_flow_at_their_order(name: str, solver: Solver, order: int) -> None:
    schedule = schedule_named(name)
    errors = []
    for steps in (32, 64, 128, 256):
        grid = torch.linspace(0.5, 0.05, steps + 1, dtype=F64)
        solved = solver(gaussian_denoiser(schedule), STARTS, grid, schedule)
        errors.append(float((solved - exact_flow(schedule, STARTS, grid)).abs().max()))
    assert errors[-1] < (5e-3 if order == 1 else 5e-5)
    assert order - 0.1 < orders(errors)[-1] < order + 0.1
    assert all(order - 0.25 < observed < order + 0.25 for observed in orders(errors))


@pytest.mark.parametrize("name", sorted(SCHEDULES))
@pytest.mark.parametrize(("solver", "order"), [(ddim, 1), (dpmpp_2m, 2)])
def test_the_order_survives_down_to_zero_on_a_quadratic_grid(name: str, solver: Solver, order: int) -> None:
    schedule = schedule_named(name)
    errors = []
    for steps in (64, 128, 256):
        grid = 0.5 * time_grid(1.0, steps) ** 2
        solved = solver(gaussian_denoiser(schedule), STARTS, grid, schedule)
        errors.append(float((solved - exact_flow(schedule, STARTS, grid)).abs().max()))
    assert orders(errors)[-1] > order - 0.1


def test_uneven_steps_keep_the_order_of_dpmpp_2m() -> None:
    # a long step after every short one, so that the multistep method must weigh them by their widths
    errors = []
    for steps in (64, 128, 256):
        widths = torch.tensor([0.4, 1.6], dtype=F64).repeat(steps // 2) * 0.45 / steps
        grid = 0.5 - torch.cat((torch.zeros(1, dtype=F64), widths.cumsum(0)))
        solved = dpmpp_2m(gaussian_denoiser(cosine()), STARTS, grid, cosine())
        errors.append(float((solved - exact_flow(cosine(), STARTS, grid)).abs().max()))
    assert all(observed > 1.8 for observed in orders(errors))


def test_dpmpp_2m_is_algorithm_2_of_its_paper() -> None:
    # as printed, in lambda; steps of very different width tell r from 1/r
    schedule, denoise = cosine(), gaussian_denoiser(cosine())
    grid = torch.tensor([0.7, 0.6, 0.2, 0.1], dtype=F64)
    alpha, sigma = schedule.alpha(grid), schedule.sigma(grid)
    lambdas = (alpha / sigma).log()
    estimates: list[Tensor] = []
    z = STARTS
    for i in range(1, 4):
        estimates.append(denoise(z, grid[i - 1].expand(2)))
        h = lambdas[i] - lambdas[i - 1]
        mixed = estimates[-1]
        if i > 1:
            r = (lambdas[i - 1] - lambdas[i - 2]) / h
            mixed = (1 + 1 / (2 * r)) * estimates[-1] - 1 / (2 * r) * estimates[-2]
        z = sigma[i] / sigma[i - 1] * z - alpha[i] * torch.expm1(-h) * mixed
    torch.testing.assert_close(dpmpp_2m(denoise, STARTS, grid, schedule), z)


def log_snr_grid(t0: float, steps: int) -> Tensor:
    """Even steps of the cosine schedule's log-SNR from t0 to t0 / steps^2, and a last one to 0."""
    times = t0 * torch.logspace(0, -2 * math.log10(steps), 10_001, dtype=F64)
    lambdas = (cosine().alpha(times) / cosine().sigma(times)).log()
    even = torch.linspace(lambdas[0].item(), lambdas[-1].item(), steps, dtype=F64)
    return torch.cat((torch.from_numpy(np.interp(even, lambdas, times)), torch.zeros(1, dtype=F64)))


@pytest.mark.parametrize("make_grid", [time_grid, log_snr_grid])
@pytest.mark.parametrize("solver", [ddim, dpmpp_2m])
def test_every_grid_reaches_the_exact_clean_latent(make_grid: Callable[[float, int], Tensor], solver: Solver) -> None:
    errors = []
    for steps in (32, 128):
        grid = make_grid(0.5, steps)
        solved = solver(gaussian_denoiser(cosine()), STARTS, grid, cosine())
        errors.append(float((solved - exact_flow(cosine(), STARTS, grid)).abs().max()))
    assert errors[1] < 0.02 and errors[1] < 0.4 * errors[0]


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_one_step_to_zero_is_the_denoised_estimate_exactly(name: str) -> None:
    def denoise(z: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(z) * t[:, None]

    grid = time_grid(0.5, 1)
    end = SOLVERS[name](denoise, STARTS, grid, cosine())
    assert torch.equal(end, torch.tanh(STARTS) * 0.5)


@pytest.mark.parametrize("name", sorted(SOLVERS))
@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_a_constant_denoiser_is_reached_exactly(name: str, steps: int) -> None:
    answer = torch.tensor([[1.0, -2.0, 0.25]], dtype=F64).expand(2, 3)
    grid = time_grid(1.0, steps)
    end = SOLVERS[name](lambda z, t: answer, STARTS, grid, cosine())
    assert torch.equal(end, answer)


def test_ddim_is_exact_on_a_path_with_constant_noise() -> None:
    # from a*x + s*e with the true x, any step must stay on the straight path a'*x + s'*e
    x, e = STARTS
    schedule = cosine()
    grid = torch.tensor([0.8, 0.3], dtype=F64)
    alpha, sigma = schedule.alpha(grid), schedule.sigma(grid)
    end = ddim(lambda z, t: x[None], (alpha[0] * x + sigma[0] * e)[None], grid, schedule)
    torch.testing.assert_close(end[0], alpha[1] * x + sigma[1] * e)


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_one_evaluation_per_step(name: str) -> None:
    seen: list[float] = []

    def denoise(z: Tensor, t: Tensor) -> Tensor:
        assert t.shape == (2,) and t.dtype == z.dtype
        seen.append(t[0].item())
        return z / 2

    SOLVERS[name](denoise, STARTS, time_grid(0.5, 4), cosine())
    assert seen == time_grid(0.5, 4)[:-1].tolist()  # never at 0, where the score is singular


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_the_callback_sees_every_step(name: str) -> None:
    heard: list[dict] = []
    grid = time_grid(0.5, 3)
    SOLVERS[name](lambda z, t: z / 2, STARTS, grid, cosine(), callback=heard.append)
    assert [set(step) for step in heard] == [{"i", "total", "t", "z", "denoised"}] * 3
    assert [step["i"] for step in heard] == [0, 1, 2] and {step["total"] for step in heard} == {3}
    assert [step["t"] for step in heard] == grid[:-1].tolist()
    assert torch.equal(heard[0]["z"], STARTS)
    for step in heard:
        assert torch.equal(step["denoised"], step["z"] / 2)


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_raising_from_the_callback_stops_the_solver(name: str) -> None:
    evaluations: list[int] = []

    def denoise(z: Tensor, t: Tensor) -> Tensor:
        evaluations.append(1)
        return z

    def cancel(step: dict) -> None:
        if step["i"] == 1:
            raise InterruptedError("the user pressed cancel")

    before = STARTS.clone()
    with pytest.raises(InterruptedError, match="cancel"):
        SOLVERS[name](denoise, STARTS, time_grid(0.5, 9), cosine(), callback=cancel)
    assert len(evaluations) == 2
    assert torch.equal(STARTS, before)  # the caller's tensor is never written to


def test_a_grid_that_does_not_fall_is_refused() -> None:
    for times in ([0.5], [0.5, 0.5], [0.1, 0.5], [1.5, 0.5], [0.5, -0.1], [float("nan"), 0.0]):
        with pytest.raises(CLRFaceError, match="falling grid"):
            ddim(lambda z, t: z, STARTS, torch.tensor(times), cosine())
