"""What the views on the nodes show: pictures small enough for a browser, and faces at their own size."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from torch import Tensor

from ..clrface_core.faces.detect import Face
from ..clrface_core.faces.warp import resize
from .progress import shown

MOST_PIXELS = 2_000_000
"""Of a preview."""

PICTURES = 16
"""Pictures shown at most: nobody looks at faces on every frame of a film."""

FACES = 12
"""Faces of a picture shown at most, each by itself."""

AROUND = 0.4
"""How much of a face's box is shown on each side of it."""


def scale_of(height: int, width: int) -> float:
    """How much a picture is reduced to be shown, at most 1."""
    return min(1.0, math.sqrt(MOST_PIXELS / (height * width)))


def small(picture: Tensor) -> Tensor:
    """A picture (3,H,W) of at most MOST_PIXELS."""
    height, width = picture.shape[1:]
    scale = scale_of(height, width)
    return picture if scale == 1 else resize(picture, max(int(height * scale), 1), max(int(width * scale), 1))


def scaled(face: Face, scale: float) -> Face:
    """The face in the reduced picture."""
    x0, y0, x1, y1 = (scale * each for each in face.box)
    return Face((x0, y0, x1, y1), face.score, face.landmarks * scale)


def pairs(before: Tensor, after: Tensor, faces: Iterable[tuple[int, Face]], frame: int) -> list[dict[str, Any]]:
    """Before and after (3,H,W) as files: the whole picture, then each face by its id, cut out with what is around it.

    The picture comes as "frame", its number; a face has its id as "face", the whole picture None.
    """
    views: list[tuple[int | None, Tensor, Tensor]] = [(None, before, after)]
    for face_id, face in list(faces)[:FACES]:
        rows, columns = around(face, before.shape[1], before.shape[2])
        views.append((face_id, before[:, rows, columns], after[:, rows, columns]))
    shown_pairs = []
    for number, was, now in views:
        was_file, now_file = shown(small(each) for each in (was, now))
        shown_pairs.append({"frame": frame, "face": number, "before": was_file, "after": now_file})
    return shown_pairs


def around(face: Face, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of a face's box and its surroundings, inside the picture and never empty."""
    x0, y0, x1, y1 = face.box
    dx, dy = AROUND * (x1 - x0), AROUND * (y1 - y0)
    top, left = min(max(int(y0 - dy), 0), height - 1), min(max(int(x0 - dx), 0), width - 1)
    return slice(top, max(math.ceil(y1 + dy), top + 1)), slice(left, max(math.ceil(x1 + dx), left + 1))
