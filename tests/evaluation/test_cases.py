"""Which faces are measured, and how they are degraded."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from clrface_core.degrade import STANDARD, DegradeConfig, draw
from clrface_core.errors import CLRFaceError
from clrface_core.evaluation.cases import choose_faces, make_case, seed_of


def test_faces_are_chosen_by_key_so_many_of_each_set(faces: Path) -> None:
    assert [face.key for face in choose_faces(faces, 2)] == ["b-1", "b-2", "c-1", "c-2"]


def test_a_bad_header_is_named_or_an_error(faces: Path) -> None:
    (faces / "b-0.png").write_bytes(b"\x89PNG broken")
    skipped: list[str] = []
    assert [face.key for face in choose_faces(faces, 2, skipped)] == ["b-1", "c-1", "c-2"]
    assert len(skipped) == 1 and "b-0.png" in skipped[0]
    with pytest.raises(CLRFaceError, match=r"b-0\.png"):
        choose_faces(faces)


def test_seeds_come_from_the_key_alone() -> None:
    assert seed_of("b-12") != seed_of("b-13")
    assert seed_of("b-12") == 8431815334998769327, "a seed must never change between versions"


def test_truths_up_to_512_keep_their_size_and_are_degraded_at_512(faces: Path, smooth_picture: Any) -> None:
    small = choose_faces(faces)[0]
    case = make_case(small, STANDARD, 0)
    assert case.truth.shape == (3, 128, 128) and case.degraded.shape == (3, 512, 512)
    assert case.degradation == draw(STANDARD, (0, seed_of(small.key)))
    pixels = (smooth_picture(600, 600) * 255).byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(faces / "large-1.png")
    large = next(face for face in choose_faces(faces) if face.set_name == "large")
    assert make_case(large, STANDARD, 0).truth.shape == (3, 512, 512)


def test_a_grey_degradation_is_compared_with_a_grey_truth(faces: Path) -> None:
    case = make_case(choose_faces(faces)[0], DegradeConfig(grey=1.0), 0)
    assert torch.equal(case.truth[0], case.truth[2])
