"""Faces of several pictures travel as one list and come back to their own picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from clrface_core.errors import CLRFaceError
from clrface_core.faces.align import FFHQ_TEMPLATE_512
from clrface_core.faces.detect import Face
from clrface_core.faces.paste import paste_batch
from clrface_core.faces.select import FaceBatch, choose, cut_faces, find_faces


def face(x: float, y: float, size: float) -> Face:
    """A face whose crop is `size` px wide and begins at (x, y)."""
    points = (FFHQ_TEMPLATE_512 * size / 512 + (x, y)).astype(np.float32)
    margin = 0.25 * size
    return Face((x + margin, y + margin, x + size - margin, y + size - margin), 0.9, points)


SMALL, LARGE, RIGHT = face(4, 4, 32), face(40, 10, 64), face(120, 60, 48)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 120, 200, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def batch(images: Tensor) -> FaceBatch:
    return cut_faces(images, [[LARGE, SMALL], [], [RIGHT]], 32)[1]


def test_cutting_numbers_faces_within_their_picture(images: Tensor, batch: FaceBatch) -> None:
    crops, again = cut_faces(images, [[LARGE, SMALL], [], [RIGHT]], 32)
    assert crops.shape == (3, 3, 32, 32)
    assert (again.frames, again.frame, again.numbers) == (3, (0, 0, 2), (0, 1, 0))
    alone, _ = cut_faces(images[2:], [[RIGHT]], 32)
    assert torch.equal(crops[2], alone[0])


def test_no_face_anywhere_is_an_empty_batch(images: Tensor) -> None:
    crops, batch = cut_faces(images, [[], [], []], 32)
    assert crops.shape == (0, 3, 32, 32) and len(batch) == 0 and batch.frames == 3
    pasted = list(paste_batch(images, crops, batch))
    assert all(
        torch.equal(image, before) and not mask.any() for (image, mask), before in zip(pasted, images, strict=True)
    )
    assert choose(batch, numbers=[4]) == []


def test_crops_come_back_to_their_own_picture(images: Tensor, batch: FaceBatch) -> None:
    white = torch.ones(3, 3, 32, 32)
    pasted = list(paste_batch(images, white, batch, feather=0.1))
    for index, faces in enumerate([[LARGE, SMALL], [], [RIGHT]]):
        image, mask = pasted[index]
        assert torch.equal(image[:, mask[0] == 0], images[index][:, mask[0] == 0])
        assert len(faces) == 0 or all(mask[0, round(f.centre[1]), round(f.centre[0])] > 0.99 for f in faces)
        assert bool(mask.any()) == bool(faces)
    region = torch.zeros(1, 120, 200)
    assert not any(mask.any() for _, mask in paste_batch(images, white, batch, region))


def test_choosing(batch: FaceBatch) -> None:
    assert choose(batch) == [0, 1, 2]
    assert choose(batch, order="left-right") == [1, 0, 2]
    assert choose(batch, numbers=[1]) == [1]
    assert choose(batch, at_most=1) == [0, 2]
    assert choose(batch, side="right half") == [2]
    assert choose(batch, min_size=20) == [0, 2]
    part = batch.select([2])
    assert part.frame == (2,) and part.faces == (RIGHT,) and part.frames == 3


def test_wrong_numbers_counts_and_sides(images: Tensor, batch: FaceBatch) -> None:
    with pytest.raises(CLRFaceError, match="0 to 1"):
        choose(batch, numbers=[7])
    with pytest.raises(CLRFaceError, match="left half"):
        choose(batch, side="inside")
    with pytest.raises(CLRFaceError, match="Expected 3 crops"):
        list(paste_batch(images, torch.ones(2, 3, 32, 32), batch))
    with pytest.raises(CLRFaceError, match="Expected 3 pictures"):
        list(paste_batch(images[:2], torch.ones(3, 3, 32, 32), batch))
    with pytest.raises(CLRFaceError, match="a list of faces for each"):
        cut_faces(images, [[SMALL]])


def test_finding_filters_orders_and_limits(images: Tensor) -> None:
    class Given:
        def detect(self, image: Tensor) -> list[Face]:
            return [SMALL, RIGHT, LARGE]

    assert next(find_faces(images, Given())) == [LARGE, RIGHT, SMALL]
    assert next(find_faces(images, Given(), min_size=20, order="left-right")) == [LARGE, RIGHT]
    assert [len(faces) for faces in find_faces(images, Given(), at_most=1)] == [1, 1, 1]
