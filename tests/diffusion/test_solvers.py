"""The solvers against closed forms: for Gaussian data the best denoiser and the exact flow are known.

Data N(mu, S) has, at time t, the marginal N(a mu, a^2 S + s^2), and
    E[z_0 | z_t] = mu + a S (a^2 S + s^2)^-1 (z_t - a mu).
The probability-flow ODE scales z_t - a mu, along each eigenvector of S, by the ratio of marginal deviations.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from clrface_core.diffusion.schedule import SCHEDULES, Schedule, cosine, schedule_named, time_grid
from clrface_core.diffusion.solvers import SOLVERS, ddim, dpmpp_2m, euler_maruyama, heun
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
@pytest.mark.parametrize(("solver", "order"), [(ddim, 1), (heun, 2), (dpmpp_2m, 2)])
def test_ode_solvers_converge_to_the_exact_flow_at_their_order(name: str, solver, order: int) -> None:
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
@pytest.mark.parametrize(("solver", "order"), [(ddim, 1), (heun, 2), (dpmpp_2m, 2)])
def test_the_order_survives_down_to_zero_on_a_quadratic_grid(name: str, solver, order: int) -> None:
    schedule = schedule_named(name)
    errors = []
    for steps in (64, 128, 256):
        grid = time_grid(0.5, steps, "quadratic")
        solved = solver(gaussian_denoiser(schedule), STARTS, grid, schedule)
        errors.append(float((solved - exact_flow(schedule, STARTS, grid)).abs().max()))
    assert orders(errors)[-1] > order - 0.1


@pytest.mark.parametrize("solver", [heun, dpmpp_2m])
def test_uneven_steps_keep_the_order(solver) -> None:
    # a long step after every short one, so that a multistep method must weigh them by their widths
    errors = []
    for steps in (64, 128, 256):
        widths = torch.tensor([0.4, 1.6], dtype=F64).repeat(steps // 2) * 0.45 / steps
        grid = 0.5 - torch.cat((torch.zeros(1, dtype=F64), widths.cumsum(0)))
        solved = solver(gaussian_denoiser(cosine()), STARTS, grid, cosine())
        errors.append(float((solved - exact_flow(cosine(), STARTS, grid)).abs().max()))
    assert all(observed > 1.8 for observed in orders(errors))


def test_dpmpp_2m_is_algorithm_2_of_its_paper() -> None:
    # as printed, in lambda; steps of very different width tell r from 1/r
    schedule, denoise = cosine(), gaussian_denoiser(cosine())
    grid = torch.tensor([0.7, 0.6, 0.2, 0.1], dtype=F64)
    alpha, sigma, lambdas = schedule.alpha(grid), schedule.sigma(grid), schedule.half_log_snr(grid)
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


@pytest.mark.parametrize("spacing", ["uniform", "log-snr"])
@pytest.mark.parametrize("solver", [ddim, heun, dpmpp_2m])
def test_every_grid_reaches_the_exact_clean_latent(spacing: str, solver) -> None:
    errors = []
    for steps in (32, 128):
        grid = time_grid(0.5, steps, spacing, schedule=cosine())
        solved = solver(gaussian_denoiser(cosine()), STARTS, grid, cosine())
        errors.append(float((solved - exact_flow(cosine(), STARTS, grid)).abs().max()))
    assert errors[1] < 0.02 and errors[1] < 0.4 * errors[0]


def linear_moments(schedule: Schedule, grid: Tensor, mean: float, variance: float) -> tuple[float, float]:
    """Mean and variance that Euler-Maruyama gives Gaussian data, without sampling.

    The scheme is affine in its start and its noises: one row follows the mean, and each of the others has one
    source of randomness moved by one deviation.
    """
    steps = len(grid) - 1
    alpha, sigma = schedule.alpha(grid[0]), schedule.sigma(grid[0])
    z = (alpha * mean).repeat(steps + 2, 1)
    z[1] += (alpha**2 * variance + sigma**2).sqrt()
    impulses = torch.eye(steps + 2, dtype=F64)[:, :, None]

    def denoise(z: Tensor, t: Tensor) -> Tensor:
        a, s = schedule.alpha(t)[:, None], schedule.sigma(t)[:, None]
        return mean + a * variance / (a**2 * variance + s**2) * (z - a * mean)

    end = euler_maruyama(denoise, z, grid, schedule, noise=lambda i: impulses[i + 2])
    return end[0].item(), float((end[1:] - end[0]).square().sum())


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_euler_maruyama_has_weak_order_one(name: str) -> None:
    schedule, mean, variance = schedule_named(name), 1.5, 0.3
    mean_errors, variance_errors = [], []
    for steps in (32, 64, 128, 256):
        grid = torch.linspace(0.6, 0.05, steps + 1, dtype=F64)
        alpha, sigma = schedule.alpha(grid[-1]), schedule.sigma(grid[-1])
        got_mean, got_variance = linear_moments(schedule, grid, mean, variance)
        mean_errors.append(abs(got_mean - float(alpha * mean)))
        variance_errors.append(abs(got_variance - float(alpha**2 * variance + sigma**2)))
    assert mean_errors[-1] < 2e-3 and variance_errors[-1] < 2e-3
    for observed in orders(mean_errors) + orders(variance_errors):
        assert 0.9 < observed < 1.15


def test_euler_maruyama_samples_have_the_exact_marginal() -> None:
    schedule, count = cosine(), 20_000
    grid = torch.linspace(0.6, 0.1, 101, dtype=F64)
    alpha, sigma = schedule.alpha(grid), schedule.sigma(grid)
    deviations = (alpha[:, None] ** 2 * VARIANCES + sigma[:, None] ** 2).sqrt()
    generator = torch.Generator().manual_seed(0)

    def draw(_: int = 0) -> Tensor:
        return torch.randn(count, 3, dtype=F64, generator=generator)

    z = alpha[0] * MEAN + (draw() * deviations[0]) @ AXES.T
    end = euler_maruyama(gaussian_denoiser(schedule), z, grid, schedule, noise=draw)
    along = (end - alpha[-1] * MEAN) @ AXES
    # four standard errors of a mean and of a variance, plus the scheme's own error of order 1/steps
    assert (along.mean(dim=0).abs() < 4 * deviations[-1] / count**0.5 + 0.01).all()
    relative = along.var(dim=0) / deviations[-1] ** 2 - 1
    assert (relative.abs() < 4 * (2 / count) ** 0.5 + 0.03).all()
    covariance = along.T.cov() / deviations[-1].outer(deviations[-1])
    assert (covariance - covariance.diag().diag()).abs().max() < 4 / count**0.5


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_one_step_to_zero_is_the_denoised_estimate_exactly(name: str) -> None:
    def denoise(z: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(z) * t[:, None]

    grid = time_grid(0.5, 1)
    end = SOLVERS[name](denoise, STARTS, grid, cosine(), noise=lambda i: torch.ones_like(STARTS))
    assert torch.equal(end, torch.tanh(STARTS) * 0.5)


@pytest.mark.parametrize("name", sorted(SOLVERS))
@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_a_constant_denoiser_is_reached_exactly(name: str, steps: int) -> None:
    answer = torch.tensor([[1.0, -2.0, 0.25]], dtype=F64).expand(2, 3)
    grid = time_grid(1.0, steps)
    end = SOLVERS[name](lambda z, t: answer, STARTS, grid, cosine(), noise=lambda i: torch.ones(2, 3, dtype=F64))
    assert torch.equal(end, answer)


def test_ddim_is_exact_on_a_path_with_constant_noise() -> None:
    # from a*x + s*e with the true x, any step must stay on the straight path a'*x + s'*e
    x, e = STARTS
    schedule = cosine()
    grid = torch.tensor([0.8, 0.3], dtype=F64)
    alpha, sigma = schedule.alpha(grid), schedule.sigma(grid)
    end = ddim(lambda z, t: x[None], (alpha[0] * x + sigma[0] * e)[None], grid, schedule)
    torch.testing.assert_close(end[0], alpha[1] * x + sigma[1] * e)


@pytest.mark.parametrize(("name", "calls"), [("ddim", 4), ("dpmpp_2m", 4), ("euler_maruyama", 4), ("heun", 7)])
def test_evaluations_per_run(name: str, calls: int) -> None:
    seen: list[float] = []

    def denoise(z: Tensor, t: Tensor) -> Tensor:
        assert t.shape == (2,) and t.dtype == z.dtype
        seen.append(t[0].item())
        return z / 2

    SOLVERS[name](denoise, STARTS, time_grid(0.5, 4), cosine(), noise=lambda i: torch.zeros(2, 3, dtype=F64))
    assert len(seen) == calls
    assert all(t > 0 for t in seen)  # the score is singular at 0: nobody looks there


@pytest.mark.parametrize("name", sorted(SOLVERS))
def test_the_callback_sees_every_step(name: str) -> None:
    heard: list[dict] = []
    grid = time_grid(0.5, 3)
    noise = torch.zeros(2, 3, dtype=F64)
    SOLVERS[name](lambda z, t: z / 2, STARTS, grid, cosine(), noise=lambda i: noise, callback=heard.append)
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
    noise = torch.zeros(2, 3, dtype=F64)
    with pytest.raises(InterruptedError, match="cancel"):
        SOLVERS[name](denoise, STARTS, time_grid(0.5, 9), cosine(), noise=lambda i: noise, callback=cancel)
    assert len(evaluations) == (3 if name == "heun" else 2)
    assert torch.equal(STARTS, before)  # the caller's tensor is never written to


def test_a_grid_that_does_not_fall_is_refused() -> None:
    for times in ([0.5], [0.5, 0.5], [0.1, 0.5], [1.5, 0.5], [0.5, -0.1], [float("nan"), 0.0]):
        with pytest.raises(CLRFaceError, match="falling grid"):
            ddim(lambda z, t: z, STARTS, torch.tensor(times), cosine())


def test_the_stochastic_solver_wants_noise() -> None:
    with pytest.raises(CLRFaceError, match="noise"):
        euler_maruyama(lambda z, t: z, STARTS, time_grid(0.5, 2), cosine())
