"""What is no picture, damaged, cut short or too large: one sentence, no partial picture."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(0, 256, (11, 14, 4), dtype=np.uint8)
WORDS = RANDOM.integers(0, 65536, (11, 14, 4), dtype=np.uint16)


@pytest.mark.parametrize("cut", [0.02, 0.3, 0.6, 0.9])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("in.jpg", {}),
        ("in.jpg", {"progressive": True}),
        ("in.png", {}),
        ("in.webp", {}),
        ("in.webp", {"lossless": True}),
        ("in.bmp", {}),
        ("in.ppm", {}),
        ("in.gif", {}),
        ("in.tif", {}),
        ("in.tif", {"compression": "tiff_lzw"}),
    ],
)
@pytest.mark.parametrize("tolerant", [False, True])
def test_a_file_cut_short_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    options: dict,
    cut: float,
    tolerant: bool,
    save: Callable[..., Path],
    refusal: Callable[[Path], str],
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", tolerant)
    noisy = Image.fromarray(RANDOM.integers(0, 256, (40, 50, 3), dtype=np.uint8))
    path = save(tmp_path / name, noisy, **options)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * cut)])
    refusal(path)
    assert tolerant == ImageFile.LOAD_TRUNCATED_IMAGES


def test_a_png_with_flipped_bits_is_refused(
    tmp_path: Path, save: Callable[..., Path], refusal: Callable[[Path], str]
) -> None:
    data = bytearray(save(tmp_path / "in.png", Image.fromarray(BYTES)).read_bytes())
    data[len(data) // 2] ^= 0x55
    (tmp_path / "in.png").write_bytes(data)
    assert "damaged" in refusal(tmp_path / "in.png")


def test_what_is_no_picture_is_refused(tmp_path: Path, refusal: Callable[[Path], str]) -> None:
    assert "found nothing" in refusal(tmp_path / "absent.png")
    assert "folder" in refusal(tmp_path)
    (tmp_path / "empty.png").write_bytes(b"")
    assert "0 bytes" in refusal(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("not a picture " * 100)
    assert "another kind" in refusal(tmp_path / "text.png")


@pytest.mark.parametrize("side", [14_000, 60_000])
def test_giant_pictures_are_refused_before_decoding(
    tmp_path: Path,
    side: int,
    recwarn: pytest.WarningsRecorder,
    save_words: Callable[..., Path],
    refusal: Callable[[Path], str],
) -> None:
    path = save_words(tmp_path / "in.png", WORDS[..., :3])
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", side, side)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    assert "megapixels" in refusal(path)
    assert not recwarn.list
