"""The schedules against their defining equations, and the grids of times."""

import pytest
import torch

from clrface_core.diffusion.schedule import (
    SCHEDULES,
    SPACINGS,
    Schedule,
    cosine,
    linear_beta,
    schedule_named,
    time_grid,
)
from clrface_core.errors import CLRFaceError

TIMES = torch.linspace(0, 1, 1001, dtype=torch.float64)


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
    assert schedule.half_log_snr(TIMES[:1]).item() == float("inf")
    assert (schedule.half_log_snr(TIMES[1:]).diff() < 0).all()


def test_beta_is_the_rate_at_which_alpha_falls(schedule: Schedule) -> None:
    t = TIMES.clone().requires_grad_()
    (slope,) = torch.autograd.grad(schedule.alpha(t).log().sum(), t)
    torch.testing.assert_close(schedule.beta(TIMES), -2 * slope)
    assert schedule.beta(TIMES).isfinite().all() and (schedule.beta(TIMES) > 0).all()


def test_small_times_keep_full_precision_in_float32(schedule: Schedule) -> None:
    # 1 - alpha^2 would have no correct digit left here
    t = torch.tensor([1e-6, 1e-5, 1e-4, 1e-3], dtype=torch.float64)
    torch.testing.assert_close(schedule.sigma(t.float()).double(), schedule.sigma(t), rtol=2e-6, atol=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_time_of_inverts_half_log_snr(schedule: Schedule, dtype: torch.dtype, tolerance: float) -> None:
    t = TIMES.to(dtype)
    back = schedule.time_of(schedule.half_log_snr(t))
    assert back.dtype == dtype and back[0] == 0
    assert (back - t).abs().max() < tolerance


def test_shape_and_dtype_are_kept(schedule: Schedule) -> None:
    for dtype in (torch.float32, torch.float64):
        for shape in ((), (3,), (2, 1, 1, 1)):
            t = torch.full(shape, 0.3, dtype=dtype)
            for function in (schedule.alpha, schedule.sigma, schedule.beta, schedule.half_log_snr):
                assert function(t).shape == shape and function(t).dtype == dtype


def test_linear_schedule_has_the_constants_of_song() -> None:
    t = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    torch.testing.assert_close(linear_beta().beta(t), torch.tensor([0.1, 10.05, 20.0], dtype=torch.float64))
    # alpha^2(1) = exp(-(0.1 + 20)/2)
    expected = torch.tensor(-10.05, dtype=torch.float64).exp()
    torch.testing.assert_close(linear_beta().alpha(t)[-1] ** 2, expected)


def test_cosine_schedule_has_nichol_and_dhariwals_shape() -> None:
    half_pi = torch.pi / 2

    def published(t: torch.Tensor) -> torch.Tensor:
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


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("t0", [1.0, 0.5, 1e-3])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 50, 1000])
def test_grids_fall_strictly_from_t0_to_zero(schedule: Schedule, spacing: str, t0: float, steps: int) -> None:
    grid = time_grid(t0, steps, spacing, schedule=schedule)
    assert grid.shape == (steps + 1,) and grid.dtype == torch.float64
    assert grid[0] == t0 and grid[-1] == 0
    assert (grid.diff() < 0).all()


def test_spacings_are_what_they_say() -> None:
    four = torch.tensor([1, 0.75, 0.5, 0.25, 0], dtype=torch.float64)
    torch.testing.assert_close(time_grid(0.8, 4), 0.8 * four)
    torch.testing.assert_close(time_grid(0.8, 4, "quadratic"), 0.8 * four**2)
    grid = time_grid(0.8, 4, "log-snr", schedule=cosine())
    gaps = cosine().half_log_snr(grid[:-1]).diff()
    torch.testing.assert_close(gaps, gaps.mean().expand(3))
    torch.testing.assert_close(grid[-2], torch.tensor(0.8 / 16, dtype=torch.float64))


def test_bad_grids_are_refused_in_one_sentence() -> None:
    for t0 in (0.0, -0.1, 1.01, float("nan")):
        with pytest.raises(CLRFaceError, match="t0"):
            time_grid(t0, 4)
    for steps in (0, -3, 2.5, True):
        with pytest.raises(CLRFaceError, match="steps"):
            time_grid(0.5, steps)  # type: ignore[arg-type]
    with pytest.raises(CLRFaceError, match="'karras'"):
        time_grid(0.5, 4, "karras")
    with pytest.raises(CLRFaceError, match="needs a schedule"):
        time_grid(0.5, 4, "log-snr")
