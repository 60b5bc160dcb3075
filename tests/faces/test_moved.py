"""A restored face whose points moved is told from one whose points stayed."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from clrface_core.faces.align import Alignment, align_faces
from clrface_core.faces.detect import Face, NetworkDetector, load_detector
from clrface_core.faces.moved import moved
from clrface_core.photo import read_photo
from tests.tiny import Given, face_at

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture(scope="module")
def detector() -> NetworkDetector:
    return load_detector()


@pytest.fixture(scope="module")
def seen(detector: NetworkDetector) -> tuple[Tensor, Alignment, list[Face]]:
    photo = read_photo(SAMPLES / "clean" / "astronaut.jpg").rgb
    faces = detector.detect(photo, 0.8)[:1]
    return *align_faces(photo, faces), faces


def test_a_face_that_stays_has_not_moved(detector: NetworkDetector, seen: tuple[Tensor, Alignment, list[Face]]) -> None:
    crops, alignment, faces = seen
    assert moved(detector, crops, alignment, faces) == [False]
    assert moved(detector, crops[..., ::2, ::2], alignment, faces) == [False]


@pytest.mark.parametrize(("right", "down"), [(60, 0), (0, -60), (80, 80)])
def test_a_face_elsewhere_has(
    detector: NetworkDetector, seen: tuple[Tensor, Alignment, list[Face]], right: int, down: int
) -> None:
    crops, alignment, faces = seen
    assert moved(detector, crops.roll((down, right), (-2, -1)), alignment, faces) == [True]


def test_a_face_that_is_gone_has(detector: NetworkDetector, seen: tuple[Tensor, Alignment, list[Face]]) -> None:
    crops, alignment, faces = seen
    assert moved(detector, torch.full_like(crops, 0.5), alignment, faces) == [True]
    assert moved(detector, crops.flip(-2), alignment, faces) == [True]


def test_a_detector_that_cannot_look_says_nothing(seen: tuple[Tensor, Alignment, list[Face]]) -> None:
    crops, alignment, faces = seen
    assert moved(Given(face_at(0, 0, 9)), torch.zeros_like(crops), alignment, faces) == [False]
