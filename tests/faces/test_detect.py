"""Detection on faces drawn by arithmetic, whose eyes, nose and mouth are where the drawing put them."""

import math
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from clrface_core.errors import CLRFaceError
from clrface_core.faces.align import FFHQ_TEMPLATE_512
from clrface_core.faces.detect import Detector, Face, NetworkDetector, load_detector, order_faces
from clrface_core.faces.search import retinaface, scan
from clrface_core.faces.search.closeup import Pose, Sight, look, mirrored, tilt
from clrface_core.faces.search.scan import Level, pyramid, tiles
from clrface_core.faces.search.search import distinct, turns_worth_a_scan
from clrface_core.faces.search.yunet import YuNet, decode, load_yunet

GREY = torch.tensor([0.45, 0.5, 0.55])[:, None, None]

# Eyes, nose and corners of the mouth of a drawn face of size 2 around (0, 0), and the distance between its eyes.
POINTS = np.array([[-0.2, -0.02], [0.2, -0.02], [0.0, 0.2], [-0.19, 0.4], [0.19, 0.4]])
EYES = 0.4


def draw(canvas: Tensor, x: float, y: float, size: float, degrees: float = 0.0) -> np.ndarray:
    """Draw a face with hair, `size` pixels high, around (x, y), turned clockwise. Returns its five points."""
    rows, columns = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in canvas.shape[1:]), indexing="ij")
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    u = ((columns - x) * cos + (rows - y) * sin) * 2 / size
    v = ((rows - y) * cos - (columns - x) * sin) * 2 / size

    def paint(cx: float, cy: float, rx: float, ry: float, soft: float, colour: tuple, opacity: float = 1.0) -> None:
        inside = torch.sigmoid((1 - ((u - cx) / rx) ** 2 - ((v - cy) / ry) ** 2) / soft) * opacity
        canvas.lerp_(torch.tensor(colour)[:, None, None], inside)

    paint(0, -0.12, 0.62, 0.78, 0.15, (0.18, 0.12, 0.08))
    paint(0, 0.05, 0.5, 0.66, 0.15, (0.87, 0.68, 0.57))
    for side in (-0.2, 0.2):
        paint(side, -0.16, 0.13, 0.03, 0.4, (0.2, 0.13, 0.1), 0.8)
        paint(side, -0.02, 0.12, 0.07, 0.3, (0.45, 0.3, 0.25), 0.6)
        paint(side, -0.01, 0.1, 0.045, 0.15, (0.95, 0.93, 0.9))
        paint(side, -0.01, 0.045, 0.045, 0.15, (0.1, 0.07, 0.05))
    paint(0, 0.2, 0.1, 0.05, 0.5, (0.55, 0.35, 0.28), 0.7)
    paint(0.04, 0.1, 0.03, 0.15, 0.6, (0.7, 0.5, 0.4), 0.5)
    paint(0, 0.4, 0.19, 0.055, 0.3, (0.62, 0.22, 0.22))
    paint(0, 0.4, 0.19, 0.012, 0.5, (0.3, 0.08, 0.08))
    return POINTS * size / 2 @ np.array([[cos, sin], [-sin, cos]]) + (x, y)


def ground(height: int, width: int) -> Tensor:
    return GREY.expand(3, height, width).clone()


def miss(face: Face, points: np.ndarray) -> float:
    """Mean distance of the landmarks from where they are, in distances between the eyes."""
    eyes = float(np.linalg.norm(points[1] - points[0]))
    return float(np.linalg.norm(face.landmarks - points, axis=1).mean() / eyes)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return load_detector()


def test_a_face_is_found_once_with_its_points_in_the_order_of_the_template(detector: Detector) -> None:
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
def test_a_turned_face_has_turned_points(detector: Detector, degrees: int) -> None:
    picture = ground(192, 192)
    points = draw(picture, 96, 90, 110, degrees)
    (face,) = detector.detect(picture, 0.75)
    assert miss(face, points) < 0.15


@pytest.mark.parametrize("size", [40, 90, 400, 900])
def test_faces_are_found_at_any_size(detector: Detector, size: int) -> None:
    # The box of a drawn face is half as wide as the drawing, so the smallest face is 20 px wide.
    picture = ground(600, 700)
    points = draw(picture, 300, 280, size)
    (face,) = detector.detect(picture, 0.75)
    assert miss(face, points) < 0.15


@pytest.mark.parametrize("factor", [8, 16])
def test_a_blurred_noisy_face_is_found(detector: Detector, factor: int) -> None:
    picture = ground(512, 512)
    points = draw(picture, 256, 240, 400)
    small = F.avg_pool2d(picture[None], factor)
    small = small + 0.05 * torch.randn(small.shape, generator=torch.Generator().manual_seed(0))
    blurred = F.interpolate(small, (512, 512), mode="bilinear", align_corners=False)[0].clamp(0, 1)
    (face,) = detector.detect(blurred, 0.75)
    assert miss(face, points) < 0.15


@pytest.mark.parametrize("x, y", [(185, 100), (100, 195), (15, 15)])
def test_a_face_cut_by_the_edge_is_found_and_its_box_stays_inside(detector: Detector, x: int, y: int) -> None:
    picture = ground(200, 200)
    points = draw(picture, x, y, 128)
    (face,) = detector.detect(picture, 0.75)
    assert miss(face, points) < 0.25
    assert min(face.box) >= -0.5 and max(face.box) <= 199.5


def test_overlapping_faces_are_kept_apart(detector: Detector) -> None:
    picture = ground(200, 280)
    points = [draw(picture, 90, 100, 150), draw(picture, 150, 108, 150)]
    faces = order_faces(detector.detect(picture, 0.75), "left-right")
    assert len(faces) == 2
    assert all(miss(face, where) < 0.3 for face, where in zip(faces, points, strict=True))
    assert faces[0].box[2] > faces[1].box[0]


def test_forty_faces(detector: Detector) -> None:
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


def test_small_faces_in_a_photo_on_its_side_are_found_by_the_turned_scan(detector: Detector) -> None:
    upright = ground(300, 600)
    points = np.stack([draw(upright, 100 + 200 * i, 150, 48) for i in range(3)])
    faces = order_faces(detector.detect(torch.rot90(upright, 1, (-2, -1)), 0.75), "top-bottom")
    assert len(faces) == 3
    for face, where in zip(reversed(faces), points, strict=True):
        turned = np.stack([where[:, 1], 599 - where[:, 0]], 1)
        assert miss(face, turned) < 0.2


def test_a_small_face_is_found_wherever_the_tiles_meet(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_no_face_is_seen_in_ramps_checks_noise_and_ellipses(detector: Detector) -> None:
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(0, 1, 160).expand(3, 160, 160)
    checks = ((torch.arange(160)[:, None] // 8 + torch.arange(160) // 8) % 2).float().expand(3, 160, 160)
    noise = torch.rand(3, 160, 160, generator=generator)
    ellipse = ground(160, 160)
    rows, columns = torch.meshgrid(torch.arange(160), torch.arange(160), indexing="ij")
    ellipse[:, ((columns - 80) / 40) ** 2 + ((rows - 80) / 55) ** 2 < 1] = torch.tensor([[0.87], [0.68], [0.57]])
    for picture in (ramp, checks, noise, ellipse):
        assert detector.detect(picture, 0.75) == []


def test_detection_repeats_and_takes_half_precision_pictures(detector: Detector) -> None:
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


# YuNet


def test_yunet_agrees_with_opencv() -> None:
    # cv2.FaceDetectorYN 5.0 with the original ONNX file on this picture in 8 bits: x, y, w, h, points, score.
    box = [61.331, 64.605, 64.611, 86.91]
    points = [[80.756, 100.243], [110.47, 100.752], [95.371, 117.75], [81.34, 128.985], [105.545, 129.261]]
    picture = torch.zeros(3, 320, 320)
    face = ground(128, 128)
    draw(face, 63.5, 63.5, 127)
    picture[:, 40:168, 30:158] = face
    boxes, scores, landmarks = load_yunet()((picture[None] * 255).round() / 255)
    best = scores[0].argmax()
    assert scores[0, best].item() == pytest.approx(0.914, abs=1e-3)
    x0, y0, x1, y1 = boxes[0, best].tolist()
    assert [x0, y0, x1 - x0, y1 - y0] == pytest.approx(box, abs=0.02)
    assert landmarks[0, best].detach().numpy() == pytest.approx(np.array(points), abs=0.02)


@pytest.mark.parametrize("height, width", [(1, 1), (32, 64), (33, 70)])
def test_yunet_takes_any_size(height: int, width: int) -> None:
    boxes, scores, landmarks = YuNet()(torch.zeros(2, 3, height, width))
    cells = sum(math.ceil(height / 32) * math.ceil(width / 32) * k for k in (16, 4, 1))
    assert boxes.shape == (2, cells, 4) and scores.shape == (2, cells) and landmarks.shape == (2, cells, 5, 2)
    assert (scores >= 0).all() and (scores <= 1).all()


def test_yunets_heads_are_decoded_by_its_formulae() -> None:
    head = torch.zeros(1, 16, 2, 3)
    head[0, :, 1, 2] = torch.tensor([0.0, math.log(3), 0.5, -0.25, math.log(2), math.log(4), *range(10)])
    boxes, scores, landmarks = decode(head, stride=8)
    assert scores[0, 5].item() == pytest.approx(math.sqrt(0.5 * 0.75))
    # Centre (2 + .5, 1 - .25) * 8, size (2, 4) * 8.
    assert boxes[0, 5].tolist() == pytest.approx([20 - 8, 6 - 16, 20 + 8, 6 + 16])
    assert landmarks[0, 5, 4].tolist() == [(2 + 8) * 8, (1 + 9) * 8]


# RetinaFace


def test_retinaface_decodes_as_facexlib_does() -> None:
    from facexlib.detection.retinaface_utils import PriorBox, decode, decode_landm

    torch.manual_seed(0)
    detector = retinaface.build("mobile0.25")
    picture = torch.rand(1, 3, 96, 128)
    with torch.inference_mode():
        boxes, scores, landmarks = detector(picture)
        mean = torch.tensor([104.0, 117.0, 123.0]).reshape(1, 3, 1, 1)
        offsets, probabilities, points = detector.network(picture.flip(1) * 255 - mean)
    priors = PriorBox(detector.network.cfg, image_size=(96, 128)).forward()
    size = torch.tensor([128.0, 96.0])
    assert torch.allclose(boxes[0], decode(offsets[0], priors, [0.1, 0.2]) * size.repeat(2), atol=1e-3)
    assert torch.allclose(
        landmarks[0].flatten(1), decode_landm(points[0], priors, [0.1, 0.2]) * size.repeat(5), atol=1e-3
    )
    assert torch.equal(scores, probabilities[..., 1])


def test_retinaface_loads_files_of_wrapped_models(tmp_path: Path) -> None:
    state = retinaface.build("mobile0.25").network.state_dict()
    torch.save({f"module.{name}": value for name, value in state.items()}, tmp_path / "wrapped.pth")
    loaded = retinaface.load_retinaface("mobile0.25", tmp_path / "wrapped.pth").network.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


def test_retinaface_with_real_weights(shared_weights: Callable[[str], Path]) -> None:
    detector = load_detector("retinaface_mobile0.25", weights=shared_weights("detection_mobilenet0.25_Final.pth"))
    for degrees in (0, 90, 200):
        picture = ground(192, 192)
        points = draw(picture, 96, 90, 110, degrees)
        (face,) = detector.detect(picture, 0.6)
        assert miss(face, points) < 0.2


# The search, with networks that see what the test says


class Bright(nn.Module):
    """Sees a face of 9 x 5 px, or of 5 x 9 px in a picture that is higher than wide, around every bright pixel."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ys, xs = torch.nonzero(images[0, 0] > 0.5, as_tuple=True)
        centre = torch.stack([xs, ys], -1).float()[None]
        half = torch.tensor([4.5, 2.5] if images.shape[-1] > images.shape[-2] else [2.5, 4.5])
        boxes = torch.cat([centre - half, centre + half], -1)
        return boxes, torch.full(centre.shape[:2], 0.9), centre[:, :, None].expand(-1, -1, 5, -1)


def test_a_face_seen_twice_counts_once_and_neighbours_twice() -> None:
    centre = torch.tensor([[100.0, 100.0], [110.0, 100.0], [150.0, 100.0], [100.0, 112.0]])
    extent = torch.tensor([[80.0, 100.0], [80.0, 100.0], [80.0, 100.0], [30.0, 30.0]])
    scores = torch.tensor([0.8, 0.9, 0.85, 0.95])
    seen = Sight(scores, centre, extent, torch.zeros(4), torch.zeros(4, 5, 2))
    assert distinct(seen).scores.tolist() == pytest.approx([0.95, 0.85])


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_a_turned_scan_reports_boxes_of_the_unturned_picture(turn: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "TILE", 64)
    monkeypatch.setattr(scan, "OVERLAP", 16)
    picture = torch.zeros(1, 3, 40, 100)
    picture[..., 11, 93] = 1
    boxes, scores = scan.scan(Bright(), [Level(picture, 1.0)], 0.5, 0.4, 500, turn)
    assert scores.tolist() == pytest.approx([0.9])
    assert boxes[0].tolist() == [93 - 4.5, 11 - 2.5, 93 + 4.5, 11 + 2.5]


def test_levels_know_where_their_pixels_lie() -> None:
    # On a ramp the value of a pixel is its place, at every scale.
    rows, columns = torch.meshgrid(torch.arange(301.0), torch.arange(517.0), indexing="ij")
    levels = pyramid(torch.stack([columns, rows, columns]))
    assert max(levels[-1].pixels.shape[-2:]) <= scan.COARSEST < max(levels[-2].pixels.shape[-2:])
    for level in levels:
        seen = level.pixels[0, :2, 5, 9]
        assert level.to_picture(torch.tensor([9.0, 5.0])).tolist() == pytest.approx(seen.tolist(), abs=1e-3)
        assert level.from_picture(seen).tolist() == pytest.approx([9, 5], abs=1e-3)


def test_small_pictures_are_also_searched_enlarged() -> None:
    assert [level.scale for level in pyramid(torch.zeros(3, 200, 300))] == [0.5, 1, 2, 4]


@pytest.mark.parametrize("height, width", [(4000, 6000), (1, 1), (1024, 1025), (3, 5000)])
def test_tiles_cover_the_picture_overlap_and_are_small(height: int, width: int) -> None:
    pixels = torch.zeros(1).expand(1, 3, height, width)
    covered = np.zeros((height, width), bool)
    shown = 0
    for x, y, tile in tiles(pixels):
        assert max(tile.shape[-2:]) <= scan.TILE
        assert x == 0 or covered[y, x : x + scan.OVERLAP].all()
        assert y == 0 or covered[y : y + scan.OVERLAP, x].all()
        covered[y : y + tile.shape[-2], x : x + tile.shape[-1]] = True
        shown += tile.shape[-2] * tile.shape[-1]
    assert covered.all()
    assert shown < 1.3 * height * width


@pytest.mark.parametrize("degrees", [-170, -30, 0, 90, 179])
def test_tilt_is_the_turn_of_the_template(degrees: int) -> None:
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    points = torch.from_numpy(FFHQ_TEMPLATE_512 @ turn * 0.3 + (40, 70)).float()[None]
    assert tilt(points).item() == pytest.approx(angle, abs=1e-5)


class Middle(nn.Module):
    """Sees one face of the size of a third of the view, its points on the axes of the view; keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[Tensor] = []

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.shown.append(images)
        middle = (images.shape[-1] - 1) / 2
        box = torch.tensor([middle - 20, middle - 30, middle + 20, middle + 30])
        points = torch.tensor([[0.0, 0], [10, 0], [0, 10], [-10, 0], [0, -10]]) + middle
        count = len(images)
        return box.expand(count, 1, 4), torch.full((count, 1), 0.7), points.expand(count, 1, 5, 2)


def test_a_look_shows_the_place_and_maps_back_what_it_saw() -> None:
    rows, columns = torch.meshgrid(torch.arange(400.0), torch.arange(400.0), indexing="ij")
    levels = pyramid(torch.stack([columns, rows, columns]))
    network = Middle()
    pose = Pose(torch.tensor([[200.0, 180.0]]), torch.tensor([120.0]), torch.tensor([math.pi / 2]))
    seen = look(network, levels, pose, size=60)
    # Two picture pixels per view pixel; the view's x axis points down the picture, its y axis to the left.
    assert seen.landmarks[0].tolist() == pytest.approx(
        torch.tensor([[200.0, 180], [200, 200], [180, 180], [200, 160], [220, 180]]), abs=1e-3
    )
    assert seen.extent[0].tolist() == pytest.approx([80, 120])
    assert seen.pose().size.item() == pytest.approx(math.sqrt(80 * 120))
    (view,) = network.shown[0]
    middle = (view.shape[-1] - 1) / 2
    where = torch.tensor([10.5, -20.5])
    x, y = (where + middle).long().tolist()
    assert view[:2, y, x].tolist() == pytest.approx([200 + 2 * 20.5, 180 + 2 * 10.5], abs=0.01)


def test_a_network_in_the_mirror_reports_places_outside_it() -> None:
    picture = ground(96, 128)
    draw(picture, 50, 40, 70, 10)
    network = load_yunet()
    boxes, scores, landmarks = mirrored(network)(picture.flip(-1)[None])
    plain_boxes, plain_scores, plain_landmarks = network(picture[None])
    seen, plain = scores[0].argmax(), plain_scores[0].argmax()
    assert scores[0, seen] == plain_scores[0, plain]
    x0, y0, x1, y1 = plain_boxes[0, plain].tolist()
    assert boxes[0, seen].tolist() == pytest.approx([127 - x1, y0, 127 - x0, y1], abs=1e-4)
    left_eye_mirrored = landmarks[0, seen, 0].tolist()
    x, y = plain_landmarks[0, plain, 1].tolist()
    assert left_eye_mirrored == pytest.approx([127 - x, y], abs=1e-4)


def test_turned_scans_are_for_turned_or_missing_faces() -> None:
    upright, sideways, overhead = torch.tensor([0.3, -0.5]), torch.tensor([0.1, -1.5, 1.6]), torch.tensor([3.0])
    assert turns_worth_a_scan(upright) == []
    assert turns_worth_a_scan(sideways) == [1, 3]
    assert turns_worth_a_scan(overhead) == [2]
    assert turns_worth_a_scan(torch.zeros(0)) == [1, 2, 3]


def test_the_picture_is_scanned_once_where_faces_stand_upright(detector: Detector) -> None:
    assert isinstance(detector, NetworkDetector)
    shown: list[tuple[int, ...]] = []
    hook = detector.network.register_forward_pre_hook(lambda module, inputs: shown.append(tuple(inputs[0].shape[-2:])))
    picture = ground(600, 900)
    draw(picture, 400, 300, 200)
    detector.detect(picture, 0.75)
    hook.remove()
    scans = [shape for shape in shown if shape[0] != shape[1]]
    assert scans == [(600, 900), (300, 450), (150, 225), (75, 113)]


def test_boxes_apart_are_the_surest_of_those_that_overlap() -> None:
    torch.manual_seed(0)
    corners = torch.rand(300, 2) * 100
    boxes, scores = torch.cat([corners, corners + 5 + 20 * torch.rand(300, 2)], 1), torch.rand(300)
    kept = scan.apart(boxes, scores, 0.35, 300)
    shared = torch.stack([scan.intersection_over_union(box, boxes) for box in boxes])
    assert torch.allclose(shared.diagonal(), torch.ones(300))
    assert torch.equal(scores[kept], scores[kept].sort(descending=True).values)
    assert (shared[kept][:, kept].fill_diagonal_(0) <= 0.35).all()
    surer = scores[kept][:, None] > scores
    left_out = torch.ones(300, dtype=torch.bool).index_fill(0, kept, False)
    assert 0 < left_out.sum() < 299 and ((shared[kept] > 0.35) & surer).any(0)[left_out].all()
    assert torch.equal(scan.apart(boxes, scores, 0.35, 7), kept[:7])
    assert len(scan.apart(boxes[:0], scores[:0], 0.35, 7)) == 0


def test_overlap_of_two_boxes() -> None:
    box = torch.tensor([0.0, 0.0, 4.0, 2.0])
    others = torch.tensor([[2.0, 0.0, 6.0, 2.0], [5.0, 0.0, 6.0, 2.0], [0.0, 0.0, 4.0, 2.0]])
    assert scan.intersection_over_union(box, others).tolist() == pytest.approx([1 / 3, 0, 1])
