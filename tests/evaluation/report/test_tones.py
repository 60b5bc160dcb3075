"""Skin tones: the angle of known colours, and the table by groups."""

import math

import pytest
import torch

from clrface_core.evaluation.report.tones import tone_lines, tone_of, typology_angle


def face_of(colour: tuple[float, float, float]) -> torch.Tensor:
    """A picture of one colour (3,64,64)."""
    return torch.tensor(colour)[:, None, None].expand(3, 64, 64).contiguous()


@pytest.mark.parametrize("colour", [(0.95, 0.8, 0.7), (0.6, 0.42, 0.32), (0.25, 0.16, 0.1)])
def test_the_angle_is_that_of_the_lab_colour(colour: tuple[float, float, float]) -> None:
    color = pytest.importorskip("skimage.color", reason="the Lab colours to compare with need scikit-image")
    lightness, _, yellowness = color.rgb2lab([colour])[0]
    assert typology_angle(face_of(colour)) == pytest.approx(
        math.degrees(math.atan2(lightness - 50, yellowness)), abs=0.02
    )


def test_only_the_cheeks_count() -> None:
    face = face_of((0.0, 0.0, 1.0))
    face[:, 36:44, 16:48] = face_of((0.95, 0.8, 0.7))[:, 36:44, 16:48]
    assert typology_angle(face) == pytest.approx(typology_angle(face_of((0.95, 0.8, 0.7))))


def test_a_grey_face_has_no_tone() -> None:
    assert typology_angle(face_of((0.5, 0.5, 0.5))) is None


@pytest.mark.parametrize(("angle", "name"), [(60, "light"), (30, "intermediate"), (10, "tan"), (-40, "dark")])
def test_groups(angle: float, name: str) -> None:
    assert tone_of(angle) == name


def test_the_table_says_what_each_group_gained() -> None:
    def face(tone: float | None, before: float, after: float | None) -> dict:
        return {"tone": tone, "outputs": {"input": {"X": before}, "ours": {"X": after}}}

    faces = [face(50, 0.2, 0.5), face(45, 0.4, 0.7), face(0, 0.3, 0.2), face(5, 0.9, None), face(None, 0, 1)]
    assert tone_lines(faces, ["input", "ours"], "X", "input") == [
        "| output | light (2) | dark (2) |",
        "|---|---:|---:|",
        "| input | 0.300 | 0.600 |",
        "| ours | 0.600 (+0.300) | 0.200 (-0.100) |",
        "",
    ]
    assert tone_lines([face(None, 0, 1)], ["input"], "X", "input") == []
