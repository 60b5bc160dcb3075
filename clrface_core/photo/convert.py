"""Any picture that Python code may hand over, as a Photo: a path, a PIL image, an array or a tensor."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..errors import CLRFaceError
from .photo import Photo
from .read import read_photo

SLACK = 0.1
"""How far beyond [0,1] values may lie, as those of a resampled picture do; what lies farther has another scale."""


def as_photo(image: Any) -> Photo:
    """A Photo of any of these, RGB (a fourth channel is alpha); nothing is changed or clamped.

    A Photo; a path; a PIL image of any mode (turned upright by its EXIF orientation); an array (H,W) or (H,W,1),
    (H,W,3), (H,W,4) of uint8, uint16 or floats in [0,1]; a float tensor (3,H,W) in [0,1].
    CLRFaceError for anything else, and for values that are not finite or lie outside [0,1].
    """
    if isinstance(image, (str, Path)):
        return read_photo(image)
    if isinstance(image, Photo):
        photo = image
    elif isinstance(image, Tensor):
        photo = Photo(image.detach())
    elif isinstance(image, Image.Image):
        photo = _from_pil(image)
    elif isinstance(image, np.ndarray):
        photo = _from_array(image)
    else:
        raise CLRFaceError(
            f"Expected a picture as a path, Photo, PIL image, array or tensor, got {type(image).__name__}: convert it."
        )
    _check_values(photo.rgb)
    return photo.with_rgb(photo.rgb.float())


def _from_pil(image: Image.Image) -> Photo:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        return _from_array(np.asarray(image).astype(np.uint16))
    transparent = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
    return _from_array(np.asarray(image.convert("RGBA" if transparent else "RGB")))


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
    rgb = values[:3] if len(values) > 1 else values.expand(3, -1, -1).clone()
    alpha = values[3] if len(values) == 4 else None
    return Photo(rgb, alpha, bits=16 if planes.dtype == np.uint16 else 8)


def _check_values(rgb: Tensor) -> None:
    low, high = (float(value) for value in rgb.aminmax())  # NaN if any pixel is
    if not (math.isfinite(low) and math.isfinite(high)):
        raise CLRFaceError("Expected finite pixels in [0,1], got NaN or infinity: clean the picture first.")
    if low < -SLACK or high > 1 + SLACK:
        raise CLRFaceError(f"Expected pixels in [0,1], got {low:.3g} to {high:.3g}: scale the picture first.")
