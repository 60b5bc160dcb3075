"""The faces of several pictures of one size, as one list: what travels between finding, choosing and pasting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import CLRFaceError
from .align import Alignment, align_faces
from .detect import Detector, Face, order_faces

SIDES: dict[str, Callable[[Face, int, int], bool]] = {
    "any": lambda face, width, height: True,
    "left half": lambda face, width, height: face.centre[0] < width / 2,
    "right half": lambda face, width, height: face.centre[0] >= width / 2,
    "top half": lambda face, width, height: face.centre[1] < height / 2,
    "bottom half": lambda face, width, height: face.centre[1] >= height / 2,
}
"""Parts of a picture in which the centre of a face may lie."""


@dataclass(frozen=True)
class FaceBatch:
    """Which faces were cut out of which picture, and where they lie.

    frames: how many pictures there are, faces or not. frame, faces, numbers: for every crop its picture, the
    detected face, and its number within that picture (what a preview shows and a choice names). alignment:
    where the crops lie; its image size is that of every picture.
    """

    frames: int
    frame: tuple[int, ...]
    faces: tuple[Face, ...]
    numbers: tuple[int, ...]
    alignment: Alignment

    def __len__(self) -> int:
        return len(self.frame)

    def select(self, indices: Sequence[int]) -> FaceBatch:
        """These crops only, in this order; numbers stay what they were."""
        return replace(
            self,
            frame=tuple(self.frame[i] for i in indices),
            faces=tuple(self.faces[i] for i in indices),
            numbers=tuple(self.numbers[i] for i in indices),
            alignment=self.alignment.select(list(indices)),
        )

    def of_frame(self, frame: int) -> list[int]:
        """Positions of the crops that come from this picture."""
        return [i for i, where in enumerate(self.frame) if where == frame]


def cut_faces(
    images: Tensor | Sequence[Tensor], found: Sequence[Sequence[Face]], size: int = 512
) -> tuple[Tensor, FaceBatch]:
    """Crops (N,3,size,size) of the faces `found` in each of the pictures (3,H,W), numbered as they come.

    images: of one size; each is asked for once, and may be forgotten then.
    """
    if len(images) != len(found) or not len(images):
        raise CLRFaceError(
            f"Expected pictures and a list of faces for each, got {len(images)} and {len(found)}: give as many."
        )
    count, done, alignments = sum(len(faces) for faces in found), 0, []
    crops = torch.empty(count, 3, size, size, memory_format=torch.channels_last)
    for image, faces in zip(images, found, strict=True):
        here, alignment = align_faces(image, faces, size)
        crops[done : done + len(here)] = here
        alignments.append(alignment)
        done += len(here)
    alignment = replace(alignments[0], matrices=torch.cat([each.matrices for each in alignments]))
    where = [(frame, face, number) for frame, faces in enumerate(found) for number, face in enumerate(faces)]
    frame, faces, numbers = zip(*where, strict=True) if where else ((), (), ())
    return crops, FaceBatch(len(images), frame, faces, numbers, alignment)


def find_faces(
    images: Iterable[Tensor], detector: Detector, *, order: str = "area", min_size: float = 0, at_most: int = 0
) -> Iterator[list[Face]]:
    """The faces of one picture after the other, ordered; those whose box is smaller than `min_size` px left out.

    min_size: of the box's longer side. at_most: faces per picture, the first in the order; 0 is all.
    """
    for image in images:
        faces = order_faces([face for face in detector.detect(image) if _side(face) >= min_size], by=order)
        yield faces[:at_most] if at_most else faces


def _side(face: Face) -> float:
    x0, y0, x1, y1 = face.box
    return max(x1 - x0, y1 - y0)


def choose(
    batch: FaceBatch,
    *,
    numbers: Sequence[int] | None = None,
    at_most: int = 0,
    order: str = "area",
    side: str = "any",
    min_size: float = 0,
) -> list[int]:
    """Positions of the crops that pass every filter, picture by picture.

    numbers: of the faces within their picture, None is all; numbers that a picture does not have are passed
    over there, but one that no picture has is an error. side: a name out of SIDES, where the face's centre lies.
    min_size: of the box's longer side in pixels. at_most: faces per picture, the first in `order`; 0 is all.
    """
    if side not in SIDES:
        raise CLRFaceError(f"Expected a side ({', '.join(SIDES)}), got {side!r}: use one of them.")
    unknown = sorted(set(numbers or ()) - set(batch.numbers))
    if unknown and len(batch):
        raise CLRFaceError(
            f"Expected face numbers that were found (0 to {max(batch.numbers)}), got {unknown[0]}: see the preview."
        )
    height, width = batch.alignment.image_size
    chosen: list[int] = []
    for frame in range(batch.frames):
        here = [
            i
            for i in batch.of_frame(frame)
            if (numbers is None or batch.numbers[i] in numbers)
            and SIDES[side](batch.faces[i], width, height)
            and _side(batch.faces[i]) >= min_size
        ]
        place = {id(batch.faces[i]): i for i in here}
        ordered = [place[id(face)] for face in order_faces([batch.faces[i] for i in here], by=order)]
        chosen += ordered[:at_most] if at_most else ordered
    return chosen
