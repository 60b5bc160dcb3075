"""Faces that somebody else found: dense landmarks, or boxes alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ..errors import CLRFaceError
from .detect import Detector, Face

# Points of MediaPipe's 478-point mesh, by its own numbering; "left" and "right" as seen in the picture.
LEFT_EYE, RIGHT_EYE = (33, 133), (362, 263)
NOSE, LEFT_MOUTH, RIGHT_MOUTH = 1, 61, 291

MARGIN = 0.4
"""How much of a box's size is added on each side before its face is looked for."""


def from_mesh(points: np.ndarray, score: float = 1.0) -> Face:
    """A face of MediaPipe's landmarks (478,2) or (468,2), in pixels."""
    points = np.asarray(points, np.float32)
    if points.ndim != 2 or points.shape[0] < 468 or points.shape[1] < 2 or not np.isfinite(points).all():
        raise CLRFaceError(
            f"Expected face landmarks (468 or 478, 2) in pixels, got {points.shape}: connect those of MediaPipe."
        )
    points = points[:, :2]
    five = [points[list(LEFT_EYE)].mean(0), points[list(RIGHT_EYE)].mean(0)]
    five += [points[NOSE], points[LEFT_MOUTH], points[RIGHT_MOUTH]]
    (x0, y0), (x1, y1) = points.min(0), points.max(0)
    return Face((float(x0), float(y0), float(x1), float(y1)), float(score), np.stack(five))


def in_box(image: Tensor, box: tuple[float, float, float, float], detector: Detector) -> Face | None:
    """The face of `image` (3,H,W) that fits `box` (x0, y0, x1, y1) best, or None where none is seen there."""
    height, width = image.shape[-2:]
    x0, y0, x1, y1 = box
    dx, dy = MARGIN * (x1 - x0), MARGIN * (y1 - y0)
    left, top = max(int(x0 - dx), 0), max(int(y0 - dy), 0)
    right, bottom = min(int(np.ceil(x1 + dx)), width), min(int(np.ceil(y1 + dy)), height)
    if right <= left or bottom <= top:
        return None
    found = detector.detect(image[:, top:bottom, left:right])
    moved = [_moved(face, left, top) for face in found]
    fitting = [face for face in moved if _overlap(face.box, box) > 0.1]
    return max(fitting, key=lambda face: _overlap(face.box, box), default=None)


def _moved(face: Face, x: int, y: int) -> Face:
    x0, y0, x1, y1 = face.box
    return Face((x0 + x, y0 + y, x1 + x, y1 + y), face.score, face.landmarks + np.array([x, y], np.float32))


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both + 1e-9)
