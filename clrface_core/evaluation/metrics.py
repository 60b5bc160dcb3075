"""Full-reference metrics: how near a restored face is to the ground truth, in pixels and to the eye.

Each takes pictures `a` (B,3,H,W) and `b` (B,3,H,W) or (1,3,H,W), RGB in [0,1], and gives (B,) numbers.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..errors import CLRFaceError
from ..models.perceptual import LPIPS

PSNR_CEILING = 100.0
LPIPS_FILES = {"vgg": "lpips_vgg16.safetensors", "alex": "lpips_alexnet.safetensors"}
WINDOW, WINDOW_SIGMA = 11, 1.5


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, -10 log10(mean squared error); equal pictures get 100, not infinity."""
    _check_pair(a, b)
    error = (a.double() - b.double()).square().mean((1, 2, 3))
    return (-10 * error.log10()).clamp_max(PSNR_CEILING)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) in [-1,1], the mean over three channels and all whole windows.

    Gaussian window of 11 px and sigma 1.5, population variances, K = .01 and .03: as scikit-image gives with
    `gaussian_weights=True, use_sample_covariance=False`. CLRFaceError for pictures under 11 px.
    """
    _check_pair(a, b)
    if min(a.shape[2:]) < WINDOW:
        raise CLRFaceError(
            f"Expected pictures of at least {WINDOW} px for SSIM, got {a.shape[3]}x{a.shape[2]}: enlarge them."
        )
    a, b = a.double(), b.double()  # in flat areas, where variances vanish, float32 would be off by 1e-4
    mean_a, mean_b = _window(a), _window(b)
    variance_a, variance_b = _window(a * a) - mean_a**2, _window(b * b) - mean_b**2
    covariance = _window(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    similarity = similarity / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))
    return similarity.mean((1, 2, 3))


def lpips(a: Tensor, b: Tensor, network: LPIPS) -> Tensor:
    """Learned perceptual distance (Zhang et al. 2018) by `network`, of `load_lpips`; 0 is the same."""
    _check_pair(a, b)
    with torch.no_grad():
        return network(a, b)


def load_lpips(folder: Path | str, net: str) -> LPIPS:
    """LPIPS `vgg` or `alex` from its file in `folder` (see LPIPS_FILES); CLRFaceError where it is missing."""
    if net not in LPIPS_FILES:
        raise CLRFaceError(f"Expected the LPIPS network 'vgg' or 'alex', got {net!r}: use one of the two.")
    return LPIPS.load(Path(folder) / LPIPS_FILES[net], net)


def _window(x: Tensor) -> Tensor:
    """Gaussian means of every whole window: (B,C,H,W) -> (B,C,H-10,W-10).

    As sums of shifted pictures: with one channel a window, several times faster than a convolution on a CPU.
    """
    offset = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    weights = torch.exp(-0.5 * (offset / WINDOW_SIGMA) ** 2)
    taps = (weights / weights.sum()).tolist()
    for axis in (2, 3):
        extent = x.shape[axis] - WINDOW + 1
        shifted = (x.narrow(axis, start, extent) for start in range(WINDOW))
        total = torch.zeros_like(x.narrow(axis, 0, extent))
        for picture, tap in zip(shifted, taps, strict=True):
            total.add_(picture, alpha=tap)
        x = total
    return x


def _check_pair(a: Tensor, b: Tensor) -> None:
    fits = a.ndim == b.ndim == 4 and a.shape[1:] == b.shape[1:] and b.shape[0] in (1, a.shape[0])
    if not fits or a.shape[1] != 3 or not (a.is_floating_point() and b.is_floating_point()):
        raise CLRFaceError(
            f"Expected two batches of pictures (B,3,H,W) in [0,1] of one size, got {a.dtype} {tuple(a.shape)} and "
            f"{b.dtype} {tuple(b.shape)}: convert or resize them first."
        )
