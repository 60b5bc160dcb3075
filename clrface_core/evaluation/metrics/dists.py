"""DISTS (Ding et al., arXiv 2004.07728): distance of structure and texture, lenient to where texture lies exactly."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import CLRFaceError
from ...models.perceptual import LPIPS
from ..weights import read_tensors

SIDE = 256
"""Larger pictures are reduced to this side first, as the authors' script offers: four times quicker here."""
WIDTHS = (3, 64, 128, 256, 512, 512)
STABILISER = 1e-6


class DISTS:
    """VGG-16 whose maxima are replaced by blurred L2 pooling; the picture itself counts as the first feature.

    The convolutions are those of LPIPS-VGG, so no file holds them twice.
    """

    def __init__(self, path: Path, vgg: LPIPS) -> None:
        """`path`: dists.safetensors; `vgg`: LPIPS with net "vgg". CLRFaceError where the file does not fit."""
        stored = read_tensors(path)
        shapes = {key: tuple(value.shape) for key, value in stored.items()}
        if shapes != {"alpha": (sum(WIDTHS),), "beta": (sum(WIDTHS),)}:
            raise CLRFaceError(f"Expected DISTS' alpha and beta of {sum(WIDTHS)} numbers in {path}, got {shapes}.")
        device = vgg.shift.device
        total = stored["alpha"].sum() + stored["beta"].sum()
        self._texture = (stored["alpha"] / total).to(device).split(WIDTHS)
        self._structure = (stored["beta"] / total).to(device).split(WIDTHS)
        self._vgg = vgg

    @torch.no_grad()
    def describe(self, picture: Tensor) -> list[Tensor]:
        """Feature maps (1,C,h,w) of (1,3,S,S) in [0,1] at SIDE or less, at all sizes from full to a sixteenth."""
        if picture.shape[-1] > SIDE:
            picture = functional.interpolate(picture, (SIDE, SIDE), mode="area")
        vgg = self._vgg
        h = (picture * 2 - 1 - vgg.shift) / vgg.scale  # the mean and deviation of ImageNet
        found = [picture]
        for index, layer in enumerate(vgg.features[: vgg.taps[-1] + 1]):
            h = _pool(h) if isinstance(layer, nn.MaxPool2d) else layer(h)
            if index in vgg.taps:
                found.append(h)
        return found

    def distance(self, a: list[Tensor], b: list[Tensor]) -> float:
        """DISTS of two descriptions: 0 for the same, about 1 for nothing in common (equations 4 to 6)."""
        similarity = 0.0
        for x, y, texture, structure in zip(a, b, self._texture, self._structure, strict=True):
            x, y = x[0].flatten(1), y[0].flatten(1)
            mean_x, mean_y = x.mean(1), y.mean(1)
            covariance = ((x - mean_x[:, None]) * (y - mean_y[:, None])).mean(1)
            spread = x.var(1, correction=0) + y.var(1, correction=0)
            same_texture = (2 * mean_x * mean_y + STABILISER) / (mean_x**2 + mean_y**2 + STABILISER)
            same_structure = (2 * covariance + STABILISER) / (spread + STABILISER)
            similarity += float((texture * same_texture).sum() + (structure * same_structure).sum())
        return 1 - similarity


def _pool(x: Tensor) -> Tensor:
    """Halve by the root of a Hann-weighted 3x3 mean of squares."""
    tap = x.new_tensor([0.25, 0.5, 0.25])
    kernel = (tap[:, None] * tap).expand(x.shape[1], 1, 3, 3)
    squares = functional.conv2d(x.square(), kernel, stride=2, padding=1, groups=x.shape[1])
    return (squares + 1e-12).sqrt()
