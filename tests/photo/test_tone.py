"""Grey stays grey, one tint stays one tint, colours stay colours."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from clrface_core.photo import as_photo, keep_tone

SEPIA = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]])


@pytest.fixture
def scene() -> Image.Image:
    """Shapes, edges and grain in grey, of 240x200 px."""
    y, x = np.mgrid[:200, :240].astype(float)
    values = 128 + 60 * np.sin(x / 17) * np.cos(y / 23) + 50 * ((x // 40 + y // 40) % 2) - 25
    values += np.random.default_rng(0).normal(0, 4, values.shape)
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image, quality: int) -> Tensor:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return as_photo(Image.open(io.BytesIO(file.getvalue()))).rgb


def tinted(grey: Image.Image, matrix: np.ndarray = SEPIA) -> Image.Image:
    values = np.asarray(grey)[..., None].repeat(3, -1).astype(float) @ matrix.T
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def restored(original: Tensor) -> Tensor:
    """Another face with colours of its own in the middle; the rest untouched."""
    result = original.clone()
    result[0, 60:140, 60:140] = (result[0, 60:140, 60:140] * 0.8 + 0.15).clamp(0, 1)
    result[2, 60:140, 60:140] *= 0.7
    return result


@pytest.mark.parametrize("quality", [40, 75, 95])
def test_grey_stays_exactly_grey(scene: Image.Image, quality: int) -> None:
    original = jpeg(scene, quality)
    result = keep_tone(original, restored(original))
    assert torch.equal(result[0], result[1]) and torch.equal(result[1], result[2])
    assert torch.equal(result[:, :60], original[:, :60])
    assert (result[:, 60:140, 60:140] != original[:, 60:140, 60:140]).any()  # restored all the same


def test_grey_stored_as_colours_stays_grey_too(scene: Image.Image) -> None:
    original = as_photo(scene.convert("RGB")).rgb
    result = keep_tone(original, restored(original))
    assert torch.equal(result[0], result[2])


@pytest.mark.parametrize("quality", [60, 75, 95])
@pytest.mark.parametrize("tint", [SEPIA, SEPIA[::-1] * 0.8])
def test_one_tint_stays_that_tint(scene: Image.Image, quality: int, tint: np.ndarray) -> None:
    original = jpeg(tinted(scene, tint), quality)
    result = keep_tone(original, restored(original))
    inside = (slice(None), slice(60, 140), slice(60, 140))
    assert torch.equal(result[:, :60], original[:, :60])
    levels = np.arange(256.0)
    curve = (levels[:, None].repeat(3, 1) @ tint.T).clip(0, 255)
    luma = curve @ (0.299, 0.587, 0.114)

    def off(picture: Tensor) -> float:
        values = picture[inside].permute(1, 2, 0).reshape(-1, 3).numpy() * 255
        meant = np.stack([np.interp(values @ (0.299, 0.587, 0.114), luma, curve[:, c]) for c in range(3)], -1)
        return float(np.abs(values - meant).mean())

    assert off(result) < 1.5 < 8 < off(restored(original))


def test_colours_are_left_alone(scene: Image.Image) -> None:
    picture = np.asarray(scene.convert("RGB")).copy()
    picture[100:120, 100:120] = (90, 110, 160)  # one small blue thing in a grey photo
    for original in (as_photo(picture).rgb, torch.rand(3, 64, 64)):
        changed = (original * 0.9).flip(0)
        assert torch.equal(keep_tone(original, changed), changed)


def test_any_dtype_and_size(scene: Image.Image) -> None:
    original = as_photo(scene).rgb
    half = torch.rand(3, 30, 40).half()
    result = keep_tone(original, half)
    assert result.dtype == torch.float16 and result.shape == half.shape and torch.equal(result[0], result[1])
    assert keep_tone(torch.full((3, 1, 1), 0.5), torch.rand(3, 1, 1)).unique().numel() == 1
    broken = torch.full((3, 4, 4), torch.nan)
    assert keep_tone(original, broken) is broken


def test_a_flat_picture_of_one_colour_keeps_it(smooth: Callable[..., Image.Image]) -> None:
    original = torch.tensor([0.5, 0.4, 0.3])[:, None, None].expand(3, 40, 40)
    result = keep_tone(original, original + 0.1 * torch.rand(3, 40, 40))
    assert (result[0] - result[2] - 0.2).abs().max() < 0.01
    original = as_photo(smooth()).rgb
    changed = original.flip(2)
    assert torch.equal(keep_tone(original, changed), changed)
