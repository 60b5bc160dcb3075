"""From an opened Pillow image to values: every mode, and what Pillow misreads or cuts down."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageCms

from ..errors import CLRFaceError
from .color import read_coding_of, read_profile, space
from .metadata import ORIENTATION, read_metadata
from .opening import load, strict_pillow
from .photo import ColorCoding, Metadata, Photo
from .sixteen_bit import is_16_bit_colour, read_16_bit_colour, upright

SLACK = 0.1
"""How far beyond [0,1] values may lie, as those of a resampled picture do; what lies farther has another scale."""


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where the block is broken."""
    with strict_pillow():
        try:
            value = image.getexif().get(ORIENTATION, 1)
        except Exception:  # a broken EXIF block is no reason to refuse the pixels
            return 1
    return value if value in range(1, 9) else 1


def to_photo(name: object, image: Image.Image, data: bytes | None, *, changed: bool = False) -> Photo:
    """A Photo of an opened image, whose pixels are loaded now.

    data: the file it came from, where known: 16-bit colours and some labels stand only there. changed: the pixels
    are no longer those of the file, only its labels hold.
    """
    # Of a TIFF, Pillow forgets both when it loads (and turns) the pixels. Of a PNG, asking for them loads the pixels
    # and swallows what is wrong with them.
    before = (orientation_of(image), _metadata(image)) if image.format == "TIFF" else None
    image = image if changed else load(name, image, data or b"")
    remaining = orientation_of(image)
    stated, metadata = before or (remaining, None)
    if data is not None and not changed and is_16_bit_colour(image, data):
        values = read_16_bit_colour(name, data, image, stated, remaining)
    else:
        values = upright(_values(name, image), remaining)
    return photo_of_values(values, image, data, metadata or _metadata(image))


def _metadata(image: Image.Image) -> Metadata:
    with strict_pillow():
        return read_metadata(image)


def photo_of_values(values: np.ndarray, image: Image.Image, data: bytes | None, metadata: Metadata) -> Photo:
    """A Photo of upright values (H,W,C), uint8, uint16 or float32 in [0,1], with the labels of `image`."""
    rgb, alpha = _planes(values)
    bits = 8 if values.dtype == np.uint8 else 16
    coding = ColorCoding() if image.mode in ("CMYK", "LAB") else read_coding_of(image, data)
    return Photo(rgb, alpha, bits, values.shape[2] <= 2, read_profile(image), coding, metadata)


def _planes(values: np.ndarray) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Values (H,W,C) as rgb (3,H,W) and alpha (H,W) in [0,1]."""
    height, width, channels = values.shape
    planes = torch.empty(channels, height, width)
    most = 1 if values.dtype == np.float32 else np.iinfo(values.dtype).max
    for c, plane in enumerate(planes):
        # Dividing in float32 and rounding the product brings back each of the 65536 values.
        torch.div(torch.from_numpy(values[..., c].astype(np.float32)), most, out=plane)
    rgb = planes[:1].repeat(3, 1, 1) if channels <= 2 else planes[:3]
    return rgb, planes[-1] if channels in (2, 4) else None


def _values(name: object, image: Image.Image) -> np.ndarray:
    """The stored values (H,W,C) as grey, grey and alpha, RGB or RGBA: uint8, uint16 or float32 in [0,1]."""
    mode, transparent = image.mode, "transparency" in image.info
    if mode.startswith("I;16") or (mode == "I" and image.format in ("PNG", "PPM", "JPEG2000")):
        return _deep_grey(image)
    if mode in ("I", "F"):
        return scaled(name, np.asarray(image))[..., None]
    if mode in ("CMYK", "LAB"):
        return np.asarray(_to_srgb(image))
    wanted = {"1": "L", "L": "L", "La": "LA", "LA": "LA", "RGB": "RGB", "RGBX": "RGB", "YCbCr": "RGB", "HSV": "RGB"}
    wanted |= {"RGBa": "RGBA", "RGBA": "RGBA", "P": "RGB", "PA": "RGBA"}
    if mode not in wanted:
        raise CLRFaceError(
            f"Expected a picture with 8 or 16 bits per channel, got {name} in mode {mode}: save it as RGB."
        )
    target = wanted[mode] + ("A" if transparent and not wanted[mode].endswith("A") else "")
    values = np.asarray(image if mode == target else image.convert(target))
    return values if values.ndim == 3 else values[..., None]


def _deep_grey(image: Image.Image) -> np.ndarray:
    """16-bit grey (H,W,1 or 2) uint16."""
    grey = np.asarray(image).astype(np.uint16)
    if image.format == "TIFF" and getattr(image, "tag_v2", {}).get(262) == 0:
        grey = 65535 - grey  # zero is white: Pillow turns 8 bits round, but not 16
    key = image.info.get("transparency")
    if key is None:
        return grey[..., None]
    return np.stack([grey, np.where(grey == key, 0, 65535).astype(np.uint16)], -1)


def scaled(name: object, values: np.ndarray) -> np.ndarray:
    """Values of a type that does not say its range, as float32 in [0,1].

    Numbers in [0,1] stand for themselves; whole ones up to 255 or 65535 are 8 or 16 bits. CLRFaceError for others.
    """
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise CLRFaceError(f"Expected finite pixels, got NaN or infinity in {name}: clean the picture first.")
    low, high = float(values.min()), float(values.max())
    whole = high > 1 and low >= 0 and not (values % 1).any()
    if whole and high <= 65535:
        return (values / (255 if high <= 255 else 65535)).astype(np.float32)
    if low < -SLACK or high > 1 + SLACK:
        raise CLRFaceError(
            f"Expected pixels in [0,1], or whole numbers up to 255 or 65535, got {low:.4g} to {high:.4g} in {name}: "
            "scale the picture first."
        )
    return values.clip(0, 1).astype(np.float32)


def _to_srgb(image: Image.Image) -> Image.Image:
    """CMYK to sRGB, through the embedded profile where it can be used; Lab by its definition."""
    profile = image.info.get("icc_profile")
    usable = image.mode == "CMYK" and isinstance(profile, bytes) and space(profile) == b"CMYK"
    if usable or image.mode == "LAB":
        with contextlib.suppress(ImageCms.PyCMSError, OSError):  # a broken profile is as good as none
            source: Any = ImageCms.createProfile("LAB")
            if usable:
                source = ImageCms.ImageCmsProfile(io.BytesIO(profile or b""))
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
            if converted is not None:
                return converted
    return image.convert("RGB")
