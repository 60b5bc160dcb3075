"""Write a picture, whole or not at all, with every untouched pixel as it was and all that is known of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from pathlib import Path

from torch import Tensor

from ..errors import CLRFaceError
from ..storage import as_path
from .encode import encode, encode_frames
from .formats import FRAMED, WRITTEN
from .photo import Metadata, Photo
from .replace_file import replace_file


def write_photo(
    path: str | Path,
    photo: Photo | Tensor,
    *,
    quality: int | None = None,
    strip_metadata: bool = False,
    compression: int = 4,
    note: str | None = None,
) -> None:
    """Write a picture file, whole or not at all: it appears under its name only when complete.

    path: its ending chooses the kind: .png, .jpg, .jpeg, .webp, .tif, .tiff, .avif. PNG and TIFF are exact and keep
    16 bits per channel; the others are rounded to 8.
    photo: a Photo, or a float tensor in [0,1], (3,H,W) colour or (1,H,W) grey, written with 8 bits. Values
    are rounded to the nearest step: those of a Photo that were not touched come out as they were read.
    quality: 1 to 100, of JPEG (default 95), WebP (90; 100 is exact) and AVIF (80). compression: 0 (fast) to 9 (small),
    of PNG. strip_metadata: leave out EXIF, GPS, XMP, texts and resolution; labels of colour stay.
    note: a line that `read_note` finds in the file again, not shown by other programs.
    Raises CLRFaceError where the name has another ending, the place cannot be written, the format cannot hold the
    picture (transparency in JPEG, sides too long), or values are NaN.
    """
    path = as_path(path)
    kind = kind_of(path, WRITTEN)
    if isinstance(photo, Tensor):
        single = photo.ndim == 3 and photo.shape[0] == 1
        photo = Photo(photo.expand(3, -1, -1) if single else photo, grey=single)
    if strip_metadata:
        photo = replace(photo, metadata=Metadata())
    replace_file(path, encode(photo, kind, _checked(quality), compression), note)


def write_frames(
    path: str | Path,
    photos: Iterable[Photo],
    *,
    quality: int | None = None,
    strip_metadata: bool = False,
    note: str | None = None,
) -> None:
    """Write several pictures as the frames or pages of one file: .png, .apng, .webp, .avif, .gif or .tif, .tiff.

    Each is asked for when its turn comes. Those of an animation last as long as their `duration`, 100 ms where they
    have none, and it repeats for ever. See `write_photo` for the rest.
    """
    path = as_path(path)
    kind = kind_of(path, FRAMED)
    frames = iter(photos)
    first = next(frames, None)
    if first is None:
        raise CLRFaceError("Expected at least one frame to write, got none: pass the frames of a picture.")
    frames = chain((first,), frames)
    if strip_metadata:
        frames = (replace(photo, metadata=Metadata()) for photo in frames)
    replace_file(path, encode_frames(frames, kind, _checked(quality)), note)


def kind_of(path: Path, kinds: dict[str, str]) -> str:
    """The kind of file that a name asks for; CLRFaceError for an ending that none of `kinds` has."""
    try:
        return kinds[path.suffix.lower()]
    except KeyError:
        endings = ", ".join(kinds)
        raise CLRFaceError(f"Expected an output name that ends in one of {endings}, got {path}: change it.") from None


def _checked(quality: int | None) -> int | None:
    if quality is not None and not 1 <= quality <= 100:
        raise CLRFaceError(f"Expected a quality from 1 to 100, got {quality}: choose within.")
    return quality
