"""The 16-bit colours of PNG and TIFF, which Pillow cuts down to 8 bits: read and written through OpenCV."""

from __future__ import annotations

from types import ModuleType

import numpy as np
from PIL import Image

from ..errors import CLRFaceError


def is_16_bit_colour(image: Image.Image, data: bytes) -> bool:
    """Whether the file holds 16 bits per channel that Pillow has cut down to 8."""
    if image.mode.startswith("I") or image.mode == "CMYK":
        return False
    if image.format == "TIFF":
        return max(image.tag_v2.get(258, (8,))) == 16  # type: ignore[attr-defined]  # BitsPerSample
    return image.format == "PNG" and data[24] == 16  # the bit depth of the header chunk


def read_16_bit_colour(name: object, data: bytes, image: Image.Image, stated: int, remaining: int) -> np.ndarray:
    """The full values (H,W,3 or 4) uint16 of a picture that Pillow has read with 8 bits, upright.

    stated, remaining: the EXIF orientation in the file, and what of it Pillow has not undone.
    OpenCV keeps the low bytes but knows fewer kinds of files: its high bytes must be those of Pillow.
    """
    cv2 = opencv()
    transparent = "transparency" in image.info or "A" in image.mode.upper()
    high = upright(np.asarray(image.convert("RGBA" if transparent else "RGB")), remaining)
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is not None and values.ndim == 3 and values.dtype == np.uint16:
        values = values[..., [2, 1, 0, 3][: values.shape[2]]]
        for candidate in (upright(values, stated), values):
            if candidate.shape == high.shape and not ((candidate[..., :3] >> 8) - high[..., :3]).any():
                return candidate
    raise CLRFaceError(
        f"Expected 16-bit colours in a common layout, got {name} in an unusual one: save it as a 16-bit PNG."
    )


def opencv() -> ModuleType:
    """OpenCV, which only colours of 16 bits and floats need."""
    try:
        import cv2
    except ImportError as error:
        raise CLRFaceError(
            "Expected opencv-python for a picture with 16 bits per channel, found none: "
            "install it, or save the picture with 8 bits."
        ) from error
    return cv2


def upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation, 1 to 8, of values (H,W,...): transpose, then flip."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


def encode_16_bit_colour(planes: list[np.ndarray], compression: int) -> bytes:
    """A PNG of grey and alpha, RGB or RGBA planes (H,W) uint16, which Pillow cannot write."""
    cv2 = opencv()
    if len(planes) == 2:
        planes = [planes[0], planes[0], *planes]
    order = [2, 1, 0, 3][: len(planes)]
    options = [cv2.IMWRITE_PNG_COMPRESSION, compression]
    done, file = cv2.imencode(".png", np.stack([planes[c] for c in order], -1), options)
    if not done:
        raise CLRFaceError("Expected OpenCV to encode a 16-bit PNG, which it refused: write it with 8 bits.")
    return file.tobytes()
