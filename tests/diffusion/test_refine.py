"""The sampling loop: where it starts, what it passes on, and that a face's noise is its own."""

from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest
import torch
from torch import Tensor

from clrface_core.diffusion.guidance import IdentityGuidance
from clrface_core.diffusion.refine import Sampling, face_noise, refine
from clrface_core.diffusion.schedule import cosine, linear_beta, time_grid
from clrface_core.diffusion.solvers import SOLVERS, ddim
from clrface_core.errors import CLRFaceError
from clrface_core.models.bundle import build

SHAPE = (3, 3, 16, 16)
ALL_SOLVERS = sorted(SOLVERS)


def latents(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


Z_I, Z_D, Z_0 = latents(1), latents(2), latents(3)


def pull(z_t: Tensor, z_d: Tensor, z_i: Tensor, t: Tensor) -> Tensor:
    """A denoiser that depends on all it is given, each face alone."""
    return 0.5 * z_i + 0.2 * torch.tanh(z_t) + 0.1 * z_d * t[:, None, None, None]


def run(z_i: Tensor = Z_I, z_d: Tensor = Z_D, *, denoiser: Any = pull, **options: Any) -> Tensor:
    """`refine` in 4 steps from t = 0.5; options are its own and Sampling's."""
    named = {each.name for each in fields(Sampling)}
    sampling = Sampling(**{"steps": 4, **{key: value for key, value in options.items() if key in named}})
    others = {key: value for key, value in options.items() if key not in named}
    return refine(denoiser, z_i, z_d, sampling, **{"schedule": cosine(), "t0": 0.5, **others})


def test_the_start_is_the_noised_irn_latent_never_pure_noise() -> None:
    steps: list[dict] = []
    run(t0=0.3, seed=5, callback=steps.append)
    alpha, sigma = cosine().alpha(torch.tensor(0.3)), cosine().sigma(torch.tensor(0.3))
    noise = torch.stack([face_noise(SHAPE[1:], seed=5, face_id=face) for face in range(3)])
    torch.testing.assert_close(steps[0]["z"], alpha * Z_I + sigma * noise)
    assert steps[0]["t"] == 0.3 and steps[0]["total"] == 4


@pytest.mark.parametrize("denoise", [0.2, 0.7, 1.0])
def test_denoise_takes_the_place_of_t0(denoise: float) -> None:
    steps: list[dict] = []
    end = run(t0=0.5, denoise=denoise, callback=steps.append)
    assert [step["t"] for step in steps] == time_grid(denoise, 4)[:-1].tolist()
    assert torch.equal(end, run(t0=denoise)) and not torch.equal(end, run(t0=0.5))


@pytest.mark.parametrize("solver", ALL_SOLVERS)
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_perfect_denoiser_gives_the_clean_latent(solver: str, steps: int) -> None:
    assert torch.equal(run(denoiser=lambda *_: Z_0, solver=solver, steps=steps), Z_0)


def test_the_loop_is_the_solver_over_the_conditional_denoiser() -> None:
    schedule, grid = linear_beta(), time_grid(0.6, 5)
    noise = torch.stack([face_noise(SHAPE[1:], seed=9, face_id=face) for face in range(3)])
    start = schedule.alpha(grid[0]).float() * Z_I + schedule.sigma(grid[0]).float() * noise
    expected = ddim(lambda z, t: pull(z, Z_D, Z_I, t), start, grid, schedule)
    got = run(schedule=schedule, t0=0.6, steps=5, seed=9)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("solver", ALL_SOLVERS)
def test_same_seed_same_bytes_another_seed_another_face(solver: str) -> None:
    first, again, other = (run(solver=solver, seed=seed) for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert all(not torch.allclose(a, b, atol=1e-3) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("solver", ALL_SOLVERS)
def test_a_faces_noise_is_its_own_in_any_batch(solver: str) -> None:
    together = run(solver=solver, steps=3)
    for part in ([2], [0, 1], [2, 0]):
        alone = run(Z_I[part], Z_D[part], solver=solver, steps=3, face_ids=part)
        assert torch.equal(alone, together[part])


@pytest.mark.parametrize("solver", ALL_SOLVERS)
def test_torchs_own_generator_is_neither_used_nor_moved(solver: str) -> None:
    ends = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        ends.append(run(solver=solver))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*ends)


def test_noise_is_standard_and_unrelated_between_seeds_and_faces() -> None:
    keys = [(seed, face) for seed in (0, 1, 2**32, 2**64 - 1) for face in (0, 1, 2, 3)]
    noise = torch.stack([face_noise((5000,), seed=seed, face_id=face) for seed, face in keys])
    assert noise.dtype == torch.float32
    assert (noise.mean(dim=1).abs() < 5 / 5000**0.5).all()
    assert ((noise.var(dim=1) - 1).abs() < 5 * (2 / 5000) ** 0.5).all()
    correlation = noise.corrcoef() - torch.eye(len(keys))
    assert correlation.abs().max() < 5 / 5000**0.5


def test_guidance_moves_every_estimate_and_the_last_one_is_the_result() -> None:
    person = latents(4)
    guidance = IdentityGuidance(lambda z: z, lambda x: x.flatten(1), person.flatten(1), strength=1.0)
    seen: list[dict] = []
    end = run(guidance=guidance, callback=seen.append)
    for step in seen:
        t = torch.full((3,), step["t"])
        expected = guidance(pull(step["z"], Z_D, Z_I, t), cosine().alpha(t))
        torch.testing.assert_close(step["denoised"], expected)
    assert torch.equal(end, seen[-1]["denoised"])

    def similarity(z: Tensor) -> Tensor:
        return torch.cosine_similarity(z.flatten(1), person.flatten(1))

    assert (similarity(end) > similarity(run())).all()


def test_strength_zero_is_no_guidance_at_all() -> None:
    def never(_: Tensor) -> Tensor:
        raise AssertionError("guidance of strength 0 called a network")

    guidance = IdentityGuidance(never, never, torch.zeros(3, 2), strength=0.0)
    assert torch.equal(run(guidance=guidance), run())


def test_the_state_is_float32_however_the_network_runs() -> None:
    def half(z_t: Tensor, z_d: Tensor, z_i: Tensor, t: Tensor) -> Tensor:
        assert z_t.dtype == z_d.dtype == z_i.dtype == t.dtype == torch.float32
        return pull(z_t, z_d, z_i, t).to(torch.bfloat16)

    end = run(Z_I.to(torch.bfloat16), Z_D.to(torch.bfloat16), denoiser=half)
    assert end.dtype == torch.float32
    torch.testing.assert_close(end, run(), rtol=0, atol=0.03)
    assert run(Z_I.double(), Z_D.double()).dtype == torch.float64


def test_raising_from_the_callback_stops_the_loop() -> None:
    calls: list[int] = []

    def counted(*inputs: Tensor) -> Tensor:
        calls.append(1)
        return pull(*inputs)

    def cancel(step: dict) -> None:
        if step["i"] == 1:
            raise InterruptedError("the user pressed cancel")

    with pytest.raises(InterruptedError):
        run(denoiser=counted, steps=8, callback=cancel)
    assert len(calls) == 2


def test_a_real_refiner_runs_guided_through_a_real_decoder() -> None:
    torch.manual_seed(0)
    bundle = build("tiny")
    assert bundle.vq is not None and bundle.refiner is not None
    refiner, vq = bundle.refiner, bundle.vq
    channels = refiner.config.channels
    z_i = torch.randn(2, channels, 16, 16, generator=torch.Generator().manual_seed(0))
    target = torch.randn(2, 3, generator=torch.Generator().manual_seed(1))
    guidance = IdentityGuidance(vq.decode, lambda x: x.mean(dim=(2, 3)), target, strength=1.0)
    with torch.inference_mode():
        plain = run(z_i, z_i, denoiser=refiner, steps=2)
        guided = run(z_i, z_i, denoiser=refiner, steps=2, guidance=guidance)
        distance = [1 - torch.cosine_similarity(vq.decode(z).mean(dim=(2, 3)), target) for z in (plain, guided)]
    assert (distance[1] < distance[0]).all()
    assert all(parameter.grad is None for parameter in vq.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"t0": 0.0}, r"time in \(0,1\], got 0.0"),
        ({"t0": 1.5}, r"time in \(0,1\], got 1.5"),
        ({"face_ids": [0, 1]}, "one face id per latent, got 2 for 3"),
        ({"z_d": Z_D[:2]}, r"\(3, 3, 16, 16\) and \(2, 3, 16, 16\)"),
        ({"z_i": Z_I[0], "z_d": Z_D[0]}, "B,C,h,w"),
        ({"z_i": Z_I[:0], "z_d": Z_D[:0]}, "at least 1"),
        ({"z_i": Z_I.long(), "z_d": Z_D.long()}, "floating-point"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(options: dict[str, Any], message: str) -> None:
    def never(*_: Tensor) -> Tensor:
        raise AssertionError("the denoiser was called")

    with pytest.raises(CLRFaceError, match=message):
        run(denoiser=never, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps from 1 to .*, got 0"),
        ({"solver": "lms"}, r"solver \(ddim or dpmpp_2m\), got 'lms'"),
        ({"denoise": 0.0}, r"time in \(0,1\], got 0.0"),
        ({"denoise": 1.5}, r"time in \(0,1\], got 1.5"),
        ({"guidance_scale": -0.1}, "guidance scale .*, got -0.1"),
        ({"guidance_scale": float("nan")}, "guidance scale .*, got nan"),
        ({"guidance_scale": float("inf")}, "guidance scale .*, got inf"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(CLRFaceError, match=f"^Expected .*{message}: "):
        Sampling(**options)


def test_settings_cannot_change_after_their_check() -> None:
    with pytest.raises(FrozenInstanceError):
        Sampling().steps = 0  # type: ignore[misc]
