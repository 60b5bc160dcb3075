"""From bytes to an opened Pillow image: any kind of file, whole, or one sentence that says why not."""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, PngImagePlugin, UnidentifiedImageError

from ..errors import CLRFaceError
from ..storage import is_remote, plain_errors
from .formats import FORMATS
from .png import damaged_chunk

MAX_PIXELS = 178_000_000
"""Largest picture read, in pixels: Pillow's own limit, beyond which a file is more likely an attack."""

MOST_TEXT = 16 * 2**20
"""Bytes that a compressed profile or text of a PNG may expand to: large ones of printers take 3 MB."""

EMPTY_PIXELS = 4_000_000
PIXELS_PER_BYTE = 500
"""A picture of more pixels than the first must not hold more of them per byte of its file than the second: of a flat
area a JPEG can hold 512, a PNG of colours 344, of photos even the most compressed hold some 200. What declares more is
blank, cut short or an attack, and would cost gigabytes to find out."""

END_OF_JPEG = b"\xff\xd9"

HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
JXL_STARTS = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")
PACKAGES = {"HEIF": ("pillow_heif", "pillow-heif"), "JXL": ("pillow_jxl", "pillow-jxl-plugin")}
"""Formats with a package of their own: the module and the name to install it by."""


@contextlib.contextmanager
def strict_pillow() -> Iterator[None]:
    """Let Pillow not accept a file that ends early, whatever other code has set, nor print warnings."""
    tolerant, longest = ImageFile.LOAD_TRUNCATED_IMAGES, PngImagePlugin.MAX_TEXT_CHUNK
    ImageFile.LOAD_TRUNCATED_IMAGES, PngImagePlugin.MAX_TEXT_CHUNK = False, MOST_TEXT
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES, PngImagePlugin.MAX_TEXT_CHUNK = tolerant, longest


def open_header(name: object, data: bytes) -> Image.Image:
    """The picture, its pixels not decoded yet. `name` is for the sentence of the CLRFaceError."""
    Image.init()
    _load_plugin(name, data)
    with strict_pillow():
        try:
            image = Image.open(io.BytesIO(data), formats=[kind for kind in FORMATS if kind in Image.OPEN])
        except Image.DecompressionBombError as error:
            raise CLRFaceError(_too_large(name, str(error))) from error
        except UnidentifiedImageError as error:
            raise CLRFaceError(_unknown(name)) from error
        except MemoryError:
            raise
        except Exception as error:  # Pillow's readers raise anything on a damaged file, RuntimeError and worse too
            raise CLRFaceError(damaged(name, error)) from error
    check_size(name, image.width, image.height, len(data))
    return image


def check_size(name: object, width: int, height: int, size: int, frames: int = 1) -> None:
    """CLRFaceError where a file of `size` bytes declares more pixels than are read, or than it can hold."""
    if width * height > MAX_PIXELS:
        raise CLRFaceError(_too_large(name, f"{width} x {height}"))
    if width * height * frames > max(EMPTY_PIXELS, size * PIXELS_PER_BYTE):
        shape = f"{width}x{height} px" + (f" in {frames} frames" if frames > 1 else "")
        raise CLRFaceError(
            f"Expected a picture that fills its file, got {name}, {shape} of {size} bytes, so blank, cut short or "
            "hostile: copy or export it again."
        )


def load(name: object, image: Image.Image, data: bytes) -> Image.Image:
    """The picture with its pixels. A JPEG that lacks nothing but its end marker is whole."""
    if image.format == "PNG" and (name_of_part := damaged_chunk(data)):  # told before anything large is decoded
        raise CLRFaceError(damaged(name, ValueError(f"wrong checksum of {name_of_part.decode('latin-1')}")))
    with strict_pillow():
        try:
            image.load()
        except MemoryError:
            raise
        except Exception as error:  # as above
            mended = _mended_jpeg(data) if image.format in ("JPEG", "MPO") else None
            if mended is None:
                raise CLRFaceError(damaged(name, error)) from error
            image = mended
    return image


def _mended_jpeg(data: bytes) -> Image.Image | None:
    """The picture of a JPEG without an end marker; None where more is missing.

    Where pixels are missing, what is put in their place shows: two different fillings then give two pictures.
    """
    if not _all_scans(data):
        return None
    pictures = []
    for filling in (b"", b"\x55" * 64, b"\xaa" * 64):
        image = Image.open(io.BytesIO(data.rstrip(b"\xff\0") + filling + END_OF_JPEG), formats=["JPEG"])
        try:
            image.load()
        except OSError:
            return None
        pictures.append(image)
    first, *others = (np.asarray(image) for image in pictures)
    return pictures[0] if all(np.array_equal(first, other) for other in others) else None


def _all_scans(data: bytes) -> bool:
    """Whether every coefficient of every component is announced to full precision by the scans of a JPEG."""
    components: dict[int, set[int]] = {}
    place = 2
    while (place := data.find(b"\xff", place)) >= 0 and place + 4 <= len(data):
        marker, size = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        segment = data[place + 4 : place + 2 + size]
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD8:  # inside a scan, or fill
            place += 1
            continue
        if marker in (0xC0, 0xC1, 0xC2) and len(segment) > 5:
            components = {number: set() for number in segment[6::3][: segment[5]]}
        if marker == 0xDA and segment and len(segment) >= 4 + 2 * segment[0]:
            start, end, bits = segment[1 + 2 * segment[0] :][:3]
            if not bits & 15:
                for number in segment[1 : 1 + 2 * segment[0] : 2]:
                    components.setdefault(number, set()).update(range(start, end + 1))
        place += 2 + size
    return bool(components) and all(len(found) == 64 for found in components.values())


def _load_plugin(name: object, data: bytes) -> None:
    """Let Pillow know of HEIC or JPEG XL where the file is one; CLRFaceError where the package is not installed."""
    heif = data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS and b"avif" not in data[8:64]
    kind = "HEIF" if heif else "JXL" if data.startswith(JXL_STARTS) else None
    if kind is None or kind in Image.OPEN:
        return
    module, package = PACKAGES[kind]
    try:
        plugin = importlib.import_module(module)
    except ImportError as error:
        raise CLRFaceError(
            f"Expected the package {package} for {name}, a {'HEIC' if heif else 'JPEG XL'} picture, found none: "
            f"pip install {package}, or save the picture as JPEG or PNG."
        ) from error
    if heif:
        plugin.register_heif_opener()


def _too_large(name: object, size: str) -> str:
    limit = MAX_PIXELS // 10**6
    return f"Expected a picture of at most {limit} megapixels, got {name} ({size}): make it smaller first."


def _unknown(name: object) -> str:
    return (
        f"Expected a picture in a common format, got {name}, which is damaged or of another kind: "
        "save it as JPEG, PNG, WebP or TIFF."
    )


def damaged(name: object, error: BaseException) -> str:
    """The sentence about a file that ends early or makes no sense."""
    reason = (str(error) or type(error).__name__).strip().splitlines()[0]
    return f"Expected a whole picture, got {name}, damaged or cut short ({reason}): copy or export it again."


def read_bytes(path: Path) -> bytes:
    """The content of a picture file; CLRFaceError where there is none to read."""
    try:
        if not is_remote(path):  # where each question would be a request
            _check_kind(path)
        with plain_errors(path):
            data = path.read_bytes()
    except FileNotFoundError:
        raise CLRFaceError(f"Expected a picture file, found nothing at {shown(path)}: check the name.") from None
    except CLRFaceError:
        raise
    except OSError as error:
        raise CLRFaceError(
            f"Expected a readable file, got {shown(path)} ({error.strerror or error}): check it."
        ) from error
    except ValueError:  # a NUL
        raise CLRFaceError(f"Expected a path, got {shown(path)}, which no file can have: check the name.") from None
    if not data:
        raise CLRFaceError(f"Expected a picture file, got {path} with 0 bytes: copy or export it again.")
    return data


def _check_kind(path: Path) -> None:
    if path.is_dir():
        raise CLRFaceError(f"Expected a picture file, got the folder {path}: name the pictures in it.")
    if path.exists() and not path.is_file():  # reading a pipe or a device may never end
        raise CLRFaceError(f"Expected a picture file, got {path}, a pipe or device: save its content as a file.")


def shown(path: object) -> str:
    """A path for a sentence: without control characters, and of a length that one can read."""
    text = "".join(letter if letter.isprintable() or letter == " " else f"\\x{ord(letter):02x}" for letter in str(path))
    return text if len(text) <= 400 else f"{text[:200]}...{text[-100:]}"
