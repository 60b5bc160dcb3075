"""Close-up views: what they show, and how what is found in them maps back to the picture."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from clrface_core.faces.align import FFHQ_TEMPLATE_512
from clrface_core.faces.search.closeup import Pose, detect_in_views, mirrored, tilt
from clrface_core.faces.search.scan import pyramid
from clrface_core.faces.search.yunet import load_yunet

Draw = Callable[..., np.ndarray]
Ground = Callable[[int, int], Tensor]


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


def test_a_view_shows_the_place_and_its_faces_map_back() -> None:
    rows, columns = torch.meshgrid(torch.arange(400.0), torch.arange(400.0), indexing="ij")
    levels = pyramid(torch.stack([columns, rows, columns]))
    network = Middle()
    pose = Pose(torch.tensor([[200.0, 180.0]]), torch.tensor([120.0]), torch.tensor([math.pi / 2]))
    seen = detect_in_views(network, levels, pose, size=60)
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


def test_a_network_in_the_mirror_reports_places_outside_it(draw: Draw, ground: Ground) -> None:
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
