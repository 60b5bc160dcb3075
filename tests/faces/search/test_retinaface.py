"""RetinaFace: facexlib's decoding, its files, and drawn faces with its real weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from clrface_core.faces.detect import (
    Face,
    load_detector,
)
from clrface_core.faces.search import retinaface

Draw = Callable[..., np.ndarray]
Ground = Callable[[int, int], Tensor]
Miss = Callable[[Face, np.ndarray], float]


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


def test_retinaface_with_real_weights(
    shared_weights: Callable[[str], Path], draw: Draw, ground: Ground, miss: Miss
) -> None:
    detector = load_detector("retinaface_mobile0.25", weights=shared_weights("detection_mobilenet0.25_Final.pth"))
    for degrees in (0, 90, 200):
        picture = ground(192, 192)
        points = draw(picture, 96, 90, 110, degrees)
        (face,) = detector.detect(picture, 0.6)
        assert miss(face, points) < 0.2
