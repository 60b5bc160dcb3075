"""The schedules against their defining equations, and the grids of times."""

import pytest
import torch
from torch import Tensor

from clrface_core.diffusion.schedule import (
    MOST_STEPS,
    SCHEDULES,
    Schedule,
    cosine,
    linear_beta,
    schedule_named,
    time_grid,
)
from clrface_core.errors import CLRFaceError

TIMES = torch.linspace(0, 1, 1001, dtype=torch.float64)


def rate(schedule: Schedule, t: Tensor) -> Tensor:
    """beta(t) = -2 d log alpha / dt."""
    t = t.clone().requires_grad_()
    (slope,) = torch.autograd.grad(schedule.alpha(t).log().sum(), t)
    return -2 * slope


@pytest.fixture(params=sorted(SCHEDULES))
def schedule(request: pytest.FixtureRequest) -> Schedule:
    return schedule_named(request.param)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_variance_is_preserved_to_rounding(schedule: Schedule, dtype: torch.dtype) -> None:
    t = TIMES.to(dtype)
    total = schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2
    assert (total - 1).abs().max() <= 4 * torch.finfo(dtype).eps


def test_data_falls_and_noise_rises(schedule: Schedule) -> None:
    alpha, sigma = schedule.alpha(TIMES), schedule.sigma(TIMES)
    assert alpha[0] == 1 and sigma[0] == 0
    assert (alpha.diff() < 0).all() and (sigma.diff() > 0).all()
    assert 0 < alpha[-1] < 0.01  # almost pure noise, but never a division by zero
    half_log_snr = (alpha / sigma).log()
    assert half_log_snr[0] == float("inf") and (half_log_snr[1:].diff() < 0).all()


def test_alpha_falls_at_a_finite_rate_everywhere(schedule: Schedule) -> None:
    beta = rate(schedule, TIMES)
    assert beta.isfinite().all() and (beta > 0).all()


def test_small_times_keep_full_precision_in_float32(schedule: Schedule) -> None:
    # 1 - alpha^2 would have no correct digit left here
    t = torch.tensor([1e-6, 1e-5, 1e-4, 1e-3], dtype=torch.float64)
    torch.testing.assert_close(schedule.sigma(t.float()).double(), schedule.sigma(t), rtol=2e-6, atol=0)


def test_the_time_of_a_noise_level(schedule: Schedule) -> None:
    for dtype, most in ((torch.float64, 1e-12), (torch.float32, 3e-7)):
        t = TIMES.to(dtype)
        ratio = schedule.sigma(t) / schedule.alpha(t)
        assert (schedule.time(ratio) - t).abs().max() < most
    assert schedule.time(torch.tensor(1e6)) > 1


def test_shape_and_dtype_are_kept(schedule: Schedule) -> None:
    for dtype in (torch.float32, torch.float64):
        for shape in ((), (3,), (2, 1, 1, 1)):
            t = torch.full(shape, 0.3, dtype=dtype)
            for function in (schedule.alpha, schedule.sigma):
                assert function(t).shape == shape and function(t).dtype == dtype


def test_linear_schedule_has_the_constants_of_song() -> None:
    torch.testing.assert_close(rate(linear_beta(), TIMES), 0.1 + 19.9 * TIMES)
    # alpha^2(1) = exp(-(0.1 + 20)/2)
    expected = torch.tensor(-10.05, dtype=torch.float64).exp()
    torch.testing.assert_close(linear_beta().alpha(TIMES)[-1] ** 2, expected)


def test_cosine_schedule_has_nichol_and_dhariwals_shape() -> None:
    half_pi = torch.pi / 2

    def published(t: Tensor) -> Tensor:
        return torch.cos((t + 0.008) / 1.008 * half_pi) / torch.cos(torch.tensor(0.008 / 1.008 * half_pi).double())

    torch.testing.assert_close(cosine().alpha(TIMES), published(0.995 * TIMES))


def test_a_schedule_is_found_by_the_name_a_bundle_stores() -> None:
    assert schedule_named("linear") == linear_beta() and schedule_named("cosine") == cosine()
    with pytest.raises(CLRFaceError, match=r"linear or cosine.*'sigmoid'"):
        schedule_named("sigmoid")


def test_constants_out_of_range_are_refused() -> None:
    for low, high in ((0.0, 20.0), (-1.0, 20.0), (2.0, 1.0), (0.1, float("inf")), (float("nan"), 20.0)):
        with pytest.raises(CLRFaceError, match="beta_min"):
            linear_beta(low, high)
    for offset in (0.0, 1.0, float("nan")):
        with pytest.raises(CLRFaceError, match="offset"):
            cosine(offset)


@pytest.mark.parametrize("t0", [1.0, 0.5, 1e-3])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 50, 1000])
def test_grids_fall_strictly_from_t0_to_zero(t0: float, steps: int) -> None:
    grid = time_grid(t0, steps)
    assert grid.shape == (steps + 1,) and grid.dtype == torch.float64
    assert grid[0] == t0 and grid[-1] == 0
    assert (grid.diff() < 0).all()


def test_grids_are_evenly_spaced() -> None:
    four = torch.tensor([1, 0.75, 0.5, 0.25, 0], dtype=torch.float64)
    torch.testing.assert_close(time_grid(0.8, 4), 0.8 * four)


def test_bad_grids_are_refused_in_one_sentence() -> None:
    for t0 in (0.0, -0.1, 1.01, float("nan")):
        with pytest.raises(CLRFaceError, match=rf"^Expected .* time in \(0,1\], got {t0}: "):
            time_grid(t0, 4)
    for steps in (0, -3, 2.5, True, MOST_STEPS + 1):
        with pytest.raises(CLRFaceError, match=rf"^Expected .* steps from 1 to {MOST_STEPS}, got {steps}: "):
            time_grid(0.5, steps)  # type: ignore[arg-type]
