"""Colour labels: profiles and other labels travel or are applied."""

import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageCms

from clrface_core.photo import Photo, read_photo, write_photo

RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(0, 256, (11, 14, 4), dtype=np.uint8)


def cmyk_profile() -> bytes:
    """A CMYK profile after ICC.1 in which ink k alone counts: it takes lightness from 100 to 0."""
    ramp = bytes(range(256))
    colours = b"".join(bytes([0 if corner & 1 else 255, 128, 128]) for corner in range(16))
    matrix = b"".join(struct.pack(">i", 65536 * (i in (0, 4, 8))) for i in range(9))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + ramp * 4 + colours + ramp * 3
    words = [b"text\0\0\0\0none\0\0\0\0", b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061), table]
    head = struct.pack(">I4sI4s4s4s", 0, b"lcms", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    head = (head + b"\0" * 12 + b"acsp").ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    offset, index, body = 128 + 4 + 3 * 12, struct.pack(">I", 3), b""
    for name, word in zip((b"cprt", b"wtpt", b"A2B0"), words, strict=True):
        index += struct.pack(">4sII", name, offset + len(body), len(word))
        body += word.ljust(-(-len(word) // 4) * 4, b"\0")
    profile = head.ljust(128, b"\0") + index + body
    return struct.pack(">I", len(profile)) + profile[4:]


def test_cmyk_without_profile(
    tmp_path: Path, smooth: Callable[..., Image.Image], save: Callable[..., Path], stored: Callable[[Photo], np.ndarray]
) -> None:
    path = save(tmp_path / "in.jpg", smooth().convert("CMYK"), quality=98)
    photo = read_photo(path)
    assert np.abs(stored(photo) - np.asarray(smooth())).mean() < 3
    assert photo.icc is None


def test_adobe_cmyk_is_not_inverted(
    tmp_path: Path, smooth: Callable[..., Image.Image], save: Callable[..., Path], stored: Callable[[Photo], np.ndarray]
) -> None:
    path = save(tmp_path / "in.jpg", smooth().convert("CMYK"), quality=98)
    assert b"Adobe" in path.read_bytes()  # the mark of inverted values
    other = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert other is not None
    assert np.abs(stored(read_photo(path)) - other[..., ::-1].astype(int)).mean() < 3


def test_cmyk_goes_through_its_profile(
    tmp_path: Path, save: Callable[..., Path], stored: Callable[[Photo], np.ndarray]
) -> None:
    image = Image.merge("CMYK", [Image.new("L", (16, 16), ink) for ink in (255, 0, 255, 0)])
    photo = read_photo(save(tmp_path / "in.jpg", image, quality=98, icc_profile=cmyk_profile()))
    assert stored(photo).min() > 250  # green without the profile, white with it
    assert photo.icc is None


def test_broken_cmyk_profile_is_ignored(
    tmp_path: Path, smooth: Callable[..., Image.Image], save: Callable[..., Path], stored: Callable[[Photo], np.ndarray]
) -> None:
    path = save(tmp_path / "in.jpg", smooth().convert("CMYK"), quality=98, icc_profile=b"no profile")
    assert np.abs(stored(read_photo(path)) - np.asarray(smooth())).mean() < 3


def test_colour_profile_is_kept(tmp_path: Path, save: Callable[..., Path]) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo = read_photo(save(tmp_path / "in.png", Image.fromarray(BYTES[..., :3]), icc_profile=icc))
    for bits in (8, 16):
        write_photo(tmp_path / "out.png", Photo(photo.rgb, photo.alpha, bits, icc=photo.icc))
        with Image.open(tmp_path / "out.png") as image:
            image.load()
            assert image.info["icc_profile"] == icc
