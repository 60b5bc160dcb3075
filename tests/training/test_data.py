"""Samples are functions of seed and step, and what is degraded, resized or augmented stays what it is."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clrface_core.degrade import STANDARD, draw
from clrface_core.errors import CLRFaceError
from clrface_core.training.data import Augmentation, FaceShards, Pairs, augment, occlude, resize, vignette

STILL = Augmentation(
    flip=0, scale=0, rotate=0, shift=0, colour=0, gamma=0, saturation=0, monochrome=0, vignette=0, occlusion=0
)


def test_samples_depend_on_seed_and_step_only(shard: Path) -> None:
    def pairs(seed: int) -> Pairs:
        return Pairs(FaceShards([shard]), {"b": 1, "a1": 1}, 2, seed, Augmentation(), side=256, size=512)

    again, first = pairs(1), pairs(1)[7]
    _ = again[3]  # having seen other steps changes nothing
    assert all(torch.equal(first[key], again[7][key]) for key in ("clean", "degraded"))
    assert not torch.equal(first["clean"], pairs(2)[7]["clean"])
    assert not torch.equal(first["clean"], again[8]["clean"])
    assert first["clean"].shape == first["degraded"].shape == (2, 3, 256, 256)


def test_a_256_px_original_is_no_512_px_target(shard: Path) -> None:
    pairs = Pairs(FaceShards([shard]), {"a1": 1}, 1, 0, Augmentation(), side=512, size=512)
    with pytest.raises(CLRFaceError, match="leave that set out"):
        pairs[0]


def test_degrading_a_reduced_face_is_reducing_a_degraded_one(smooth_picture: Callable[..., torch.Tensor]) -> None:
    """So that a small training size sees the standard degradation; only detail finer than its pixels differs."""
    face = smooth_picture(512, 512)
    for seed in range(8):
        degradation = replace(draw(STANDARD, seed), noise=0.0, quality=100)
        long_way = resize(degradation.apply(face), 256)
        short_way = degradation.scaled(0.5).apply(resize(face, 256))
        assert (long_way - short_way).abs().mean() < 1 / 255
        assert (long_way - short_way).mean().abs() < 0.1 / 255


def test_no_augmentation_changes_nothing(smooth_picture: Callable[..., torch.Tensor]) -> None:
    face = smooth_picture(64, 64)
    assert torch.allclose(augment(face, np.random.default_rng(0), STILL), face, atol=1e-5)
    moved = augment(face, np.random.default_rng(0), Augmentation())
    assert moved.shape == face.shape and moved.min() >= 0 and moved.max() <= 1
    assert (moved - face).abs().mean() > 0.01


def test_monochrome_faces_are_grey_or_of_one_tint(smooth_picture: Callable[..., torch.Tensor]) -> None:
    face = 0.8 * smooth_picture(64, 64) + 0.1
    greys = 0
    for seed in range(20):
        old = augment(face, np.random.default_rng(seed), replace(STILL, monochrome=1, colour=0.1))
        tint = old / face.mean(0, keepdim=True)
        assert torch.allclose(tint, tint[:, :1, :1].expand_as(tint), atol=1e-4), "one gain per channel, everywhere"
        greys += bool(torch.allclose(old, old[:1].expand_as(old)))
    assert 4 <= greys <= 16, "half of them"


def test_a_vignette_darkens_outwards() -> None:
    white = torch.ones(3, 64, 64)
    for seed in range(20):
        lit = vignette(white, np.random.default_rng(seed))
        assert 0.99 < float(lit.max()) <= 1 and float(lit.min()) > 0
        assert lit.argmin() in (0, 63, 63 * 64, 64 * 64 - 1), "darkest in a corner"
        assert float(lit[:, 16:48, 16:48].mean()) > float(lit.mean())


def test_an_occlusion_hides_a_part_and_leaves_the_rest(smooth_picture: Callable[..., torch.Tensor]) -> None:
    face = smooth_picture(128, 128)
    shares = []
    for seed in range(40):
        hidden = occlude(face, np.random.default_rng(seed))
        assert hidden.shape == face.shape and float(hidden.min()) >= 0 and float(hidden.max()) <= 1
        shares.append(float((hidden != face).any(0).float().mean()))
    assert max(shares) < 0.16 and 0.01 < np.mean(shares) < 0.08, "ellipses of axes 0.1 to 0.4: up to an eighth"


def test_resize_by_area_is_the_mean() -> None:
    face = torch.rand(3, 8, 8)
    assert torch.allclose(resize(face, 4)[:, 0, 0], face[:, :2, :2].mean((1, 2)))
