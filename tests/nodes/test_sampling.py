"""The refiner as a MODEL of ComfyUI's: what its samplers ask of one, and our sampler's result by its arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.nodes.conftest import Run

C = 3


@pytest.fixture
def start(run: Run, model: Any, two_faces: Callable[[int], Tensor]) -> tuple[Any, dict[str, Any], Any]:
    """MODEL, LATENT and CONDITIONING of three faces."""
    crops, alignment, _ = run("CLRFaceDetectAlign", image=two_faces(2)).args
    latent, _, positive, negative = run(
        "CLRFaceIRNInit", model=model, crops=crops[:3], alignment=alignment.select([0, 1, 2])
    ).args
    assert positive is negative or torch.equal(positive[0][1]["concat_latent_image"], latent["samples"])
    return model, latent, positive


@pytest.fixture
def core(part: Callable[[str], Any], model: Any) -> Any:
    return part("nodes.sampling").sampling_model(model).model


def known(core: Any, positive: Any, noise: Tensor, image: Tensor | None) -> Tensor:
    """What the model sees beside the noisy latent, as core's process_conds asks for it."""
    named = {**positive[0][1], "noise": noise, "latent_image": image, "device": noise.device, "prompt_type": "positive"}
    return core.extra_conds(**named)["c_concat"].cond


def euler(core: Any, noise: Tensor, image: Tensor, beside: Tensor, times: list[float], post_cfg: Any = None) -> Tensor:
    """k-diffusion's Euler solver, as core runs it, with a post-CFG patch or without."""
    conditions = [{"model_conds": {"c_concat": SimpleNamespace(cond=beside)}}]
    sampling = core.model_sampling
    levels = [*(sampling.sigma(torch.tensor(t, dtype=torch.float64)).float() for t in times), torch.tensor(0.0)]
    x = sampling.noise_scaling(levels[0], noise, image)
    for here, there in pairwise(levels):
        level = here.expand(len(x))
        denoised = core._apply_model(x, level, c_concat=beside)
        if post_cfg:
            denoised = post_cfg({"denoised": denoised, "sigma": level, "cond": conditions})
        x = x + (x - denoised) / here * (there - here)
    return x


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_cores_euler_gives_what_our_sampler_gives(
    run: Run, core: Any, start: Any, part: Callable[[str], Any], steps: int
) -> None:
    model, latent, positive = start
    z = latent["samples"]
    (ours,) = run("CLRFaceLatentRefineSampler", model=model, latent=latent, steps=steps, seed=5).args
    face_noise = part("clrface_core.diffusion.refine").face_noise
    noise = torch.cat([torch.stack([face_noise(z.shape[1:], seed=0, face_id=9)] * len(z))[:, C:]] * 2, 1)
    noise[:, :C] = torch.stack([face_noise((C, *z.shape[2:]), seed=5, face_id=i) for i in latent["batch_index"]])
    with torch.inference_mode():
        beside = known(core, positive, noise, z)
        theirs = euler(core, noise, z, beside, [0.5 * (steps - i) / steps for i in range(steps)])
    assert (theirs - ours["samples"]).abs().max() < 1e-4 and (ours["samples"] - z)[:, :C].abs().max() > 0.05
    assert torch.equal(theirs[:, C:], z[:, C:])  # the degraded face's latent is carried along untouched


def test_the_simple_scheduler_has_our_grid(core: Any) -> None:
    """KSampler with a denoise of 0.5 takes every 1/(2 steps)-th of the listed levels, and the last half of these."""
    sampling = core.model_sampling
    for steps in (1, 2, 4):
        listed = [sampling.sigmas[-(1 + int(i * len(sampling.sigmas) / (2 * steps)))] for i in range(2 * steps)][steps:]
        times = sampling.timestep(torch.stack(listed))
        assert torch.allclose(times, torch.tensor([0.5 * (steps - i) / steps for i in range(steps)]), atol=1e-6)
    assert sampling.sigma_min == sampling.sigmas[0] < 0.01 and sampling.sigma_max == sampling.sigmas[-1] > 100
    assert sampling.percent_to_sigma(0) > 1e6 and sampling.percent_to_sigma(1) == 0
    assert sampling.percent_to_sigma(0.5) == pytest.approx(float(sampling.sigmas[499]), rel=1e-5)


def test_faces_find_their_conditions_after_latent_nodes(core: Any, start: Any) -> None:
    _, latent, positive = start
    z = latent["samples"]
    noise = torch.ones_like(z)
    assert torch.equal(known(core, positive, noise, z), z)
    chosen = z[[2, 0, 2]]  # Latent From Batch, Repeat Latent Batch, Rebatch
    assert torch.equal(known(core, positive, noise, chosen), chosen)
    again = torch.cat((z[:, :C] + 1, z[:, C:]), 1)  # refined before: what is known of the face stays
    assert torch.equal(known(core, positive, noise, again), z)
    for changed in (z.flip(3), z.rot90(1, (2, 3)), z[..., :8, :8], z * 0.9):  # flipped, rotated, cropped, blended
        assert torch.equal(known(core, positive, torch.ones_like(changed), changed), changed)
    leftover = torch.cat((z[:, :C], z[:, C:] + 1), 1)  # noise of a first sampler, and none added
    assert torch.equal(known(core, positive, torch.zeros_like(z), leftover), z)
    own = torch.zeros(3, C, *z.shape[2:])  # 'VQ Encode', or core's Empty Latent Image
    assert torch.equal(known(core, positive, own, own), z)


def test_what_does_not_fit_is_refused(core: Any, start: Any, part: Callable[[str], Any]) -> None:
    _, latent, positive = start
    z = latent["samples"]
    error = part("clrface_core.errors").CLRFaceError

    def refused(words: str) -> Any:
        return pytest.raises(error, match=rf"^Expected [^\n]*{words}[^\n]*: [^\n]*\.$")

    with refused("CONDITIONING of 'IRN Init'"):
        known(core, [[torch.zeros(1, 77, 768), {}]], z, z)
    with refused("LATENT of 'IRN Init'"):
        known(core, positive, torch.zeros(3, 4, 16, 16), torch.zeros(3, 4, 16, 16))
    for shape in ((2, C, 16, 16), (3, C, 8, 8)):
        with refused("as many latents"):
            known(core, positive, torch.zeros(shape), torch.zeros(shape))
    with refused("ComfyUI can save"):
        core.state_dict_for_saving({})


def test_it_is_in_cores_hands(core: Any, model: Any) -> None:
    """Its layers are core's, and its weights its own: core may move, cast and patch them."""
    import comfy.ops

    kinds = {type(module) for module in core.diffusion_model.modules() if type(module).__name__.endswith("Conv2d")}
    assert kinds == {comfy.ops.manual_cast.Conv2d}
    ours = {parameter.data_ptr() for parameter in model.bundle.refiner.parameters()}
    assert not ours & {parameter.data_ptr() for parameter in core.diffusion_model.parameters()}
    form = core.latent_format
    assert (form.latent_channels, form.spacial_downscale_ratio) == (C, 4)
    assert form.latent_rgb_factors_reshape(torch.zeros(1, 2 * C, 8, 8)).shape == (1, C, 8, 8)


@pytest.mark.parametrize("steps", [1, 2])
def test_guidance_gives_what_our_sampler_gives(run: Run, start: Any, part: Callable[[str], Any], steps: int) -> None:
    """The post-CFG patch in core's Euler solver, the model's own mask and a painted one, against the sampler node."""
    model, latent, positive = start
    z = latent["samples"]
    patcher = part("nodes.sampling").sampling_model(model)
    face_noise = part("clrface_core.diffusion.refine").face_noise
    noise = torch.zeros_like(z)
    noise[:, :C] = torch.stack([face_noise((C, *z.shape[2:]), seed=5, face_id=i) for i in latent["batch_index"]])
    painted = torch.zeros(1, 64, 64)
    painted[:, :32] = 1
    results = []
    for masks in ({}, {"mask": painted}):
        settings = {"model": model, "latent": latent, "steps": steps, "seed": 5, "guidance_scale": 1.5, **masks}
        (ours,) = run("CLRFaceLatentRefineSampler", **settings).args
        (guided,) = run("CLRFaceIdentityGuidance", core_model=patcher, guidance_scale=1.5, **masks).args
        assert guided is not patcher and "sampler_post_cfg_function" not in patcher.model_options
        [patch] = guided.model_options["sampler_post_cfg_function"]
        with torch.inference_mode():
            beside = known(guided.model, positive, noise, z)
            times = [0.5 * (steps - i) / steps for i in range(steps)]
            theirs = euler(guided.model, noise, z, beside, times, patch)
        # the gradient of a random network makes more of rounding than the network itself
        assert (theirs - ours["samples"]).abs().max() < 1e-3
        results.append(theirs)
    (plain,) = run("CLRFaceLatentRefineSampler", model=model, latent=latent, steps=steps, seed=5).args
    assert not torch.equal(results[0], results[1])
    assert all((each - plain["samples"]).abs().max() > 0.02 for each in results)


def test_guidance_has_a_range_and_can_be_off(run: Run, start: Any, part: Callable[[str], Any]) -> None:
    model, *_ = start
    patcher = part("nodes.sampling").sampling_model(model)
    (off,) = run("CLRFaceIdentityGuidance", core_model=patcher, guidance_scale=0.0).args
    assert "sampler_post_cfg_function" not in off.model_options
    (late,) = run("CLRFaceIdentityGuidance", core_model=patcher, start_percent=0.8).args
    [patch] = late.model_options["sampler_post_cfg_function"]
    estimate = torch.ones(1, C, 16, 16)
    sigma = patcher.model.model_sampling.sigma(torch.tensor([0.5]))
    assert patch({"denoised": estimate, "sigma": sigma, "cond": None}) is estimate  # before its range
    error = part("clrface_core.errors").CLRFaceError
    with pytest.raises(error, match=r"^Expected the MODEL of 'Load CLR-Face Model'[^\n]*: [^\n]*\.$"):
        run("CLRFaceIdentityGuidance", core_model=object())
