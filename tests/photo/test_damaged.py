"""What is no picture, damaged, cut short or too large: one sentence, no partial picture."""

import os
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from clrface_core.photo import read_photo

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


@pytest.mark.parametrize("tail", [b"\0\0\0\1IEND", b"2222" * 6])
def test_a_png_whose_end_is_damaged_is_refused(tmp_path: Path, refusal: Callable[[Path], str], tail: bytes) -> None:
    path = tmp_path / "in.png"
    Image.new("L", (16, 16)).save(path)
    path.write_bytes(path.read_bytes()[:-12] + tail)
    assert "damaged or cut short" in refusal(path)


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


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 2}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("lost", [b"\xff\xd9", b"\xd9"])
def test_a_jpeg_that_lacks_only_its_end_marker_is_read(
    tmp_path: Path, smooth: Callable[..., Image.Image], options: dict, mode: str, lost: bytes
) -> None:
    path = tmp_path / "in.jpg"
    smooth().convert(mode).save(path, quality=90, **options)
    expected = read_photo(path).rgb
    path.write_bytes(path.read_bytes().removesuffix(lost))
    assert torch.equal(read_photo(path).rgb, expected)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_anything_more_is_refused(
    tmp_path: Path, progressive: bool, refusal: Callable[[Path], str]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / "in.jpg"
    Image.fromarray(noise).save(path, quality=90, progressive=progressive)
    data = path.read_bytes()
    scans = [at for at in range(2, len(data) - 1) if data[at : at + 2] == b"\xff\xda"]
    cuts = [len(data) - lost for lost in (10, 50, 400, 2000)] + scans[1:]  # at a scan's beginning nothing looks cut
    for cut in cuts:
        path.write_bytes(data[:cut])
        assert "cut short" in refusal(path)


def test_a_reader_that_raises_anything_is_the_files_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Callable[[Path], str]
) -> None:
    path = tmp_path / "in.png"
    Image.new("RGB", (4, 4)).save(path)

    def broken(*_: object) -> None:
        raise RuntimeError("Failed to decode image: Invalid ftyp")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", broken)
    assert "Invalid ftyp" in refusal(path)


def test_pipes_and_raw_files_are_refused(tmp_path: Path, refusal: Callable[[Path], str]) -> None:
    os.mkfifo(tmp_path / "in.png")
    assert "pipe" in refusal(tmp_path / "in.png")
    Image.new("RGB", (16, 16)).save(tmp_path / "raw.tif")
    (tmp_path / "raw.tif").rename(tmp_path / "raw.NEF")  # Pillow would read its preview
    assert "export" in refusal(tmp_path / "raw.NEF")


@pytest.mark.parametrize(
    ("data", "package"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "pillow-heif"),
        (b"\xff\x0a" + bytes(40), "pillow-jxl-plugin"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "pillow-jxl-plugin"),
    ],
)
def test_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Callable[[Path], str], data: bytes, package: str
) -> None:
    for name in ("pillow_heif", "pillow_jxl"):
        monkeypatch.setitem(sys.modules, name, None)
    for kind in ("HEIF", "JXL"):
        monkeypatch.delitem(Image.OPEN, kind, raising=False)
    (tmp_path / "in.png").write_bytes(data)  # by its content, whatever its name
    assert f"pip install {package}" in refusal(tmp_path / "in.png")


@pytest.mark.parametrize(("module", "ending"), [("pillow_heif", ".heic"), ("pillow_jxl", ".jxl")])
def test_heic_and_jpeg_xl_are_read_where_the_package_is(
    tmp_path: Path, smooth: Callable[..., Image.Image], module: str, ending: str
) -> None:
    plugin = pytest.importorskip(module)
    if module == "pillow_heif":
        plugin.register_heif_opener()
    exif = Image.Exif()
    exif[271] = "Kodak"
    smooth().save(tmp_path / f"in{ending}", quality=95, exif=exif.tobytes())
    photo = read_photo(tmp_path / f"in{ending}")
    assert np.abs(photo.rgb.permute(1, 2, 0).numpy() * 255 - np.asarray(smooth())).mean() < 3
    assert photo.metadata.exif is not None and b"Kodak" in photo.metadata.exif
