"""Write a picture, whole or not at all, with every untouched pixel as it was."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import CLRFaceError
from .photo import Photo
from .sixteen_bit import encode_16_bit_colour


def write_photo(path: str | Path, photo: Photo | Tensor, *, compression: int = 4) -> None:
    """Write a PNG, whole or not at all: it appears under its name only when complete.

    photo: a Photo, or a float tensor in [0,1], (3,H,W) colour or (1,H,W) grey, written with 8 bits. Values
    are rounded to the nearest step: those of a Photo that were not touched come out as they were read.
    compression: 0 (fast) to 9 (small).
    Raises CLRFaceError where the name does not end in .png, the place cannot be written, or values are NaN.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise CLRFaceError(f"Expected an output name that ends in .png, got {path}: only PNG is written.")
    if isinstance(photo, Tensor):
        single = photo.ndim == 3 and photo.shape[0] == 1
        photo = Photo(photo.expand(3, -1, -1) if single else photo, grey=single)
    _replace_file(path, _encode(photo, compression))


def _encode(photo: Photo, compression: int) -> bytes:
    """The PNG file."""
    planes = [_quantise(plane, photo.bits) for plane in photo.rgb]
    grey = photo.grey and all(np.array_equal(planes[0], plane) for plane in planes[1:])
    if grey:
        planes = planes[:1]
    if photo.alpha is not None:
        planes.append(_quantise(photo.alpha, photo.bits))
    # A profile is for one colour model: that of a grey scan would make the file invalid once it has colours.
    icc = photo.icc if photo.icc and photo.icc[16:20] == (b"GRAY" if grey else b"RGB ") else None
    if photo.bits == 16 and len(planes) > 1:
        return encode_16_bit_colour(planes, icc, compression)
    values = planes[0] if len(planes) == 1 else np.stack(planes, -1)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG", compress_level=compression, icc_profile=icc)
    return file.getvalue()


def _quantise(plane: Tensor, bits: int) -> np.ndarray:
    """A plane (H,W) in [0,1] as uint8 or uint16."""
    plane = plane.detach().to("cpu", torch.float32)
    if not torch.isfinite(plane).all():
        raise CLRFaceError("Expected numbers in the picture, got NaN or infinity: restore it in float32.")
    values = plane.mul(2**bits - 1).round_().clamp_(0, 2**bits - 1)
    return values.numpy().astype(np.uint8 if bits == 8 else np.uint16)


def _replace_file(path: Path, data: bytes) -> None:
    """Write `data` beside `path`, then rename: a reader never sees a part, and a failure leaves nothing."""
    temporary = path.with_name(f".clrface-{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise CLRFaceError(
                f"Expected to write {path}, which failed ({error.strerror}): "
                "choose a file name in an existing folder that has room and that you may write to."
            ) from error
        raise
