"""The latents between IRN Init, the mask, the sampler and VQ Decode are ordinary ones."""

from __future__ import annotations

from typing import Any

import torch

from tests.nodes.conftest import Photos, Run


def test_the_latents_are_ordinary(run: Run, model: Any, two_faces: Photos) -> None:
    """Core nodes copy the dict and change its samples: the estimate's first, then the degraded face's."""
    crops, *_ = run("CLRFaceDetectAlign", image=two_faces(1)).args
    latent, *_ = run("CLRFaceIRNInit", model=model, crops=crops).args
    (plain,) = run("CLRFaceLatentRefineSampler", model=model, latent=latent).args
    (changed,) = run(
        "CLRFaceLatentRefineSampler", model=model, latent={**latent, "samples": latent["samples"] * 0.5}
    ).args
    assert plain["samples"].shape == latent["samples"].shape and not torch.equal(plain["samples"], changed["samples"])
    left = torch.zeros(1, 64, 64)
    left[:, :, :32] = 1
    (half,) = run("CLRFaceLatentRefineSampler", model=model, latent={**latent, "noise_mask": left}).args
    assert torch.equal(half["samples"][..., 8:], latent["samples"][..., 8:])
    assert torch.equal(half["samples"][..., :8], plain["samples"][..., :8])


def test_latent_nodes_act_on_the_estimate_and_the_degraded_face_alike(run: Run, model: Any, two_faces: Photos) -> None:
    """A flipped latent is flipped whole, and a resized one gives a face of that size."""
    crops, *_ = run("CLRFaceDetectAlign", image=two_faces(1)).args
    latent, *_ = run("CLRFaceIRNInit", model=model, crops=crops).args
    flipped = latent | {"samples": latent["samples"].flip(3)}
    (refined,) = run("CLRFaceLatentRefineSampler", model=model, latent=flipped).args
    assert torch.equal(refined["samples"][:, 3:], latent["samples"][:, 3:].flip(3))
    larger = latent | {"samples": torch.nn.functional.interpolate(latent["samples"], scale_factor=2.0)}
    (refined,) = run("CLRFaceLatentRefineSampler", model=model, latent=larger).args
    assert run("CLRFaceVQDecode", model=model, latent=refined).args[0].shape == (2, 128, 128, 3)


def test_a_painted_mask_multiplies_the_learned_one(run: Run, model: Any, two_faces: Photos) -> None:
    crops, *_ = run("CLRFaceDetectAlign", image=two_faces(1)).args
    latent, *_ = run("CLRFaceIRNInit", model=model, crops=crops).args
    (learned,) = run("CLRFaceIdentityMask", model=model, latent=latent).args
    painted = torch.ones(1, 128, 128)
    painted[:, :64] = 0
    (both,) = run("CLRFaceIdentityMask", model=model, latent=latent, mask=painted).args
    assert learned.shape == (2, 16, 16) and learned.any()
    assert not both[:, :8].any() and torch.equal(both[:, 8:], learned[:, 8:])
    settings = {"guidance_scale": 2.0, "steps": 2}
    (free,) = run("CLRFaceLatentRefineSampler", model=model, latent=latent, mask=learned, **settings).args
    (own,) = run("CLRFaceLatentRefineSampler", model=model, latent=latent, **settings).args
    (none,) = run("CLRFaceLatentRefineSampler", model=model, latent=latent, mask=learned * 0, **settings).args
    assert torch.equal(free["samples"], own["samples"]) and not torch.equal(free["samples"], none["samples"])


def test_quantising_once(run: Run, model: Any) -> None:
    z = {"samples": torch.randn(1, 3, 8, 8)}
    snapped, _ = run("CLRFaceVQDecode", model=model, latent=z).args
    free, _ = run("CLRFaceVQDecode", model=model, latent=z, quantise=False).args
    assert snapped.shape == free.shape == (1, 32, 32, 3) and not torch.equal(snapped, free)
