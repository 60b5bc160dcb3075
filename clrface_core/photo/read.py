"""Read any picture file a user has."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

from ..errors import CLRFaceError
from .formats import FORMATS
from .photo import Photo
from .sixteen_bit import ORIENTATION, is_16_bit_colour, read_16_bit_colour, upright

MAX_PIXELS = 178_000_000
"""Largest picture read, in pixels: Pillow's own limit, beyond which a file is more likely an attack."""


def read_photo(path: str | Path) -> Photo:
    """Read a picture file: upright as its EXIF orientation says, of an animation the first frame.

    Grey, palette, 1-bit, CMYK and transparent pictures, 8 or 16 bits per channel; 16 bits of PNG and TIFF are
    kept. CMYK becomes sRGB through its profile if it has one; other profiles are kept, the values unchanged.
    Raises CLRFaceError where there is no such file, it is no picture, is damaged or cut short, holds more
    than MAX_PIXELS, or has values that 16 bits cannot hold.
    """
    path = Path(path)
    if path.is_dir():
        raise CLRFaceError(f"Expected a picture file, got the folder {path}: name the pictures in it.")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise CLRFaceError(f"Expected a picture file, found nothing at {path}: check the name.") from None
    except OSError as error:
        raise CLRFaceError(f"Expected a readable file, got {path} ({error.strerror}): check it.") from error
    if not data:
        raise CLRFaceError(f"Expected a picture file, got {path} with 0 bytes: copy or export it again.")
    image, orientation = _open(path, data)
    if is_16_bit_colour(image, data):
        values = read_16_bit_colour(path, data, image, orientation)
    else:
        values = upright(_values(path, image), image.getexif().get(ORIENTATION, 1))
    return _photo(values, image)


@contextlib.contextmanager
def _strict_pillow() -> Iterator[None]:
    """Let Pillow not accept a file that ends early, whatever other code has set, nor print warnings."""
    tolerant = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = tolerant


def _open(path: Path, data: bytes) -> tuple[Image.Image, int]:
    """The decoded picture, and the EXIF orientation its file states."""
    Image.init()
    with _strict_pillow():
        try:
            image = Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN])
        except Image.DecompressionBombError as error:
            raise CLRFaceError(_too_large(path, str(error))) from error
        except UnidentifiedImageError as error:
            raise CLRFaceError(
                f"Expected a picture in a common format, got {path}, which is damaged or of another kind: "
                "save it as JPEG, PNG, WebP or TIFF."
            ) from error
        except (OSError, SyntaxError, ValueError, struct.error, zlib.error) as error:
            raise CLRFaceError(_damaged(path, error)) from error
        if image.width * image.height > MAX_PIXELS:
            raise CLRFaceError(_too_large(path, f"{image.width} x {image.height}"))
        try:
            orientation = image.getexif().get(ORIENTATION, 1)
            image.load()
        except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error) as error:
            raise CLRFaceError(_damaged(path, error)) from error
    return image, orientation


def _too_large(path: Path, size: str) -> str:
    limit = MAX_PIXELS // 10**6
    return f"Expected a picture of at most {limit} megapixels, got {path} ({size}): make it smaller first."


def _damaged(path: Path, error: BaseException) -> str:
    reason = str(error) or type(error).__name__
    return f"Expected a whole picture, got {path}, damaged or cut short ({reason}): copy or export it again."


def _values(path: Path, image: Image.Image) -> np.ndarray:
    """The stored values (H,W,C) as grey, grey and alpha, RGB or RGBA; uint8, or uint16 for 16-bit grey."""
    mode, transparent = image.mode, "transparency" in image.info
    if mode.startswith("I;16") or (mode == "I" and image.format in ("PNG", "PPM")):
        grey = np.asarray(image).astype(np.uint16)
        key = image.info.get("transparency")
        if key is None:
            return grey[..., None]
        return np.stack([grey, np.where(grey == key, 0, 65535).astype(np.uint16)], -1)
    if mode == "CMYK":
        return np.asarray(_cmyk_to_rgb(image))
    wanted = {"1": "L", "L": "L", "La": "LA", "LA": "LA", "RGB": "RGB", "RGBX": "RGB", "YCbCr": "RGB"}
    wanted |= {"RGBa": "RGBA", "RGBA": "RGBA", "P": "RGB", "PA": "RGBA"}
    if mode not in wanted:
        raise CLRFaceError(
            f"Expected a picture with 8 or 16 bits per channel, got {path} in mode {mode}: save it as RGB."
        )
    target = wanted[mode] + ("A" if transparent and not wanted[mode].endswith("A") else "")
    values = np.asarray(image if mode == target else image.convert(target))
    return values if values.ndim == 3 else values[..., None]


def _cmyk_to_rgb(image: Image.Image) -> Image.Image:
    """CMYK to sRGB, through the embedded profile where it can be used."""
    profile = image.info.get("icc_profile")
    if profile:
        with contextlib.suppress(ImageCms.PyCMSError, OSError):  # a broken profile is as good as none
            source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
            if converted is not None:
                return converted
    return image.convert("RGB")


def _photo(values: np.ndarray, image: Image.Image) -> Photo:
    """Values (H,W,C) as tensors in [0,1]."""
    bits = 16 if values.dtype == np.uint16 else 8
    height, width, channels = values.shape
    planes = torch.empty(channels, height, width)
    for c, plane in enumerate(planes):
        # Dividing in float32 and rounding the product brings back each of the 65536 values.
        torch.div(torch.from_numpy(values[..., c].astype(np.float32)), 2**bits - 1, out=plane)
    grey = channels <= 2
    rgb = planes[:1].repeat(3, 1, 1) if grey else planes[:3]
    icc = image.info.get("icc_profile") if image.mode != "CMYK" else None
    return Photo(rgb, planes[-1] if channels in (2, 4) else None, bits, grey, icc)
