"""The part of a crop that is put back into the photo: nearly all of it, or an oval around the face by its landmarks.

Places in the crop are fractions of its side, which no resizing changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .align import FFHQ_TEMPLATE_512, Alignment

UP, DOWN, ACROSS = 0.8, 1.6, 0.92
"""How far the oval of a face reaches above its eyes, below them, and to either side, in distances from eyes to mouth:
to below the hairline and to the chin, by the looks of 60 real people. It leaves out hair, hat, ears and background."""


@dataclass(frozen=True)
class Oval:
    """Where |x|^power + |y|^power < 1, with x, y the way from the centre in radii, x along `right`, y downwards."""

    centre: tuple[float, float]
    radii: tuple[float, float]
    power: float = 2.0
    right: tuple[float, float] = (1.0, 0.0)

    def depth(self, u: Tensor, v: Tensor) -> Tensor:
        """Depth of points of the crop: 1 at the centre, 0 at the rim and beyond."""
        x, y = u - self.centre[0], v - self.centre[1]
        if self.right != (1.0, 0.0):
            x, y = x * self.right[0] + y * self.right[1], y * self.right[0] - x * self.right[1]
        across, down = x.abs() / self.radii[0], y.abs() / self.radii[1]
        return (1 - (across**self.power + down**self.power) ** (1 / self.power)).clamp(min=0)


CROP = Oval((0.5, 0.505), (0.47, 0.485), 2.5)
"""The usual region: the crop but for its border, where networks know least."""

REGIONS = ("crop", "face")
"""`CROP`, or the part of it that lies in `face_oval`."""


def face_oval(alignment: Alignment) -> Oval:
    """The oval of one aligned face.

    The nose is nearest to where the face looks, so the oval is moved the other way: to the side of the face that shows.
    """
    template = (torch.as_tensor(FFHQ_TEMPLATE_512) + 0.5) / 512
    points = template if alignment.landmarks is None else alignment.landmarks[0]
    eyes, nose, mouth = points[:2].mean(0), points[2], points[3:].mean(0)
    height = torch.linalg.vector_norm(mouth - eyes).clamp(min=1e-3)
    down = (mouth - eyes) / height
    right = torch.stack((down[1], -down[0]))
    turned = (nose - (eyes + mouth) / 2) @ right
    centre = eyes + down * height * (DOWN - UP) / 2 - right * turned
    radii = float(height * ACROSS), float(height * (UP + DOWN) / 2)
    return Oval((float(centre[0]), float(centre[1])), radii, right=(float(right[0]), float(right[1])))
