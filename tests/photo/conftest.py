"""Helpers of the photo tests, as fixtures: pictures made by the specification, and what is in a file."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from clrface_core.errors import CLRFaceError
from clrface_core.photo import Photo, read_photo, write_photo


def _smooth(height: int = 96, width: int = 128) -> Image.Image:
    """A picture that JPEG keeps well."""
    x, y = np.linspace(0, 200, width), np.linspace(20, 255, height)[:, None]
    return Image.fromarray(np.stack(np.broadcast_arrays(x, y, 255 - x), -1).astype(np.uint8))


def _save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def _save_words(path: Path, values: np.ndarray, **chunks: bytes) -> Path:
    """A 16-bit PNG with 1 to 4 channels, by the specification, with extra chunks before the pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width, channels = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    extra = b"".join(chunk(name.encode(), body) for name, body in chunks.items())
    pixels = chunk(b"IDAT", zlib.compress(rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + pixels + chunk(b"IEND", b""))
    return path


def _stored(photo: Photo) -> np.ndarray:
    """The values (H,W,C) in whole steps, which must be whole already."""
    planes = list(photo.rgb) + ([] if photo.alpha is None else [photo.alpha])
    values = torch.stack(planes, -1).double() * (2**photo.bits - 1)
    assert (values - values.round()).abs().max() < 0.01
    return values.round().long().numpy()


def _written(path: Path, photo: Photo) -> np.ndarray:
    """What another reader finds in the file after `photo` was written to it, (H,W,C) as RGB."""
    write_photo(path, photo)
    values = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    assert values is not None
    return values[..., None] if values.ndim == 2 else values[..., [2, 1, 0, 3][: values.shape[2]]]


def _refusal(path: Path) -> str:
    with pytest.raises(CLRFaceError) as caught:
        read_photo(path)
    message = str(caught.value)
    assert message.startswith("Expected ")
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.fixture
def smooth() -> Callable[..., Image.Image]:
    return _smooth


@pytest.fixture
def save() -> Callable[..., Path]:
    return _save


@pytest.fixture
def save_words() -> Callable[..., Path]:
    return _save_words


@pytest.fixture
def stored() -> Callable[[Photo], np.ndarray]:
    return _stored


@pytest.fixture
def written() -> Callable[[Path, Photo], np.ndarray]:
    return _written


@pytest.fixture
def refusal() -> Callable[[Path], str]:
    return _refusal
