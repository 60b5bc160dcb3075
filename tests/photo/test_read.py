"""Reading: every kind of file, exact values, upright."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from clrface_core.photo import Photo, is_picture, read_photo, write_photo

RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(0, 256, (11, 14, 4), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".bmp", ".webp", ".ppm"])
def test_rgb_comes_back_exactly(
    tmp_path: Path,
    suffix: str,
    save: Callable[..., Path],
    stored: Callable[[Photo], np.ndarray],
    written: Callable[[Path, Photo], np.ndarray],
) -> None:
    path = save(
        tmp_path / f"in{suffix}", Image.fromarray(BYTES[..., :3]), **({"lossless": True} if suffix == ".webp" else {})
    )
    photo = read_photo(path)
    assert photo.rgb.dtype == torch.float32
    assert (photo.alpha, photo.bits, photo.grey) == (None, 8, False)
    np.testing.assert_array_equal(stored(photo), BYTES[..., :3])
    np.testing.assert_array_equal(written(tmp_path / "out.png", photo), BYTES[..., :3])


def test_jpeg(
    tmp_path: Path,
    smooth: Callable[..., Image.Image],
    save: Callable[..., Path],
    stored: Callable[[Photo], np.ndarray],
    written: Callable[[Path, Photo], np.ndarray],
) -> None:
    path = save(tmp_path / "in.jpg", smooth(), quality=95)
    photo = read_photo(path)
    np.testing.assert_array_equal(stored(photo), np.asarray(Image.open(path)))
    np.testing.assert_array_equal(written(tmp_path / "out.png", photo), stored(photo))


def test_grey_is_three_equal_channels_and_written_as_one(
    tmp_path: Path,
    save: Callable[..., Path],
    stored: Callable[[Photo], np.ndarray],
    written: Callable[[Path, Photo], np.ndarray],
) -> None:
    photo = read_photo(save(tmp_path / "in.png", Image.fromarray(BYTES[..., 0])))
    assert photo.grey
    np.testing.assert_array_equal(stored(photo), BYTES[..., :1].repeat(3, -1))
    np.testing.assert_array_equal(written(tmp_path / "out.png", photo), BYTES[..., :1])


def test_one_bit(tmp_path: Path, save: Callable[..., Path], stored: Callable[[Photo], np.ndarray]) -> None:
    bits = BYTES[..., 0] > 127
    photo = read_photo(save(tmp_path / "in.png", Image.fromarray(bits)))
    np.testing.assert_array_equal(stored(photo)[..., 0], bits * 255)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_comes_back_exactly(
    tmp_path: Path, mode: str, save: Callable[..., Path], stored: Callable[[Photo], np.ndarray]
) -> None:
    values = BYTES if mode == "RGBA" else BYTES[..., [0, 3]]
    values[:3, :3, -1] = 0  # colours hidden by alpha are kept too
    photo = read_photo(save(tmp_path / "in.png", Image.fromarray(values)))
    rgba = values if mode == "RGBA" else values[..., [0, 0, 0, 1]]
    np.testing.assert_array_equal(stored(photo), rgba)
    assert photo.grey == (mode == "LA")
    write_photo(tmp_path / "out.png", photo)
    with Image.open(tmp_path / "out.png") as image:
        assert image.mode == mode
        np.testing.assert_array_equal(np.asarray(image), values)


@pytest.mark.parametrize("transparency", [None, 5, bytes(range(256))])
def test_palette(
    tmp_path: Path,
    transparency: int | bytes | None,
    save: Callable[..., Path],
    stored: Callable[[Photo], np.ndarray],
    written: Callable[[Path, Photo], np.ndarray],
) -> None:
    image = Image.fromarray(BYTES[..., 0])
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette(RANDOM.integers(0, 256, 768, dtype=np.uint8).tobytes())
    options = {} if transparency is None else {"transparency": transparency}
    path = save(tmp_path / "in.png", image, **options)
    expected = np.asarray(Image.open(path).convert("RGB" if transparency is None else "RGBA"))
    photo = read_photo(path)
    np.testing.assert_array_equal(stored(photo), expected)
    np.testing.assert_array_equal(written(tmp_path / "out.png", photo), expected)


def test_transparent_colour(tmp_path: Path, save: Callable[..., Path]) -> None:
    values = BYTES[..., :3]
    photo = read_photo(save(tmp_path / "in.png", Image.fromarray(values), transparency=tuple(map(int, values[4, 5]))))
    assert photo.alpha is not None
    assert photo.alpha[4, 5] == 0
    assert photo.alpha.sum() == photo.alpha.numel() - 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
def test_exif_orientation_is_applied(
    tmp_path: Path,
    suffix: str,
    orientation: int,
    smooth: Callable[..., Image.Image],
    save: Callable[..., Path],
    stored: Callable[[Photo], np.ndarray],
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"in{suffix}", smooth(), exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(stored(read_photo(path)), expected)
    assert expected.shape[:2] == ((128, 96) if orientation > 4 else (96, 128))


def test_first_frame_of_an_animation(
    tmp_path: Path, save: Callable[..., Path], stored: Callable[[Photo], np.ndarray]
) -> None:
    frames = [Image.new("RGB", (20, 10), color) for color in ("red", "blue")]
    for name in ("in.gif", "in.webp", "in.png"):
        path = save(tmp_path / name, frames[0], save_all=True, append_images=frames[1:], lossless=True)
        assert (stored(read_photo(path))[..., :3] == (255, 0, 0)).mean() > 0.99


def test_one_pixel(tmp_path: Path, save: Callable[..., Path], written: Callable[[Path, Photo], np.ndarray]) -> None:
    photo = read_photo(save(tmp_path / "in.png", Image.new("RGB", (1, 1), (1, 2, 3))))
    assert written(tmp_path / "out.png", photo).tolist() == [[[1, 2, 3]]]


def test_is_picture_goes_by_name(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.JPEG", "c.Png", "notes.txt", ".hidden.png", "noext"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    assert sorted(path.name for path in tmp_path.iterdir() if is_picture(path)) == ["a.jpg", "b.JPEG", "c.Png"]
    assert not is_picture(tmp_path / "absent.png")
