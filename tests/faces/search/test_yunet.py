"""YuNet: OpenCV's numbers, any size, and the formulae of its heads."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from clrface_core.faces.search.yunet import YuNet, decode, load_yunet

Draw = Callable[..., np.ndarray]
Ground = Callable[[int, int], Tensor]


def test_yunet_agrees_with_opencv(draw: Draw, ground: Ground) -> None:
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
