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
        (torch.full((1, 8, 8, 3), 200, dtype=torch.uint8), "whole numbers"),
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


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"bboxes": 7}, "list of boxes, got int"),
        ({"bboxes": [7]}, "list of boxes"),
        ({"bboxes": {"x": 1, "y": 1, "width": 9}}, "x, y, width and height"),
        ({"bboxes": [{"x": "a", "y": 1, "width": 9, "height": 9}]}, "x, y, width and height"),
        ({"face_landmarks": 1.5}, "FACE_LANDMARKS, got float"),
        ({"face_landmarks": {"frames": [[-1]]}}, "landmarks_xy"),
        ({"face_landmarks": {"frames": [[{"landmarks_xy": [[1, 2], 3]}]]}}, "landmarks_xy"),
        ({"face_landmarks": {"frames": [9]}}, "list of landmarks"),
    ],
)
def test_boxes_and_landmarks_of_other_kinds(
    run: Run, two_faces: Photos, sentence: Any, given: dict[str, Any], words: str
) -> None:
    with sentence(words):
        run("CLRFaceDetectAlign", image=two_faces(1), **given)


def test_latents_and_masks_of_odd_shapes(run: Run, model: Any, two_faces: Photos, sentence: Any) -> None:
    crops, alignment, _ = run("CLRFaceDetectAlign", image=two_faces(1)).args
    latent, *_ = run("CLRFaceIRNInit", model=model, crops=crops).args
    for node in ("CLRFaceIdentityMask", "CLRFaceLatentRefineSampler"):
        with sentence("at least 4x4 to refine, got 1x16"):
            run(node, model=model, latent={**latent, "samples": latent["samples"][..., :1]})
        for mask in (torch.ones(1, 24, 0), torch.ones(7), "a"):
            with sentence("finite mask"):
                run(node, model=model, latent=latent, mask=mask)
    for ids in ([], ["a", None], 7, [0]):
        with sentence("2 whole numbers as the batch_index"):
            run("CLRFaceLatentRefineSampler", model=model, latent={**latent, "batch_index": ids})
    with sentence("NaN"):
        run("CLRFaceSelectFaces", alignment=alignment, crops=crops / 0)
    with sentence("IMAGE for pixels, got bool"):
        run("CLRFaceVQEncode", model=model, image=False)
