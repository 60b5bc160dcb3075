import io
import json
import math
import random

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from clrface_core.degrade import (
    MILD,
    PRESETS,
    STANDARD,
    Degradation,
    DegradeConfig,
    _blur_and_resize,
    _resize,
    degrade,
    draw,
    gaussian_kernel,
    to_grey,
)
from clrface_core.errors import CLRFaceError

GENTLE = Degradation(sigma=(0.1, 0.1), angle=0.0, reduction=1.0, noise=0.0, quality=100, grey=False, noise_seed=0)


def with_changes(**changes):
    return Degradation(**{**GENTLE.__dict__, **changes})


def test_same_seed_same_bytes_whatever_the_global_state(smooth_picture):
    picture = smooth_picture(96, 96)
    torch.manual_seed(1)
    first = degrade(picture, seed=(7, 3))
    torch.manual_seed(2)
    np.random.seed(5)
    random.seed(5)
    before = torch.get_rng_state()
    second = degrade(picture, seed=(7, 3))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before), "degrading must not touch the global generator"
    assert not torch.equal(first, degrade(picture, seed=(7, 4)))
    assert not torch.equal(first, degrade(picture, seed=7))


@pytest.mark.parametrize("seed", [1, 3, 13, 25])  # among them reductions below 2, and both kinds of kernel
def test_the_number_of_threads_changes_nothing(smooth_picture, seed):
    picture = smooth_picture(512, 512)
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(degrade(picture, seed=seed))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (5, 200), (20, 21), (333, 64)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_any_size_keeps_its_shape_and_range(smooth_picture, size, seed):
    degraded = degrade(smooth_picture(*size), seed=seed)
    assert degraded.shape == (3, *size)
    assert degraded.dtype == torch.float32
    assert degraded.min() >= 0 and degraded.max() <= 1


def test_the_gentlest_degradation_is_nearly_nothing(smooth_picture):
    picture = smooth_picture(128, 96)
    assert (GENTLE.apply(picture) - picture).abs().mean() < 2 / 255


def test_each_stage_takes_its_toll(smooth_picture):
    picture = smooth_picture(128, 128)
    gentle = (GENTLE.apply(picture) - picture).square().mean()
    for change in ({"sigma": (4.0, 4.0)}, {"reduction": 12.0}, {"noise": 20.0}, {"quality": 10}):
        assert (with_changes(**change).apply(picture) - picture).square().mean() > 3 * gentle, change


def test_noise_has_the_stated_deviation_in_each_colour():
    flat = torch.full((3, 256, 256), 0.5)
    change = with_changes(noise=10.0).apply(flat) - flat
    # JPEG at quality 100 keeps the luma of the noise; its chroma is halved in resolution by 4:2:0.
    luma = (change * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0)
    expected = 10 / 255 * math.sqrt(0.299**2 + 0.587**2 + 0.114**2)
    assert luma.std().item() == pytest.approx(expected, rel=0.05)
    assert change[0].sub(change[2]).std() > 0.005, "the noise is coloured"


def test_jpeg_is_the_last_word_at_low_resolution(smooth_picture):
    picture = smooth_picture(64, 64)
    stream = io.BytesIO()
    pixels = (with_changes(sigma=(0.01, 0.01)).apply(picture) * 255).round().byte()
    assert pixels.float().div(255).sub(GENTLE.apply(picture)).abs().max() < 1e-6, "8-bit values at r = 1"
    Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).numpy()).save(stream, "JPEG", quality=100)
    expected = np.array(Image.open(stream)).transpose(2, 0, 1)
    assert np.array_equal(pixels.numpy(), expected)


def test_kernel_has_the_stated_moments():
    kernel = gaussian_kernel((4.0, 1.5), math.pi / 6)
    offset = np.arange(41) - 20
    along = offset[None] * math.cos(math.pi / 6) + offset[:, None] * math.sin(math.pi / 6)
    across = offset[:, None] * math.cos(math.pi / 6) - offset[None] * math.sin(math.pi / 6)
    assert kernel.shape == (41, 41)
    assert kernel.sum() == pytest.approx(1)
    assert (kernel * along**2).sum() == pytest.approx(16, rel=1e-3)
    assert (kernel * across**2).sum() == pytest.approx(2.25, rel=1e-3)


@pytest.mark.parametrize("sigma", [(3.0, 3.0), (9.0, 2.0)])
@pytest.mark.parametrize("size", [(6, 5), (70, 40)])
def test_blur_and_resize_agree_with_direct_convolution(smooth_picture, sigma, size):
    picture = smooth_picture(60, 45)
    exact = gaussian_kernel(sigma, 0.7)
    kernel = torch.from_numpy(exact).float()
    padded = functional.pad(picture[:, None], (20, 20, 20, 20), mode="reflect")
    blurred = functional.conv2d(padded, kernel[None, None]).transpose(0, 1)
    expected = functional.interpolate(blurred, size, mode="bilinear", align_corners=False)[0]
    assert (_blur_and_resize(picture, exact, sigma[0] == sigma[1], size) - expected).abs().max() < 2e-6


@pytest.mark.parametrize("size", [(9, 5), (64, 64), (500, 90), (1, 1)])
def test_resize_agrees_with_torch(smooth_picture, size):
    picture = smooth_picture(64, 80)
    expected = functional.interpolate(picture[None], size, mode="bilinear", align_corners=False)[0]
    assert (_resize(picture, size) - expected).abs().max() < 2e-6


def test_draws_fill_the_ranges_and_no_more():
    drawn = [draw(MILD, seed) for seed in range(800)]
    for name, (low, high) in (
        ("reduction", MILD.reduction),
        ("noise", MILD.noise),
        ("quality", MILD.quality),
    ):
        values = [getattr(d, name) for d in drawn]
        assert low <= min(values) < low + 0.02 * (high - low)
        assert high >= max(values) > high - 0.02 * (high - low)
        assert np.mean(values) == pytest.approx((low + high) / 2, abs=0.05 * (high - low))
    assert {d.quality for d in drawn} == set(range(60, 101)), "both ends of the quality are drawn"
    isotropic = np.mean([d.sigma[0] == d.sigma[1] for d in drawn])
    assert isotropic == pytest.approx(0.5, abs=0.06)
    assert all(-math.pi <= d.angle <= math.pi for d in drawn)
    assert np.mean([draw(STANDARD, (seed, 1)).grey for seed in range(4000)]) == pytest.approx(0.01, abs=0.005)


def test_a_grey_degradation_is_grey_and_asks_for_a_grey_target(smooth_picture):
    picture = smooth_picture(64, 64)
    grey = draw(DegradeConfig(grey=1.0), 5)
    assert grey.grey
    result = grey.apply(picture)
    assert torch.equal(result[0], result[1]) and torch.equal(result[1], result[2])
    assert torch.equal(grey.target(picture), to_grey(picture))
    assert to_grey(torch.tensor([1.0, 0, 0]).view(3, 1, 1)).flatten().tolist() == pytest.approx([0.299] * 3)
    coloured = draw(DegradeConfig(grey=0.0), 5)
    assert torch.equal(coloured.target(picture), picture)
    assert (coloured.sigma, coloured.noise_seed) == (grey.sigma, grey.noise_seed)


def test_configs_survive_json():
    for config in PRESETS.values():
        assert DegradeConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert DegradeConfig.from_dict({"noise": [1, 2]}) == DegradeConfig(noise=(1, 2))
    assert STANDARD.to_dict()["reduction"] == [0.8, 32.0]
    assert MILD.to_dict()["quality"] == [60, 100]


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"sigma": [3, 1]}, "sigma"),
        ({"sigma": [0, 1]}, "sigma"),
        ({"reduction": 4}, "reduction"),
        ({"noise": [-1, 3]}, "noise"),
        ({"noise": [0, float("nan")]}, "noise"),
        ({"quality": [30, 101]}, "quality"),
        ({"quality": [30.5, 60]}, "quality"),
        ({"quality": ["a", "b"]}, "quality"),
        ({"grey": 1.5}, "grey"),
        ({"anisotropic": True}, "anisotropic"),
        ({"blur": [1, 2]}, "blur"),
    ],
)
def test_bad_ranges_are_named(values, word):
    with pytest.raises(CLRFaceError, match=f"Expected .*{word}"):
        DegradeConfig.from_dict(values)


@pytest.mark.parametrize("seed", [-1, (1, -2), 1.5, "x"])
def test_bad_seeds_are_refused(seed):
    with pytest.raises(CLRFaceError, match="non-negative integers"):
        draw(STANDARD, seed)


@pytest.mark.parametrize(
    "picture",
    [torch.rand(1, 8, 8), torch.rand(1, 3, 8, 8), torch.zeros(3, 0, 4), torch.zeros(3, 4, 4).byte()],
)
def test_bad_pictures_are_refused(picture):
    with pytest.raises(CLRFaceError, match=r"Expected an RGB picture as a float tensor"):
        degrade(picture, seed=0)
