"""Which of the faces found are meant: their ids, and the choice among them, in one picture or several of one size."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral

import torch
from torch import Tensor

from ..errors import CLRFaceError
from ..picture import FACE_SIZE
from .align import Alignment, align_faces
from .detect import Detector, Face, check_threshold, order_faces, order_key

SIDES: dict[str, Callable[[Face, int, int], bool]] = {
    "any": lambda face, width, height: True,
    "left half": lambda face, width, height: face.centre[0] < width / 2,
    "right half": lambda face, width, height: face.centre[0] >= width / 2,
    "top half": lambda face, width, height: face.centre[1] < height / 2,
    "bottom half": lambda face, width, height: face.centre[1] >= height / 2,
}
"""Parts of a picture in which the centre of a face may lie."""

ALL, LARGEST = "all", "largest"

Faces = str | Sequence[int]
"""Faces of a picture: "all", "largest", ids and ranges of them such as "0,2-4", or a sequence of ids."""


@dataclass(frozen=True)
class Detection:
    """How the faces of a picture are found, numbered and chosen.

    score_threshold: lowest score of a face, in (0,1). order: "area", "left-right", "top-bottom" or "score". All faces
    found get ids from 0 in this order; the rest chooses among them, and changes no id.
    min_size: smallest face, by the longer side of its box in pixels. at_most: faces per picture, the first in the
    order; 0 is all. faces: see `Faces`; the instance holds "all", "largest" or a tuple of ids.
    Raises CLRFaceError for values out of range.
    """

    score_threshold: float = 0.8
    order: str = "area"
    min_size: float = 0
    at_most: int = 0
    faces: Faces = ALL

    def __post_init__(self) -> None:
        check_threshold(self.score_threshold)
        order_key(self.order)
        _check_limits(self.min_size, self.at_most)
        object.__setattr__(self, "faces", parse_faces(self.faces))


@dataclass(frozen=True)
class FaceBatch:
    """Which faces were cut out of which picture, and where they lie.

    frames: how many pictures there are, faces or not. frame, faces, ids: for every crop its picture, the
    detected face, and its id within that picture (what a preview shows and a choice names). alignment:
    where the crops lie; its image size is that of every picture. crops: they themselves, in whatever form the first
    index of which counts them, where somebody put them here.
    """

    frames: int
    frame: tuple[int, ...]
    faces: tuple[Face, ...]
    ids: tuple[int, ...]
    alignment: Alignment
    crops: Tensor | None = field(default=None, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.frame)

    def select(self, indices: Sequence[int]) -> FaceBatch:
        """These crops only, in this order; ids stay what they were."""
        return replace(
            self,
            frame=tuple(self.frame[i] for i in indices),
            faces=tuple(self.faces[i] for i in indices),
            ids=tuple(self.ids[i] for i in indices),
            alignment=self.alignment.select(list(indices)),
            crops=None if self.crops is None else self.crops[list(indices)],
        )

    def of_frame(self, frame: int) -> list[int]:
        """Positions of the crops that come from this picture."""
        return [i for i, where in enumerate(self.frame) if where == frame]


def parse_faces(faces: Faces) -> str | tuple[int, ...]:
    """ "all", "largest", or the ids that are meant, each once and as they come: (0, 2, 3, 4) of "0,2-4".

    Raises CLRFaceError for anything else.
    """
    if isinstance(faces, str):
        text = faces.strip()
        ids = None if text in (ALL, LARGEST) else [_ids(part) for part in text.split(",")]
        if ids is None:
            return text
        if all(ids):
            return tuple(dict.fromkeys(i for part in ids for i in part))
    elif isinstance(faces, Sequence) and all(isinstance(i, Integral) and i >= 0 for i in faces):
        return tuple(dict.fromkeys(int(i) for i in faces))
    raise CLRFaceError(f"Expected faces as {ALL}, {LARGEST}, or ids like 0,2-4, got {faces!r}: use one of these.")


def _ids(part: str) -> range:
    """The ids that "2" or "2-4" names; none where it is neither."""
    match = re.fullmatch(r"\s*([0-9]{1,6})\s*(?:-\s*([0-9]{1,6})\s*)?", part)
    return range(int(match[1]), int(match[2] or match[1]) + 1) if match else range(0)


def find_faces(image: Tensor, detector: Detector, detection: Detection) -> list[Face]:
    """All faces of a picture (3,H,W) in the order in which they are numbered: a face's place in the list is its id."""
    return order_faces(detector.detect(image, detection.score_threshold), detection.order)


def select_faces(found: Sequence[Face], detection: Detection) -> list[int]:
    """The chosen ids among the faces of one picture as `find_faces` gives them; named ids in the order of their naming.

    Where no face was found there is none to choose, and no error. CLRFaceError for an id beyond those found.
    """
    _check_ids(detection.faces, range(len(found)))
    chosen = _pick(found, range(len(found)), detection.faces, detection.min_size, detection.at_most)
    return chosen if isinstance(detection.faces, str) else sorted(chosen, key=detection.faces.index)


def cut_faces(
    images: Tensor | Sequence[Tensor],
    found: Sequence[Sequence[Face]],
    size: int = FACE_SIZE,
    *,
    chosen: Sequence[Sequence[int]] | None = None,
) -> tuple[Tensor, FaceBatch]:
    """Crops (N,3,size,size) of the faces `found` in each of the pictures (3,H,W); a face's place in its list is its id.

    images: of one size; each is asked for once, and may be forgotten then. chosen: the ids to cut out of each
    picture; None is all.
    """
    if len(images) != len(found) or not len(images):
        raise CLRFaceError(
            f"Expected pictures and a list of faces for each, got {len(images)} and {len(found)}: give as many."
        )
    chosen = [range(len(faces)) for faces in found] if chosen is None else chosen
    where = [(frame, found[frame][i], i) for frame, ids in enumerate(chosen) for i in ids]
    crops, done, alignments = torch.empty(len(where), 3, size, size, memory_format=torch.channels_last), 0, []
    for image, faces, ids in zip(images, found, chosen, strict=True):
        here, alignment = align_faces(image, [faces[i] for i in ids], size)
        crops[done : done + len(here)] = here
        alignments.append(alignment)
        done += len(here)
    alignment = alignments[0].joined(alignments[1:])
    frame, cut, ids = zip(*where, strict=True) if where else ((), (), ())
    return crops, FaceBatch(len(images), frame, cut, ids, alignment)


def choose(
    batch: FaceBatch,
    faces: Faces = ALL,
    *,
    order: str = "area",
    side: str = "any",
    min_size: float = 0,
    at_most: int = 0,
) -> list[int]:
    """Positions of the crops that pass every filter, picture by picture, in each by `order`.

    faces: see `Faces`; ids that a picture does not have are passed over there, but one that no picture has is an
    error. side: a name out of SIDES, where the face's centre lies. The others: see `Detection`.
    """
    if side not in SIDES:
        raise CLRFaceError(f"Expected a side ({', '.join(SIDES)}), got {side!r}: use one of them.")
    _check_limits(min_size, at_most)
    wanted, key = parse_faces(faces), order_key(order)
    _check_ids(wanted, set(batch.ids))
    height, width = batch.alignment.image_size
    chosen: list[int] = []
    for frame in range(batch.frames):
        here = [i for i in batch.of_frame(frame) if SIDES[side](batch.faces[i], width, height)]
        here.sort(key=lambda i: key(batch.faces[i]))
        part = _pick([batch.faces[i] for i in here], [batch.ids[i] for i in here], wanted, min_size, at_most)
        chosen += [here[i] for i in part]
    return chosen


def _pick(faces: Sequence[Face], ids: Sequence[int], wanted: Faces, min_size: float, at_most: int) -> list[int]:
    """Positions of those of the ordered faces that are wanted, large enough, and among the first `at_most`."""
    left = [i for i, face in enumerate(faces) if face.size >= min_size]
    if wanted == LARGEST:
        left = sorted(left, key=lambda i: -faces[i].area)[:1]
    elif wanted != ALL:
        left = [i for i in left if ids[i] in wanted]
    return left[:at_most] if at_most else left


def _check_limits(min_size: float, at_most: int) -> None:
    if not (0 <= min_size < math.inf):
        raise CLRFaceError(f"Expected a smallest face of at least 0 pixels, got {min_size}: 0 takes all.")
    if not (isinstance(at_most, int) and at_most >= 0):
        raise CLRFaceError(f"Expected a whole number of faces of at least 0, got {at_most!r}: 0 takes all.")


def _check_ids(wanted: Faces, known: Collection[int]) -> None:
    """Raise CLRFaceError for an id that is not among the known ones, unless there are none."""
    unknown = [] if isinstance(wanted, str) or not known else [i for i in wanted if i not in known]
    if unknown:
        raise CLRFaceError(
            f"Expected face ids that were found (0 to {max(known)}), got {unknown[0]}: see the preview or the report."
        )
