"""What is no picture, or from another node, is refused in one sentence: what was expected, what came, what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.nodes.conftest import Photos, Run


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (torch.rand(1, 8, 8, 4), "4 channels"),
        (torch.rand(1, 8, 8, 1), "1 channels"),
        (torch.full((1, 8, 8, 3), float("nan")), "NaN"),
        (torch.rand(0, 8, 8, 3), "empty batch"),
        (torch.rand(1, 0, 8, 3), "to have pixels"),
        (torch.rand(8, 8, 3), "a tensor"),
        ("a", "str"),
    ],
)
@pytest.mark.parametrize("node", ["CLRFaceDetectAlign", "CLRFaceRestoreFaces", "CLRFaceDegradeFace"])
def test_what_is_no_picture(run: Run, model: Any, sentence: Any, node: str, image: Any, words: str) -> None:
    with sentence(words):
        run(node, image=image)


def test_a_picture_of_one_pixel(run: Run, model: Any, sentence: Any) -> None:
    dot = torch.rand(1, 1, 1, 3)
    image, mask, count, *_ = run("CLRFaceRestoreFaces", image=dot).args
    assert torch.equal(image, dot) and count == 0 and not mask.any()
    assert run("CLRFaceDegradeFace", image=dot).args[0].shape == dot.shape
    with sentence("at least 4x4 px"):
        run("CLRFaceVQEncode", model=model, image=dot)
    with sentence("got 1x1"):
        run("CLRFaceFaceSimilarity", faces=dot, reference=dot)
    with sentence("aligned faces"):
        run("CLRFaceIRNInit", model=model, crops=dot)


def test_crops_and_alignment_of_different_nodes(run: Run, model: Any, two_faces: Photos, sentence: Any) -> None:
    crops, alignment, _ = run("CLRFaceDetectAlign", image=two_faces(1)).args
    with sentence("2 crops"):
        run("CLRFaceSelectFaces", crops=crops[:1], alignment=alignment)
    with sentence("2 crops"):
        run("CLRFaceFacePaste", image=two_faces(1), crops=crops[:1], alignment=alignment)
    with sentence("got 192 x 90 px"):
        run("CLRFaceFacePaste", image=two_faces(1)[:, :90], crops=crops, alignment=alignment)
    with sentence("1 pictures"):
        run("CLRFaceFacePaste", image=two_faces(2), crops=crops, alignment=alignment)
    with sentence("face ids"):
        run("CLRFaceSelectFaces", crops=crops, alignment=alignment, faces="9")
    with sentence("ids like"):
        run("CLRFaceSelectFaces", crops=crops, alignment=alignment, faces="the left one")


def test_latents_that_do_not_come_from_irn_init(
    run: Run, model: Any, two_faces: Photos, sentence: Any, part: Callable[[str], Any]
) -> None:
    crops, *_ = run("CLRFaceDetectAlign", image=two_faces(1)).args
    (encoded,) = run("CLRFaceVQEncode", model=model, image=crops).args
    latent, *_ = run("CLRFaceIRNInit", model=model, crops=crops).args
    for node in ("CLRFaceLatentRefineSampler", "CLRFaceIdentityMask"):
        for foreign in (encoded, {"samples": torch.zeros(1, 4, 16, 16)}, {"samples": torch.zeros(1, 16, 16, 16)}):
            with sentence("IRN Init"):
                run(node, model=model, latent=foreign)
    for samples in (torch.zeros(1, 3, 4, 8, 8), torch.zeros(1, 4, 8, 8), torch.zeros(1, 16, 8, 8)):
        with sentence("VQ Encode"):
            run("CLRFaceVQDecode", model=model, latent={"samples": samples})
        with sentence("VQ Encode"):
            part("nodes.vae").HostVAE(model).decode(samples)
    endless = {**latent, "samples": latent["samples"] / 0}
    for node in ("CLRFaceVQDecode", "CLRFaceLatentRefineSampler", "CLRFaceIdentityMask"):
        with sentence("finite latents"):
            run(node, model=model, latent=endless)
    with sentence("finite mask"):
        run("CLRFaceIdentityMask", model=model, latent=latent, mask=torch.full((1, 8, 8), float("nan")))
    with sentence("finite mask"):
        run("CLRFaceRestoreFaces", image=two_faces(1), mask=torch.ones(3, 8, 8))
