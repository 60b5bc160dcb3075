"""Paste Faces: crops of any size go back, and a region mask keeps the photo."""

from __future__ import annotations

from typing import Any

import torch

from tests.nodes.conftest import Photos, Run


def test_crops_may_grow_before_they_are_pasted(run: Run, model: Any, two_faces: Photos) -> None:
    photos = two_faces(1)
    crops, alignment, _ = run("CLRFaceDetectAlign", image=photos).args
    larger = torch.nn.functional.interpolate(crops.movedim(-1, 1), scale_factor=2, mode="bicubic").movedim(1, -1)
    image, mask = run("CLRFaceFacePaste", image=photos, crops=larger.clamp(0, 1), alignment=alignment).args
    assert mask.any() and float((image - photos).abs().mean()) < 0.01


def test_a_region_mask_keeps_the_photo(run: Run, model: Any, two_faces: Photos) -> None:
    photos = two_faces(2)
    region = torch.zeros(1, 64, 96)
    region[:, :, 48:] = 1
    image, mask, count, *_ = run("CLRFaceRestoreFaces", image=photos, mask=region).args
    assert count == 4 and torch.equal(image[:, :, :94], photos[:, :, :94]) and mask[:, :, 98:].any()


def test_the_face_alone_is_put_back(run: Run, model: Any, two_faces: Photos) -> None:
    photos = two_faces(1)
    crops, alignment, _ = run("CLRFaceDetectAlign", image=photos).args
    given = {"image": photos, "crops": 1 - crops, "alignment": alignment}
    whole, around = run("CLRFaceFacePaste", **given).args
    face, oval = run("CLRFaceFacePaste", **given, region="face").args
    assert (oval <= around).all() and 0 < oval.sum() < 0.6 * around.sum()
    assert torch.equal(face[oval == 0], photos[oval == 0]) and not torch.equal(face, whole)
