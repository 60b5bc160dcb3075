"""A face found in a picture, and the orders in which a list of them can be put."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from ..errors import CLRFaceError


@dataclass(frozen=True, eq=False)
class Face:
    """Where a face is, in pixels of its picture; the centre of the first pixel is (0, 0).

    box: (x0, y0, x1, y1), inside the picture.
    score: how sure the detector is, in [0, 1].
    landmarks: (5,2) float32: left eye, right eye, nose, left and right corner of the mouth, where "left" is the
        smaller x on an upright face, as in the FFHQ template. Points of a face at the edge may lie outside.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: np.ndarray

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        x0, y0, x1, y1 = self.box
        return (x1 - x0) * (y1 - y0)

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the box (x, y)."""
        x0, y0, x1, y1 = self.box
        return (x0 + x1) / 2, (y0 + y1) / 2


ORDERS: dict[str, Callable[[Face], tuple[float, ...]]] = {
    "area": lambda face: (-face.area,),
    "left-right": lambda face: face.centre,
    "top-bottom": lambda face: face.centre[::-1],
    "score": lambda face: (-face.score,),
}


def order_faces(faces: Iterable[Face], by: str = "area") -> list[Face]:
    """The faces sorted: "area" (largest first), "left-right", "top-bottom" or "score" (surest first).

    Ties are broken by the coordinates of the box, then of the landmarks, so the order is the same however the
    faces came. Raises CLRFaceError on another name.
    """
    if by not in ORDERS:
        raise CLRFaceError(f"Expected an order of faces among {', '.join(ORDERS)}, got {by!r}: choose one of these.")
    return sorted(faces, key=lambda face: (*ORDERS[by](face), *face.box, -face.score, *np.ravel(face.landmarks)))
