"""NIQE (Mittal et al., "Making a completely blind image quality analyzer", 2013): how natural a picture's
statistics are, without a reference. 0 is as natural as the pristine photographs of its authors; higher is worse.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from ...errors import CLRFaceError
from ..weights import read_tensors

BLOCK = 96
"""Side of the square patches in pixels, half of it at the second scale."""
WINDOW, WINDOW_SIGMA = 7, 7 / 6
LUMA, LUMA_OFFSET = (65.481, 128.553, 24.966), 16.0  # ITU-R BT.601 as MATLAB's rgb2ycbcr has it, 16..235

# Equation 7 is solved for alpha by looking it up: r(alpha) rises strictly.
_ALPHA = torch.arange(200, 10001, dtype=torch.float64) / 1000
_LOG_GAMMA = [torch.lgamma(k / _ALPHA) for k in (1, 2, 3)]
_RATIO = torch.exp(2 * _LOG_GAMMA[1] - _LOG_GAMMA[0] - _LOG_GAMMA[2])


class NIQE:
    """Pictures to numbers, by the mean (36,) and covariance (36,36) of pristine patches."""

    def __init__(self, path: Path) -> None:
        """`path`: niqe.safetensors; CLRFaceError where it does not fit."""
        stored = read_tensors(path)
        shapes = {key: tuple(value.shape) for key, value in stored.items()}
        if shapes != {"mean": (36,), "covariance": (36, 36)}:
            raise CLRFaceError(f"Expected NIQE's mean (36,) and covariance (36,36) in {path}, got {shapes}.")
        self._mean, self._covariance = stored["mean"].double(), stored["covariance"].double()

    def __call__(self, picture: Tensor) -> float:
        """NIQE of (1,3,H,W) RGB in [0,1]. CLRFaceError for fewer than four patches, or ones without any texture."""
        features = patch_features(luma(picture)[0])
        whole = features[~features.isnan().any(1)]
        if len(whole) < 2:
            raise CLRFaceError(
                f"Expected at least two patches of {BLOCK} px with texture for NIQE, "
                f"got {len(whole)}: the picture is flat."
            )
        difference = self._mean - features.nanmean(0)
        pooled = (self._covariance + torch.cov(whole.T)) / 2
        return math.sqrt(max(float(difference @ torch.linalg.pinv(pooled) @ difference), 0.0))


def luma(picture: Tensor) -> Tensor:
    """(1,3,H,W) in [0,1] to (1,H,W), whole numbers in 16..235, as float64."""
    weights = torch.tensor(LUMA, dtype=torch.float64)[:, None, None]
    return ((picture.detach().cpu().double() * weights).sum(1) + LUMA_OFFSET).round()


def patch_features(grey: Tensor) -> Tensor:
    """(H,W) of 0..255 to (patches, 36): 18 of each patch, and 18 of the same patch at half the size."""
    rows, columns = grey.shape[0] // BLOCK, grey.shape[1] // BLOCK
    if rows * columns < 4:
        raise CLRFaceError(
            f"Expected a picture of at least {2 * BLOCK}x{2 * BLOCK} px for NIQE, got {grey.shape[1]}x{grey.shape[0]}."
        )
    grey = grey[: rows * BLOCK, : columns * BLOCK]
    half = _halving(grey.shape[0]) @ grey @ _halving(grey.shape[1]).T
    return torch.cat(
        [_features(_patches(_normalised(grey), BLOCK)), _features(_patches(_normalised(half), BLOCK // 2))], 1
    )


def _normalised(grey: Tensor) -> Tensor:
    """Equation 1: less the local mean, over the local deviation plus 1."""
    offset = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    weights = torch.exp(-0.5 * (offset / WINDOW_SIGMA) ** 2)
    weights = weights / weights.sum()

    def smooth(x: Tensor) -> Tensor:
        margin = WINDOW // 2
        x = functional.pad(x[None, None], [margin] * 4, mode="replicate")
        return functional.conv2d(functional.conv2d(x, weights[None, None, None]), weights[None, None, :, None])[0, 0]

    mean = smooth(grey)
    return (grey - mean) / ((smooth(grey * grey) - mean * mean).abs().sqrt() + 1)


def _patches(x: Tensor, side: int) -> Tensor:
    """(H,W) to (patches, side, side)."""
    return x.unfold(0, side, side).unfold(1, side, side).reshape(-1, side, side)


def _features(patches: Tensor) -> Tensor:
    """(N,h,w) to (N,18): the distribution of the patches, and of the products of neighbours in four directions."""
    alpha, left, right = _asymmetric_gaussian(patches)
    found = [alpha, (left + right) / 2]
    for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
        alpha, left, right = _asymmetric_gaussian(patches * patches.roll(shift, (1, 2)))
        mean = (right - left) * torch.exp(torch.lgamma(2 / alpha) - torch.lgamma(1 / alpha))  # equation 8
        found += [alpha, mean, left, right]
    return torch.stack(found, dim=1)


def _asymmetric_gaussian(patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Shape and the two scales of asymmetric generalised Gaussians fitted by their moments, (N,) each.

    Of Lasmar et al. 2009. NaN for a patch with nothing on one side of 0.
    """
    x = patches.flatten(1)
    below, above = x.clamp_max(0), x.clamp_min(0)
    left = (below.square().sum(1) / (x < 0).sum(1)).sqrt()
    right = (above.square().sum(1) / (x > 0).sum(1)).sqrt()
    skew = left / right
    ratio = x.abs().mean(1).square() / x.square().mean(1)
    ratio = ratio * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    high = torch.searchsorted(_RATIO, ratio.contiguous()).clamp(1, len(_RATIO) - 1)
    nearer_below = (ratio - _RATIO[high - 1]).abs() <= (_RATIO[high] - ratio).abs()
    alpha = torch.where(ratio.isnan(), math.nan, _ALPHA[high - nearer_below.long()])
    scale = torch.exp((torch.lgamma(1 / alpha) - torch.lgamma(3 / alpha)) / 2)
    return alpha, left * scale, right * scale


def _halving(extent: int) -> Tensor:
    """(extent/2, extent): MATLAB's imresize by a half: cubic (a = -1/2), twice as wide, borders mirrored."""
    centre = 2 * torch.arange(extent // 2, dtype=torch.float64) + 0.5
    taps = torch.floor(centre - 4)[:, None] + torch.arange(10)
    distance = ((centre[:, None] - taps) / 2).abs()
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    weights = torch.where(distance <= 1, near, torch.where(distance <= 2, far, 0.0))
    weights = weights / weights.sum(1, keepdim=True)
    inside = torch.where(taps < 0, -taps - 1, torch.where(taps >= extent, 2 * extent - 1 - taps, taps)).long()
    return torch.zeros(extent // 2, extent, dtype=torch.float64).scatter_add_(1, inside, weights)
