"""Faces drawn by arithmetic, whose eyes, nose and mouth are where the drawing put them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from clrface_core.faces.detect import Face, NetworkDetector, load_detector

GREY = torch.tensor([0.45, 0.5, 0.55])[:, None, None]

# Eyes, nose and corners of the mouth of a drawn face of size 2 around (0, 0), and the distance between its eyes.
POINTS = np.array([[-0.2, -0.02], [0.2, -0.02], [0.0, 0.2], [-0.19, 0.4], [0.19, 0.4]])
EYES = 0.4


def _draw(canvas: Tensor, x: float, y: float, size: float, degrees: float = 0.0) -> np.ndarray:
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


def _ground(height: int, width: int) -> Tensor:
    return GREY.expand(3, height, width).clone()


def _miss(face: Face, points: np.ndarray) -> float:
    """Mean distance of the landmarks from where they are, in distances between the eyes."""
    eyes = float(np.linalg.norm(points[1] - points[0]))
    return float(np.linalg.norm(face.landmarks - points, axis=1).mean() / eyes)


@pytest.fixture(scope="session")
def draw() -> Callable[..., np.ndarray]:
    """`draw(canvas, x, y, size, degrees=0)` draws a face and returns its five points (5,2)."""
    return _draw


@pytest.fixture(scope="session")
def ground() -> Callable[[int, int], Tensor]:
    """`ground(height, width)` is a plain picture to draw on."""
    return _ground


@pytest.fixture(scope="session")
def miss() -> Callable[[Face, np.ndarray], float]:
    """`miss(face, points)` is how far its landmarks are from where they should be, in distances between the eyes."""
    return _miss


@pytest.fixture(scope="session")
def detector() -> NetworkDetector:
    """The embedded detector."""
    return load_detector()
