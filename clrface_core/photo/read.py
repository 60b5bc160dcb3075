"""Read any picture file a user has: one picture, or all the frames and pages of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from PIL import Image

from ..errors import CLRFaceError
from ..storage import as_path
from .decode import to_photo
from .formats import FOREIGN_SUFFIXES
from .opening import check_size, damaged, open_header, read_bytes, shown, strict_pillow
from .photo import Photo
from .tiff import unusual_photo


def read_photo(path: str | Path) -> Photo:
    """Read a picture file: upright as its EXIF orientation says, of an animation or document the first frame.

    Grey, palette, 1-bit, CMYK and transparent pictures, 8 or 16 bits per channel (floats count as 16); 16 bits of
    PNG and TIFF are kept. CMYK becomes sRGB through its profile if it has one; other profiles and labels of colour
    are kept, the values unchanged, as is what the file says of the photo. `frames_left_out` counts other frames.
    Raises CLRFaceError where there is no such file, it is no picture, is damaged or cut short, holds more than
    MAX_PIXELS, has values of an unknown range, or needs a package that is not installed (HEIC, JPEG XL).
    """
    return photo_of_file(shown(path), content_of(path))


def photo_of_file(name: object, data: bytes) -> Photo:
    """The Photo in the bytes of a file, see `read_photo`."""
    if (unusual := unusual_photo(name, data)) is not None:
        return unusual
    image = open_header(name, data)
    return replace(to_photo(name, image, data), frames_left_out=count_frames(image) - 1)


def read_frames(path: str | Path) -> Iterator[Photo]:
    """Every frame of an animation or page of a document, one after the other; of another picture the one.

    Each is as `read_photo` would give it, with its `duration` where the file is an animation. CLRFaceError likewise.
    """
    yield from frames_of_file(shown(path), content_of(path))


def frames_of_file(name: object, data: bytes) -> Iterator[Photo]:
    """The Photos in the bytes of a file, see `read_frames`."""
    count = count_frames_in(name, data)
    if count == 1:
        yield photo_of_file(name, data)
        return
    image = open_header(name, data)
    check_size(name, image.width, image.height, len(data), count)
    for number in range(count):
        with strict_pillow():
            try:
                image.seek(number)
            except Exception as error:  # as in `opening`: readers raise anything on damaged files
                raise CLRFaceError(damaged(name, error)) from error
        photo = to_photo(name, image, data if number == 0 else None)
        duration = image.info.get("duration")
        yield replace(photo, duration=float(duration) if duration is not None else None)


def count_frames_of(path: str | Path) -> int:
    """How many frames or pages a picture file holds; 1 also where it cannot be read."""
    try:
        return count_frames_in(path, content_of(path))
    except CLRFaceError:
        return 1


def count_frames_in(name: object, data: bytes) -> int:
    """How many frames or pages `frames_of_file` gives; CLRFaceError where it would not open the file."""
    return count_frames(open_header(name, data)) if unusual_photo(name, data) is None else 1


def content_of(path: str | Path) -> bytes:
    """The bytes of the file. A camera's raw file looks like a TIFF, of which one would get the small preview only."""
    path = as_path(path)
    if path.suffix.lower() in FOREIGN_SUFFIXES and path.is_file():
        raise CLRFaceError(
            f"Expected a picture as JPEG, PNG, WebP, TIFF or the like, got {shown(path)}: export it as one of these."
        )
    return read_bytes(path)


def count_frames(image: Image.Image) -> int:
    """Frames or pages of an opened picture; the second picture that cameras put into a JPEG is not counted."""
    if image.format in ("MPO", "HEIF"):
        return 1
    with strict_pillow():
        try:
            return max(1, getattr(image, "n_frames", 1))
        except Exception:  # damaged behind the first frame: there is one that can be read
            return 1
