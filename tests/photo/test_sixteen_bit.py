"""16 bits per channel: read and written exactly."""

import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from clrface_core.errors import CLRFaceError
from clrface_core.photo import Photo, read_photo

RANDOM = np.random.default_rng(0)
WORDS = RANDOM.integers(0, 65536, (11, 14, 4), dtype=np.uint16)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_comes_back_exactly(
    tmp_path: Path,
    channels: int,
    save_words: Callable[..., Path],
    stored: Callable[[Photo], np.ndarray],
    written: Callable[[Path, Photo], np.ndarray],
) -> None:
    values = WORDS[..., :channels]
    photo = read_photo(save_words(tmp_path / "in.png", values))
    assert photo.bits == 16
    expected = {1: WORDS[..., [0, 0, 0]], 2: WORDS[..., [0, 0, 0, 1]]}.get(channels, values)
    np.testing.assert_array_equal(stored(photo), expected)
    back = written(tmp_path / "out.png", photo)
    assert back.dtype == np.uint16
    np.testing.assert_array_equal(back, values if channels == 1 else expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_transparent_colour(
    tmp_path: Path, channels: int, save_words: Callable[..., Path], written: Callable[[Path, Photo], np.ndarray]
) -> None:
    values = WORDS[..., :channels]
    photo = read_photo(save_words(tmp_path / "in.png", values, tRNS=values[4, 5].astype(">u2").tobytes()))
    assert photo.alpha is not None
    assert photo.alpha[4, 5] == 0
    assert photo.alpha.sum() == photo.alpha.numel() - 1
    assert written(tmp_path / "out.png", photo).shape == (11, 14, 4)


def test_every_16_bit_value_survives(
    tmp_path: Path, save_words: Callable[..., Path], written: Callable[[Path, Photo], np.ndarray]
) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    photo = read_photo(save_words(tmp_path / "in.png", values))
    np.testing.assert_array_equal(written(tmp_path / "out.png", photo), values)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("compression", [1, 5, 8])
def test_16_bit_tiff(tmp_path: Path, channels: int, compression: int, stored: Callable[[Photo], np.ndarray]) -> None:
    order = [2, 1, 0, 3][:channels]
    options = [cv2.IMWRITE_TIFF_COMPRESSION, compression]
    done, data = cv2.imencode(".tiff", np.ascontiguousarray(WORDS[..., order]), options)
    assert done
    (tmp_path / "in.tif").write_bytes(data.tobytes())
    photo = read_photo(tmp_path / "in.tif")
    assert photo.bits == 16
    np.testing.assert_array_equal(stored(photo), WORDS[..., :channels])


def test_16_bit_grey_tiff(tmp_path: Path, save: Callable[..., Path], stored: Callable[[Photo], np.ndarray]) -> None:
    photo = read_photo(save(tmp_path / "in.tif", Image.fromarray(WORDS[..., 0])))
    assert (photo.bits, photo.grey) == (16, True)
    np.testing.assert_array_equal(stored(photo)[..., 0], WORDS[..., 0])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_of_16_bit_png(
    tmp_path: Path, orientation: int, save_words: Callable[..., Path], stored: Callable[[Photo], np.ndarray]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save_words(tmp_path / "in.png", WORDS[..., :3], eXIf=exif.tobytes().removeprefix(b"Exif\0\0"))
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(stored(read_photo(path)) >> 8, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_16_bit_tiff(tmp_path: Path, orientation: int, stored: Callable[[Photo], np.ndarray]) -> None:
    pixels = WORDS[..., :3].astype("<u2").tobytes()
    height, width = WORDS.shape[:2]
    # Tag, type (3: 16 bits, 4: 32 bits), count, value or place of the values.
    entries = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, 8), (259, 3, 1, 1), (262, 3, 1, 2)]
    entries += [
        (273, 4, 1, 14),
        (274, 3, 1, orientation),
        (277, 3, 1, 3),
        (278, 3, 1, height),
        (279, 4, 1, len(pixels)),
    ]
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    header = b"II*\0" + struct.pack("<I", 14 + len(pixels)) + struct.pack("<3H", 16, 16, 16)
    path = tmp_path / "in.tif"
    path.write_bytes(header + pixels + struct.pack("<H", len(entries)) + table + bytes(4))
    with Image.open(path) as image:
        image.load()
        expected = np.asarray(ImageOps.exif_transpose(image))
    photo = read_photo(path)
    assert photo.bits == 16
    np.testing.assert_array_equal(stored(photo) >> 8, expected)


def test_a_16_bit_png_cut_short_is_refused(
    tmp_path: Path, save_words: Callable[..., Path], refusal: Callable[[Path], str]
) -> None:
    path = save_words(tmp_path / "in.png", WORDS)
    path.write_bytes(path.read_bytes()[:-300])
    assert "cut short" in refusal(path)


def test_16_bits_without_opencv_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save_words: Callable[..., Path]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(CLRFaceError, match="opencv-python"):
        read_photo(save_words(tmp_path / "in.png", WORDS[..., :3]))
