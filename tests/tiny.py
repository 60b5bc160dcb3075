"""What tests of the flow share: a detector that finds what it was given, and faces that are simply said to be there."""

import numpy as np
from torch import Tensor

from clrface_core.faces.align import FFHQ_TEMPLATE_512
from clrface_core.faces.detect import Face

SIDE = 64
"""Side of the crops of the tiny model."""


def face_at(x: float, y: float, size: float) -> Face:
    """An upright face whose aligned crop is the square of this size at (x, y)."""
    landmarks = (FFHQ_TEMPLATE_512 * (size / 512) + np.array([x, y])).astype(np.float32)
    return Face((x, y, x + size, y + size), 0.9, landmarks)


class Given:
    """A detector that finds what it was given."""

    def __init__(self, *faces: Face) -> None:
        self.faces = list(faces)

    def detect(self, image: Tensor, score_threshold: float) -> list[Face]:
        return self.faces
