"""One door: path, PIL image, array and tensor give the same picture, and what is none is refused in a sentence."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, features

from clrface_core.errors import CLRFaceError
from clrface_core.photo import Photo, as_photo, color, read_photo

PROFILES = {
    "RGB": color._profile(color.PRIMARIES[12], color._parametric((2.2,)), False),
    "L": color._profile(color.PRIMARIES[12], color._parametric((1.8,)), True),
}


def same(one: Photo, other: Photo) -> None:
    assert torch.equal(one.rgb, other.rgb)
    assert (one.alpha is None) == (other.alpha is None) and (one.alpha is None or torch.equal(one.alpha, other.alpha))  # type: ignore[arg-type]
    for name in ("bits", "grey", "icc", "coding", "metadata"):
        assert getattr(one, name) == getattr(other, name), name


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "RGBA", "P", "1", "CMYK", "I;16"])
@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif", ".webp", *([".avif"] if features.check("avif") else [])])
def test_a_pil_image_is_as_its_file(tmp_path: Path, smooth: Callable[..., Image.Image], mode: str, ending: str) -> None:
    image = smooth().convert("L").convert("I;16") if mode == "I;16" else smooth().convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / f"in{ending}"
    try:
        image.save(path, icc_profile=PROFILES.get(mode), exif=exif, dpi=(200, 200))
    except (OSError, ValueError):
        pytest.skip(f"Pillow writes no {mode} as {ending}")
    expected = read_photo(path)
    same(as_photo(Image.open(path)), expected)
    same(as_photo(Image.open(io.BytesIO(path.read_bytes()))), expected)
    same(as_photo(str(path)), expected)
    loaded = Image.open(path)
    loaded.load()
    same(as_photo(loaded), expected)
    assert (expected.icc is not None) == (mode in PROFILES)


def test_a_pil_image_of_16_bit_colours_has_them(tmp_path: Path, save_words: Callable[..., Path]) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (11, 14, 3), dtype=np.uint16)
    path = save_words(tmp_path / "in.png", values, cICP=bytes([12, 13, 0, 1]))
    same(as_photo(Image.open(path)), read_photo(path))
    changed = Image.open(path)
    changed.paste((0, 0, 0), (0, 0, 4, 4))
    photo = as_photo(changed)
    assert photo.bits == 8 and not photo.rgb[:, :4, :4].any()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 255]], np.int32), [0, 1]),
        (np.array([[0, 257, 65535]], np.int32), [0, 257 / 65535, 1]),
        (np.array([[0, 0.25, 1]], np.float32), [0, 0.25, 1]),
        (np.array([[0, 51, 255]], np.float32), [0, 0.2, 1]),
        (np.array([[0, 65535]], np.float32), [0, 1]),
    ],
)
def test_modes_i_and_f_by_their_range(values: np.ndarray, expected: list[float]) -> None:
    photo = as_photo(Image.fromarray(values))
    assert photo.rgb[1, 0].tolist() == pytest.approx(expected) and photo.grey and photo.bits == 16


@pytest.mark.parametrize(
    "values",
    [
        np.array([[0, 70_000]], np.int32),
        np.array([[-5, 100]], np.int32),
        np.array([[0, 3.5]], np.float32),
        np.array([[0, np.nan]], np.float32),
        np.array([[0, np.inf]], np.float32),
    ],
)
def test_modes_i_and_f_of_another_range_are_refused(values: np.ndarray) -> None:
    with pytest.raises(CLRFaceError, match=r"^Expected .*: .*\.$"):
        as_photo(Image.fromarray(values))


def test_arrays_and_tensors_are_as_the_file(tmp_path: Path, smooth: Callable[..., Image.Image]) -> None:
    for mode in ("RGB", "RGBA", "L"):
        image = smooth().convert(mode)
        image.save(tmp_path / "in.png")
        expected = read_photo(tmp_path / "in.png")
        array = np.asarray(image)
        planes = torch.from_numpy(array.copy()).float().div(255)
        tensor = planes[None] if mode == "L" else planes.permute(2, 0, 1)
        for photo in (as_photo(array), as_photo(tensor)):
            torch.testing.assert_close(photo.rgb, expected.rgb, atol=1e-6, rtol=0)
            assert photo.grey == expected.grey and (photo.alpha is None) == (expected.alpha is None)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 255.0, -3.0])
def test_a_useless_alpha_is_refused(value: float) -> None:
    for picture in (Photo(torch.zeros(3, 4, 4), torch.full((4, 4), value)), np.full((4, 4, 4), value)):
        with pytest.raises(CLRFaceError, match=r"^Expected "):
            as_photo(picture)


@pytest.mark.parametrize("path", ["a\0b.png", "x" * 5000, "", "folder/" * 900])
def test_impossible_paths_are_one_sentence(path: Any) -> None:
    with pytest.raises(CLRFaceError, match=r"^Expected ") as caught:
        as_photo(path)
    assert len(str(caught.value)) < 700
