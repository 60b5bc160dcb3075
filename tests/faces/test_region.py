"""The part of a crop that is put back: the whole, or an oval that leaves out hair, hat, ears and background."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from clrface_core.errors import CLRFaceError
from clrface_core.faces.align import FFHQ_TEMPLATE_512, align_faces
from clrface_core.faces.detect import Face
from clrface_core.faces.paste import Blending, paste_faces
from clrface_core.faces.region import CROP, REGIONS, face_oval
from clrface_core.faces.select import cut_faces

HAIR, HAT, EARS = [(256, 70), (110, 140), (400, 140)], [(256, 30)], [(95, 260), (417, 260)]


def marks(degrees: float = 0, nose: float = 0) -> np.ndarray:
    """Landmarks (5,2) of a face in a picture of 512 px, turned about its middle; the nose so many pixels aside."""
    points = FFHQ_TEMPLATE_512.copy()
    points[2, 0] += nose
    a = math.radians(degrees)
    return (points - 255.5) @ np.array([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]]) + 255.5


def masks(points: np.ndarray) -> dict[str, Tensor]:
    """The blend mask (512,512) of a changed crop, by region."""
    photo = torch.full((3, 512, 512), 0.3)
    crops, alignment = align_faces(photo, [points])
    options = {region: Blending(region=region, detail=0, grain=0) for region in REGIONS}
    return {region: paste_faces(photo, 1 - crops, alignment, each)[1][0] for region, each in options.items()}


def test_the_face_alone_is_changed() -> None:
    whole, face = masks(marks()).values()
    assert (face <= whole).all() and 0.15 < float((face > 0).float().mean()) < 0.3 < float((whole > 0).float().mean())
    assert all(face[round(y), round(x)] == 1 for x, y in FFHQ_TEMPLATE_512)
    assert all(face[y, x] == 0 for x, y in HAIR + HAT + EARS) and all(whole[y, x] == 1 for x, y in HAIR + EARS)
    assert face[440, 256] > 0 and face[490, 256] == 0  # the chin, and the neck


@pytest.mark.parametrize("degrees", [90, 180, 33])
def test_it_turns_with_the_face(degrees: float) -> None:
    turned = masks(marks(degrees))["face"]
    upright = masks(marks())["face"]
    assert all(turned[round(y), round(x)] > 0.99 for x, y in marks(degrees))
    assert float(turned.sum()) == pytest.approx(float(upright.sum()), rel=0.01)
    if degrees == 180:
        assert torch.allclose(turned, upright.flip(0, 1), atol=1e-3)


def test_of_a_turned_head_it_covers_the_side_that_shows() -> None:
    photo = torch.zeros(3, 512, 512)

    def centre(nose: float) -> float:
        return face_oval(align_faces(photo, [marks(nose=nose)])[1]).centre[0]

    assert centre(-25) > centre(0) + 0.02 and centre(25) < centre(0) - 0.02


def test_it_does_not_depend_on_the_size_of_crop_or_photo() -> None:
    photo = torch.zeros(3, 512, 512)
    ovals = [
        face_oval(align_faces(photo, [marks(12)])[1]),
        face_oval(align_faces(photo, [marks(12)], 64)[1]),
        face_oval(align_faces(photo, [marks(12)])[1].for_crops(1024).for_image((2048, 2048))),
    ]
    for oval in ovals[1:]:
        assert oval.centre == pytest.approx(ovals[0].centre) and oval.radii == pytest.approx(ovals[0].radii)


def test_batches_and_choices_keep_landmarks() -> None:
    photos = torch.rand(2, 3, 512, 512)
    found = [[Face((100, 100, 400, 450), 0.9, marks(angle).astype("float32"))] for angle in (0, 40)]
    _, batch = cut_faces(photos, found)
    alone = align_faces(photos[1], found[1])[1]
    assert batch.alignment.landmarks is not None
    assert face_oval(batch.select([1]).alignment) == face_oval(alone) != face_oval(batch.select([0]).alignment)


def test_the_depth_of_the_crop_is_what_it_was() -> None:
    """The superellipse, in its own words: 1 at its centre, 0 on its rim."""
    u = torch.tensor([0.5, 0.97, 0.03, 0.5, 0.75])
    v = torch.tensor([0.505, 0.505, 0.505, 0.99, 0.7])
    inner = 1 - ((0.25 / 0.47) ** 2.5 + (0.195 / 0.485) ** 2.5) ** 0.4
    assert CROP.depth(u, v).tolist() == pytest.approx([1, 0, 0, 0, inner], abs=1e-6)


def test_a_region_that_there_is_not() -> None:
    with pytest.raises(CLRFaceError, match=r"crop or face.*'head'"):
        Blending(region="head")
