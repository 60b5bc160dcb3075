"""Ids of faces and the choice among them, in one picture and in several that travel as one list."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from clrface_core.errors import CLRFaceError
from clrface_core.faces.align import FFHQ_TEMPLATE_512
from clrface_core.faces.detect import Face
from clrface_core.faces.select import (
    Detection,
    FaceBatch,
    choose,
    cut_faces,
    find_faces,
    parse_faces,
    select_faces,
)


def face(x: float, y: float, size: float) -> Face:
    """A face whose crop is `size` px wide and begins at (x, y); its box is half as wide."""
    points = (FFHQ_TEMPLATE_512 * size / 512 + (x, y)).astype(np.float32)
    margin = 0.25 * size
    return Face((x + margin, y + margin, x + size - margin, y + size - margin), 0.9, points)


SMALL, LARGE, RIGHT = face(4, 4, 32), face(40, 10, 64), face(120, 60, 48)


class Given:
    """Finds the same three faces everywhere, and keeps the threshold it was asked for."""

    asked = math.nan

    def detect(self, image: Tensor, score_threshold: float) -> list[Face]:
        self.asked = score_threshold
        return [SMALL, RIGHT, LARGE]


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 120, 200, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def batch(images: Tensor) -> FaceBatch:
    return cut_faces(images, [[LARGE, SMALL], [], [RIGHT]], 32)[1]


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        ("all", "all"),
        (" largest ", "largest"),
        ("0", (0,)),
        ("2,0", (2, 0)),
        ("0,2-4", (0, 2, 3, 4)),
        ("0-1", (0, 1)),
        ("3 - 3, 1,3", (3, 1)),
        ([1, 1, 0], (1, 0)),
        (np.arange(2).tolist(), (0, 1)),
        ([np.int64(4)], (4,)),
        ([], ()),
    ],
)
def test_faces_are_named_in_these_ways(given: Any, ids: Any) -> None:
    assert parse_faces(given) == ids
    assert Detection(faces=given) == Detection(faces=ids) and hash(Detection(faces=given)) == hash(Detection(faces=ids))


@pytest.mark.parametrize(
    "given", ["", ",", "0,", "biggest", "-1", "2-0", "1-", "0..2", "1.5", "9" * 30, [-1], [0.5], 3]
)
def test_what_names_no_face_is_refused(given: Any) -> None:
    with pytest.raises(CLRFaceError, match="all, largest, or ids like 0,2-4, got"):
        Detection(faces=given)


@pytest.mark.parametrize(
    "wrong",
    [
        {"score_threshold": 0.0},
        {"score_threshold": 1.0},
        {"score_threshold": math.nan},
        {"order": "size"},
        {"min_size": -1},
        {"min_size": math.nan},
        {"at_most": -1},
        {"at_most": 1.5},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(CLRFaceError, match=r"^Expected .*, got .*: "):
        Detection(**wrong)


def test_faces_are_found_at_the_threshold_and_numbered_in_order(images: Tensor) -> None:
    detector = Given()
    assert find_faces(images[0], detector, Detection()) == [LARGE, RIGHT, SMALL]
    assert detector.asked == Detection().score_threshold == 0.8
    assert find_faces(images[0], detector, Detection(0.3, order="left-right", min_size=99)) == [SMALL, LARGE, RIGHT]
    assert detector.asked == 0.3


@pytest.mark.parametrize(
    ("settings", "ids"),
    [
        ({}, [0, 1, 2]),
        ({"faces": "largest"}, [1]),
        ({"faces": "2,0"}, [2, 0]),
        ({"faces": [1, 1, 0]}, [1, 0]),
        ({"faces": []}, []),
        ({"min_size": 24}, [1, 2]),
        ({"at_most": 2}, [0, 1]),
        ({"min_size": 24, "at_most": 1}, [1]),
        ({"faces": "0-1", "min_size": 24}, [1]),
        ({"faces": "largest", "min_size": 99}, []),
    ],
)
def test_choosing_changes_no_id(settings: dict[str, Any], ids: list[int]) -> None:
    assert select_faces([SMALL, LARGE, RIGHT], Detection(**settings)) == ids
    assert select_faces([], Detection(**settings)) == []


@pytest.mark.parametrize("faces", ["3", "0,9", "1-4", [5]])
def test_ids_that_are_not_there_are_an_error(faces: Any) -> None:
    with pytest.raises(CLRFaceError, match=r"0 to 2\), got [3459]: "):
        select_faces([SMALL, LARGE, RIGHT], Detection(faces=faces))


def test_cutting_numbers_faces_within_their_picture(images: Tensor) -> None:
    crops, batch = cut_faces(images, [[LARGE, SMALL], [], [RIGHT]], 32)
    assert crops.shape == (3, 3, 32, 32)
    assert (batch.frames, batch.frame, batch.ids) == (3, (0, 0, 2), (0, 1, 0))
    alone, _ = cut_faces(images[2:], [[RIGHT]], 32)
    assert torch.equal(crops[2], alone[0])


def test_cutting_the_chosen_ones_keeps_their_ids(images: Tensor) -> None:
    crops, batch = cut_faces(images, [[LARGE, SMALL], [], [RIGHT]], 32)
    some, chosen = cut_faces(images, [[LARGE, SMALL], [], [RIGHT]], 32, chosen=[[1], [], [0]])
    assert (chosen.frame, chosen.ids, chosen.faces) == ((0, 2), (1, 0), (SMALL, RIGHT))
    assert torch.equal(some, crops[1:]) and torch.equal(chosen.alignment.matrices, batch.alignment.matrices[1:])


def test_no_face_anywhere_is_an_empty_batch(images: Tensor) -> None:
    crops, batch = cut_faces(images, [[], [], []], 32)
    assert crops.shape == (0, 3, 32, 32) and len(batch) == 0 and batch.frames == 3
    assert choose(batch, "4") == []


def test_choosing_crops(batch: FaceBatch) -> None:
    assert choose(batch) == [0, 1, 2]
    assert choose(batch, order="left-right") == [1, 0, 2]
    assert choose(batch, "1") == [1]
    assert choose(batch, "0-1") == [0, 1, 2]
    assert choose(batch, "largest") == [0, 2]
    assert choose(batch, at_most=1) == [0, 2]
    assert choose(batch, order="left-right", at_most=1) == [1, 2]
    assert choose(batch, side="right half") == [2]
    assert choose(batch, min_size=20) == [0, 2]
    part = batch.select([2])
    assert part.frame == (2,) and part.faces == (RIGHT,) and part.frames == 3


def test_a_chosen_crop_keeps_its_id_through_the_next_choice(batch: FaceBatch) -> None:
    part = batch.select(choose(batch, "1"))
    assert part.ids == (1,) and choose(part, "1") == [0]


def test_wrong_ids_counts_and_sides(images: Tensor, batch: FaceBatch) -> None:
    with pytest.raises(CLRFaceError, match="0 to 1"):
        choose(batch, [7])
    with pytest.raises(CLRFaceError, match="left half"):
        choose(batch, side="inside")
    with pytest.raises(CLRFaceError, match="a list of faces for each"):
        cut_faces(images, [[SMALL]])
