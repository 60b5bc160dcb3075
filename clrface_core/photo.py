"""Read any picture a user has, and write it back as PNG with every untouched pixel as it was."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError
from torch import Tensor

from .errors import CLRFaceError

MAX_PIXELS = 178_000_000
"""Largest picture read, in pixels: Pillow's own limit, beyond which a file is more likely an attack."""

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF", "JPEG2000")
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2"),
)


ORIENTATION = 0x0112
"""The EXIF tag."""


@dataclass(frozen=True)
class Photo:
    """A picture as a tensor, and what it takes to write it back faithfully.

    rgb: (3,H,W) float32 in [0,1]; a grey picture has three equal channels.
    alpha: (H,W) float32 in [0,1], not multiplied into rgb; None where the picture is opaque.
    bits: 8 or 16 per channel.
    grey: the file had one channel. It is written as one again if the three are still equal, as RGB otherwise.
    icc: the colour profile that the values are meant in; None stands for sRGB.
    """

    rgb: Tensor
    alpha: Tensor | None = None
    bits: int = 8
    grey: bool = False
    icc: bytes | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.rgb.shape)
        if len(shape) != 3 or shape[0] != 3 or 0 in shape or not self.rgb.is_floating_point():
            raise CLRFaceError(
                f"Expected a picture as a float tensor (3, height, width) in [0, 1], got {self.rgb.dtype} {shape}: "
                "convert it first."
            )
        if self.alpha is not None and tuple(self.alpha.shape) != shape[1:]:
            raise CLRFaceError(
                f"Expected an alpha channel of {shape[1:]} like the picture, got {tuple(self.alpha.shape)}: "
                "resize both or drop the alpha."
            )
        if self.bits not in (8, 16):
            raise CLRFaceError(f"Expected 8 or 16 bits per channel, got {self.bits}: choose one of the two.")

    def with_rgb(self, rgb: Tensor) -> Photo:
        """The same picture with other colours: alpha, depth and profile stay."""
        return replace(self, rgb=rgb)


def is_picture(path: str | Path) -> bool:
    """Whether the path is a file that is named as a picture. Hidden files are not; the content is not looked at."""
    path = Path(path)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


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
    if _is_16_bit_colour(image, data):
        values = _read_16_bit_colour(path, data, image, orientation)
    else:
        values = _upright(_values(path, image), image.getexif().get(ORIENTATION, 1))
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


def _is_16_bit_colour(image: Image.Image, data: bytes) -> bool:
    """Whether the file holds 16 bits per channel that Pillow has cut down to 8."""
    if image.mode.startswith("I") or image.mode == "CMYK":
        return False
    if image.format == "TIFF":
        return max(image.tag_v2.get(258, (8,))) == 16  # type: ignore[attr-defined]  # BitsPerSample
    return image.format == "PNG" and data[24] == 16  # the bit depth of the header chunk


def _read_16_bit_colour(path: Path, data: bytes, image: Image.Image, orientation: int) -> np.ndarray:
    """The full values (H,W,3 or 4) uint16 of a picture that Pillow has read with 8 bits, upright.

    OpenCV keeps the low bytes but knows fewer kinds of files: its high bytes must be those of Pillow.
    """
    cv2 = _opencv()
    transparent = "transparency" in image.info or "A" in image.mode.upper()
    narrow = np.asarray(image.convert("RGBA" if transparent else "RGB"))
    high = _upright(narrow, image.getexif().get(ORIENTATION, 1))
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is not None and values.ndim == 3 and values.dtype == np.uint16:
        values = values[..., [2, 1, 0, 3][: values.shape[2]]]
        for candidate in (_upright(values, orientation), values):
            if candidate.shape == high.shape and not ((candidate[..., :3] >> 8) - high[..., :3]).any():
                return candidate
    raise CLRFaceError(
        f"Expected 16-bit colours in a common layout, got {path} in an unusual one: save it as a 16-bit PNG."
    )


def _opencv() -> ModuleType:
    """OpenCV, which only 16-bit colours need."""
    try:
        import cv2
    except ImportError as error:
        raise CLRFaceError(
            "Expected opencv-python for a picture with 16 bits per channel, found none: "
            "install it, or save the picture with 8 bits."
        ) from error
    return cv2


def _upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation, 1 to 8, of values (H,W,...): transpose, then flip."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


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
        return _encode_16_bit_colour(planes, icc, compression)
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


def _encode_16_bit_colour(planes: list[np.ndarray], icc: bytes | None, compression: int) -> bytes:
    """A PNG of grey and alpha, RGB or RGBA planes (H,W) uint16, which Pillow cannot write."""
    cv2 = _opencv()
    if len(planes) == 2:
        planes = [planes[0], planes[0], *planes]
    order = [2, 1, 0, 3][: len(planes)]
    options = [cv2.IMWRITE_PNG_COMPRESSION, compression]
    done, file = cv2.imencode(".png", np.stack([planes[c] for c in order], -1), options)
    if not done:
        raise CLRFaceError("Expected OpenCV to encode a 16-bit PNG, which it refused: write it with 8 bits.")
    png = file.tobytes()
    if icc is None:
        return png
    body = b"iCCP" + b"ICC profile\0\0" + zlib.compress(icc)
    header = 33  # the signature and the header chunk, which must come first
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:header] + chunk + png[header:]


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
