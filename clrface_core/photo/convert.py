"""Any picture that Python code may hand over, as a Photo: a path, a PIL image, an array or a tensor."""

from __future__ import annotations

import io
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFile
from torch import Tensor

from ..errors import CLRFaceError
from .decode import SLACK, to_photo
from .opening import load
from .photo import Photo
from .read import photo_of_file, read_photo


def as_photo(image: Any) -> Photo:
    """A Photo of any of these, RGB (a fourth channel is alpha); nothing is changed or clamped.

    A Photo; a path; a PIL image of any mode, with all that it knows of its file; an array (H,W) or (H,W,1) for grey,
    (H,W,3), (H,W,4) of uint8, uint16 or floats in [0,1]; a float tensor (1,H,W) for grey, (3,H,W), (4,H,W) in [0,1].
    CLRFaceError for anything else, and for values that are not finite or lie outside [0,1].
    """
    if isinstance(image, (str, Path)):
        photo = read_photo(image)
    elif isinstance(image, Photo):
        photo = image
    elif isinstance(image, Tensor):
        photo = _from_tensor(image.detach())
    elif isinstance(image, Image.Image):
        photo = _from_pil(image)
    elif isinstance(image, np.ndarray):
        photo = _from_array(image)
    else:
        raise CLRFaceError(
            f"Expected a picture as a path, Photo, PIL image, array or tensor, got {type(image).__name__}: convert it."
        )
    _check_values(photo.rgb, "pixels")
    if photo.alpha is not None:
        _check_values(photo.alpha, "alpha")
    return photo.with_rgb(photo.rgb.float())


def _from_pil(image: Image.Image) -> Photo:
    """The file's own picture where the image is one, as the file knows more than Pillow keeps; else the image's."""
    if image.width < 1 or image.height < 1:
        raise CLRFaceError(f"Expected a picture, got a PIL image of {image.width}x{image.height} px: check it.")
    data, again = _file_of(image)
    load("the PIL image", image, data or b"")
    if data is not None and again is not None and _same_pixels(image, again):
        return photo_of_file("the PIL image", data)
    return to_photo("the PIL image", image, data, changed=True)


def _file_of(image: Image.Image) -> tuple[bytes | None, Image.Image | None]:
    """The file that an image was opened from, and the image as it would be opened anew; None where there is none."""
    if not isinstance(image, ImageFile.ImageFile) or image.tell() != 0:
        return None, None
    stream = getattr(image, "fp", None)
    try:
        if image.filename:
            path = Path(os.fsdecode(image.filename))
            return (path.read_bytes(), Image.open(path)) if path.is_file() else (None, None)
        if isinstance(stream, io.BytesIO):
            return stream.getvalue(), Image.open(io.BytesIO(stream.getvalue()))
    except (OSError, ValueError, TypeError):  # the file is gone, or another by now
        pass
    return None, None


def _same_pixels(image: Image.Image, again: Image.Image) -> bool:
    with again:
        load("the PIL image", again, b"")
        return again.mode == image.mode and again.size == image.size and again.tobytes() == image.tobytes()


def _from_tensor(values: Tensor) -> Photo:
    if values.ndim == 3 and values.shape[0] == 1:
        return Photo(values.expand(3, -1, -1), grey=True)
    if values.ndim == 3 and values.shape[0] == 4:
        return Photo(values[:3], values[3].float())
    return Photo(values)


def _from_array(array: np.ndarray) -> Photo:
    planes = array[..., None] if array.ndim == 2 else array
    if planes.ndim != 3 or planes.shape[2] not in (1, 3, 4) or not planes.size:
        raise CLRFaceError(f"Expected a picture as an array (height, width, 3), got {array.shape}: channels go last.")
    if planes.dtype in (np.uint8, np.uint16):
        most = np.iinfo(planes.dtype).max
    elif np.issubdtype(planes.dtype, np.floating):
        most = 1
    else:
        raise CLRFaceError(f"Expected an array of uint8, uint16 or floats in [0,1], got {array.dtype}: convert it.")
    values = torch.from_numpy(planes.astype(np.float32)).permute(2, 0, 1).contiguous() / most
    grey = len(values) == 1
    rgb = values.expand(3, -1, -1).clone() if grey else values[:3]
    alpha = values[3] if len(values) == 4 else None
    return Photo(rgb, alpha, bits=16 if planes.dtype == np.uint16 else 8, grey=grey)


def _check_values(values: Tensor, what: str) -> None:
    low, high = (float(value) for value in values.aminmax())  # NaN if any pixel is
    if not (math.isfinite(low) and math.isfinite(high)):
        raise CLRFaceError(f"Expected finite {what} in [0,1], got NaN or infinity: clean the picture first.")
    if low < -SLACK or high > 1 + SLACK:
        raise CLRFaceError(f"Expected {what} in [0,1], got {low:.3g} to {high:.3g}: scale the picture first.")
