"""Clips whose truth and motion are known: a still that is moved, degraded, and given fresh noise in every picture."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...degrade import Degradation
from ...faces.warp import compose, inverse, resizing, warp


def _about(centre: tuple[float, float], scale: float, angle: float, shift: tuple[float, float]) -> Tensor:
    """(2,3): enlarged by `scale` and turned by `angle` radians about `centre`, then shifted."""
    a, b = scale * math.cos(angle), scale * math.sin(angle)
    (x, y), (dx, dy) = centre, shift
    rows = [[a, -b, x + dx - a * x + b * y], [b, a, y + dy - b * x - a * y]]
    return torch.tensor(rows, dtype=torch.float64)


Motion = Callable[[int, tuple[float, float]], Tensor]
"""(number of the picture, its centre (x, y)) to the map (2,3) from the first picture's pixels to its own."""

MOTIONS: dict[str, Motion] = {
    "still": lambda at, centre: _about(centre, 1, 0, (0, 0)),
    "pan": lambda at, centre: _about(centre, 1, 0, (0.25 * at, 0.1 * at)),
    "zoom": lambda at, centre: _about(centre, 1.002**at, 0, (0, 0)),
    "turn": lambda at, centre: _about(centre, 1, math.radians(0.3 * at), (0, 0)),
    "hand": lambda at, centre: _about(
        centre, 1 + 0.02 * math.sin(at / 9), 0.03 * math.sin(at / 7), (3 * math.sin(at / 5), 2 * math.sin(at / 3.3))
    ),
}
"""By name: none; 0.25 px a picture to the right and 0.1 down; 0.2 % nearer a picture; 0.3 degrees a picture; and a
camera held by hand."""


@dataclass(frozen=True)
class Clip:
    """A still seen by a moving camera.

    still: (3,H,W) in [0,1], the truth of the first picture. motion: a name out of MOTIONS. frames: how many pictures.
    degradation: what each of them goes through; its noise is fresh in every one, unless `fresh` is off.
    """

    still: Tensor
    motion: str
    frames: int
    degradation: Degradation | None = None
    fresh: bool = True

    def map(self, number: int) -> Tensor:
        """(2,3): from the pixels of the first picture to those of this one."""
        height, width = self.still.shape[1:]
        return MOTIONS[self.motion](number, ((width - 1) / 2, (height - 1) / 2))

    def truth(self, number: int) -> Tensor:
        """The picture (3,H,W) as it was before it was degraded."""
        if self.motion == "still":
            return self.still
        return warp(self.still, inverse(self.map(number)), *self.still.shape[1:]).clamp(0, 1)

    def frame(self, number: int) -> Tensor:
        """The picture (3,H,W) as it is seen."""
        if self.degradation is None:
            return self.truth(number)
        noise_seed = self.degradation.noise_seed + (number if self.fresh else 0)
        return replace(self.degradation, noise_seed=noise_seed).apply(self.truth(number))

    def between(self, one: int, other: int) -> Tensor:
        """(2,3): from the pixels of picture `one` to those of picture `other`."""
        return compose(self.map(other), inverse(self.map(one)))


def fitted(picture: Tensor, side: int, around: tuple[float, float, float]) -> Tensor:
    """The square of a photo (3,H,W) around a point, (x, y, its side), as a still (3,side,side)."""
    x, y, extent = around
    to_photo = compose(
        torch.tensor([[1, 0, x - extent / 2 + 0.5], [0, 1, y - extent / 2 + 0.5]], dtype=torch.float64),
        resizing(extent / side, extent / side),
    )
    return warp(picture, to_photo, side, side).clamp(0, 1)
