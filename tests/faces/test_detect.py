"""Detection on faces drawn by arithmetic; orders of faces; loading; faces that others found."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from clrface_core.errors import CLRFaceError
from clrface_core.faces.detect import (
    Detector,
    Face,
    faces_in_boxes,
    from_mesh,
    load_detector,
    order_faces,
)
from clrface_core.faces.search import retinaface, scan

Draw = Callable[..., np.ndarray]
Ground = Callable[[int, int], Tensor]
Miss = Callable[[Face, np.ndarray], float]


def test_a_face_is_found_once_with_its_points_in_the_order_of_the_template(
    detector: Detector, draw: Draw, ground: Ground, miss: Miss
) -> None:
    picture = ground(200, 240)
    points = draw(picture, 110, 90, 128)
    (face,) = detector.detect(picture, 0.75)
    assert miss(face, points) < 0.12
    assert face.landmarks.shape == (5, 2) and face.landmarks.dtype == np.float32
    assert face.landmarks[0, 0] < face.landmarks[1, 0] and face.landmarks[3, 0] < face.landmarks[4, 0]
    x0, y0, x1, y1 = face.box
    assert x0 < points[:, 0].min() and points[:, 0].max() < x1 and y0 < points[0, 1] and points[3, 1] < y1
    assert 0.85 < face.score <= 1


@pytest.mark.parametrize("degrees", [0, 20, 45, 75, 90, 135, 180, 270, 290])
def test_a_turned_face_has_turned_points(
    detector: Detector, degrees: int, draw: Draw, ground: Ground, miss: Miss
) -> None:
    picture = ground(192, 192)
    points = draw(picture, 96, 90, 110, degrees)
    (face,) = detector.detect(picture, 0.75)
    assert miss(face, points) < 0.15


@pytest.mark.parametrize("size", [40, 90, 400, 900])
def test_faces_are_found_at_any_size(detector: Detector, size: int, draw: Draw, ground: Ground, miss: Miss) -> None:
    # The box of a drawn face is half as wide as the drawing, so the smallest face is 20 px wide.
    picture = ground(600, 700)
    points = draw(picture, 300, 280, size)
    (face,) = detector.detect(picture, 0.75)
    assert miss(face, points) < 0.15


@pytest.mark.parametrize("factor", [8, 16])
def test_a_blurred_noisy_face_is_found(detector: Detector, factor: int, draw: Draw, ground: Ground, miss: Miss) -> None:
    picture = ground(512, 512)
    points = draw(picture, 256, 240, 400)
    small = F.avg_pool2d(picture[None], factor)
    small = small + 0.05 * torch.randn(small.shape, generator=torch.Generator().manual_seed(0))
    blurred = F.interpolate(small, (512, 512), mode="bilinear", align_corners=False)[0].clamp(0, 1)
    (face,) = detector.detect(blurred, 0.75)
    assert miss(face, points) < 0.15


@pytest.mark.parametrize("x, y", [(185, 100), (100, 195), (15, 15)])
def test_a_face_cut_by_the_edge_is_found_and_its_box_stays_inside(
    detector: Detector, x: int, y: int, draw: Draw, ground: Ground, miss: Miss
) -> None:
    picture = ground(200, 200)
    points = draw(picture, x, y, 128)
    (face,) = detector.detect(picture, 0.75)
    assert miss(face, points) < 0.25
    assert min(face.box) >= -0.5 and max(face.box) <= 199.5


def test_overlapping_faces_are_kept_apart(detector: Detector, draw: Draw, ground: Ground, miss: Miss) -> None:
    picture = ground(200, 280)
    points = [draw(picture, 90, 100, 150), draw(picture, 150, 108, 150)]
    faces = order_faces(detector.detect(picture, 0.75), "left-right")
    assert len(faces) == 2
    assert all(miss(face, where) < 0.3 for face, where in zip(faces, points, strict=True))
    assert faces[0].box[2] > faces[1].box[0]


def test_forty_faces(detector: Detector, draw: Draw, ground: Ground) -> None:
    picture = ground(500, 800)
    tile = ground(100, 100)
    draw(tile, 50, 48, 72)
    for row in range(5):
        for column in range(8):
            picture[:, row * 100 : row * 100 + 100, column * 100 : column * 100 + 100] = tile
    faces = order_faces(detector.detect(picture, 0.75), "top-bottom")
    assert len(faces) == 40
    cells = {(round((face.centre[1] - 50) / 100), round((face.centre[0] - 50) / 100)) for face in faces}
    assert cells == {(row, column) for row in range(5) for column in range(8)}


def test_small_faces_in_a_photo_on_its_side_are_found_by_the_turned_scan(
    detector: Detector, draw: Draw, ground: Ground, miss: Miss
) -> None:
    upright = ground(300, 600)
    points = np.stack([draw(upright, 100 + 200 * i, 150, 48) for i in range(3)])
    faces = order_faces(detector.detect(torch.rot90(upright, 1, (-2, -1)), 0.75), "top-bottom")
    assert len(faces) == 3
    for face, where in zip(reversed(faces), points, strict=True):
        turned = np.stack([where[:, 1], 599 - where[:, 0]], 1)
        assert miss(face, turned) < 0.2


def test_a_small_face_is_found_wherever_the_tiles_meet(
    detector: Detector, monkeypatch: pytest.MonkeyPatch, draw: Draw, ground: Ground, miss: Miss
) -> None:
    monkeypatch.setattr(scan, "TILE", 256)
    for x, y in [(250, 128), (300, 260)]:
        picture = ground(520, 560)
        points = draw(picture, x, y, 60)
        (face,) = detector.detect(picture, 0.75)
        assert miss(face, points) < 0.15


@pytest.mark.parametrize("height, width", [(1, 1), (1, 40), (40, 1), (7, 5), (33, 500)])
def test_pictures_too_small_or_thin_for_a_face_hold_none(detector: Detector, height: int, width: int) -> None:
    picture = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))
    assert detector.detect(picture, 0.75) == []


def test_no_face_is_seen_in_ramps_checks_noise_and_ellipses(detector: Detector, ground: Ground) -> None:
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(0, 1, 160).expand(3, 160, 160)
    checks = ((torch.arange(160)[:, None] // 8 + torch.arange(160) // 8) % 2).float().expand(3, 160, 160)
    noise = torch.rand(3, 160, 160, generator=generator)
    ellipse = ground(160, 160)
    rows, columns = torch.meshgrid(torch.arange(160), torch.arange(160), indexing="ij")
    ellipse[:, ((columns - 80) / 40) ** 2 + ((rows - 80) / 55) ** 2 < 1] = torch.tensor([[0.87], [0.68], [0.57]])
    for picture in (ramp, checks, noise, ellipse):
        assert detector.detect(picture, 0.75) == []


def test_detection_repeats_and_takes_half_precision_pictures(detector: Detector, draw: Draw, ground: Ground) -> None:
    picture = ground(160, 160)
    draw(picture, 80, 80, 100)
    (first,), (again,) = detector.detect(picture, 0.75), detector.detect(picture, 0.75)
    assert first.box == again.box and first.score == again.score
    assert np.array_equal(first.landmarks, again.landmarks)
    (half,) = detector.detect(picture.bfloat16(), 0.75)
    assert np.abs(half.landmarks - first.landmarks).max() < 1


@pytest.mark.parametrize("picture", [torch.zeros(32, 32, 3), torch.zeros(3, 32, 32, dtype=torch.uint8)])
def test_what_is_no_picture_is_refused(detector: Detector, picture: Tensor) -> None:
    with pytest.raises(CLRFaceError, match="RGB picture"):
        detector.detect(picture, 0.75)


def test_a_real_photo(detector: Detector) -> None:
    data = pytest.importorskip("skimage.data")
    photo = torch.from_numpy(data.astronaut()).permute(2, 0, 1) / 255
    (face,) = detector.detect(photo, 0.75)
    # Read off the photo by eye.
    eyes_and_mouth = np.array([[203, 101], [245, 104], [203, 142], [240, 143]])
    assert np.abs(face.landmarks[[0, 1, 3, 4]] - eyes_and_mouth).max() < 6


def test_an_enlarged_photo_has_no_second_face_on_the_cap(detector: Detector) -> None:
    sample = Image.open(Path(__file__).parents[2] / "samples" / "grace-hopper.jpg").convert("RGB")
    head = sample.crop((150, 20, 380, 360)).resize((920, 1360), Image.Resampling.LANCZOS)
    (face,) = detector.detect(torch.from_numpy(np.array(head)).permute(2, 0, 1) / 255, 0.75)
    assert face.score > 0.9 and face.size > 800


# The orders of faces


def a_face(x: float, y: float, side: float, score: float = 0.9) -> Face:
    return Face((x, y, x + side, y + side), score, np.zeros((5, 2), np.float32))


FACES = [a_face(50, 10, 30, 0.8), a_face(10, 20, 30, 0.8), a_face(30, 5, 60, 0.95), a_face(10, 60, 20, 0.99)]


@pytest.mark.parametrize(
    "by, expected",
    [("area", [2, 1, 0, 3]), ("left-right", [3, 1, 2, 0]), ("top-bottom", [0, 1, 2, 3]), ("score", [3, 2, 1, 0])],
)
def test_orders_do_not_depend_on_how_the_faces_came(by: str, expected: list[int]) -> None:
    for seed in range(5):
        shuffled = random.Random(seed).sample(FACES, len(FACES))
        assert [FACES.index(face) for face in order_faces(shuffled, by)] == expected


def test_an_unknown_order_is_refused() -> None:
    with pytest.raises(CLRFaceError, match="'size'"):
        order_faces(FACES, "size")


# Loading


def test_unknown_detectors_and_thresholds_are_refused() -> None:
    with pytest.raises(CLRFaceError, match="yunet, retinaface_mobile0"):
        load_detector("haar")
    with pytest.raises(CLRFaceError, match="between 0 and 1"):
        load_detector().detect(torch.zeros(3, 8, 8), 75)


@pytest.mark.parametrize("name", ["yunet", "retinaface_mobile0.25"])
def test_weights_that_are_missing_broken_or_of_another_network_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CLRFaceError, match="no file"):
        load_detector(name, weights=tmp_path / "absent.safetensors")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\x00" * 100)
    other = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, other)
    for path in (broken, other):
        with pytest.raises(CLRFaceError, match=path.name):
            load_detector(name, weights=path)


def test_a_detector_without_its_weights_says_where_to_put_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(retinaface, "default_weights", lambda name: tmp_path / "weights" / retinaface.FILES[name])
    with pytest.raises(CLRFaceError, match=r"weights.detection_Resnet50_Final\.pth.*yunet"):
        load_detector("retinaface_resnet50")


# Faces that others found


def test_faces_in_boxes_are_those_the_detector_sees_there(
    detector: Detector, draw: Draw, ground: Ground, miss: Miss
) -> None:
    picture = ground(200, 400)
    left, right = draw(picture, 90, 100, 128), draw(picture, 290, 100, 128)
    boxes = [(260.0, 60.0, 320.0, 140.0), (0.0, 150.0, 30.0, 190.0), (60.0, 60.0, 120.0, 140.0)]
    faces = faces_in_boxes(picture, boxes, detector, 0.8)
    assert len(faces) == 2
    assert miss(faces[0], right) < 0.12 and miss(faces[1], left) < 0.12
    assert faces_in_boxes(picture, boxes, detector, 0.99) == []


def test_no_boxes_mean_no_faces() -> None:
    class Never:
        def detect(self, image: Tensor, score_threshold: float) -> list[Face]:
            raise AssertionError("no box, nothing to look at")

    picture = torch.zeros(3, 40, 40)
    assert faces_in_boxes(picture, [], Never(), 0.8) == []
    assert faces_in_boxes(picture, [(100.0, 100.0, 120.0, 120.0)], Never(), 0.8) == []
    for wrong in ((20.0, 0.0, 10.0, 10.0), (0.0, 0.0, math.nan, 10.0)):
        with pytest.raises(CLRFaceError, match="left < right"):
            faces_in_boxes(picture, [wrong], Never(), 0.8)


def test_a_mesh_gives_the_five_points_and_its_bounds() -> None:
    points = np.random.default_rng(0).uniform(50, 60, (478, 3))
    points[[33, 133], :2], points[[362, 263], :2] = [[10, 20], [14, 22]], [[30, 21], [34, 23]]
    points[[1, 61, 291], :2] = [[22, 40], [12, 55], [33, 57]]
    face = from_mesh(points, 0.7)
    assert face.landmarks.tolist() == [[12, 21], [32, 22], [22, 40], [12, 55], [33, 57]]
    assert face.box[:2] == (10, 20) and max(face.box) < 60 and face.score == pytest.approx(0.7)


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.zeros(478), np.full((478, 2), np.nan)])
def test_what_is_no_mesh_is_refused(points: np.ndarray) -> None:
    with pytest.raises(CLRFaceError, match="468 or 478"):
        from_mesh(points)
