"""PSNR and SSIM by scikit-image: how near a restored face is to the truth, pixel by pixel and window by window.

Each takes two pictures (1,3,H,W), RGB in [0,1]. CLRFaceError where scikit-image is not installed.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
from torch import Tensor

from ...errors import CLRFaceError

PSNR_CEILING = 100.0
WINDOW = 11


def library() -> ModuleType:
    """scikit-image's metrics, or the sentence that says how to get them."""
    try:
        from skimage import metrics
    except ImportError as error:
        raise CLRFaceError(
            f"Expected scikit-image for PSNR and SSIM, but {error}: pip install scikit-image."
        ) from error
    return metrics


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio in dB, -10 log10(mean squared error); equal pictures get 100, not infinity."""
    pixels, truth = _pair(a, b)
    if np.array_equal(pixels, truth):
        return PSNR_CEILING
    return min(float(library().peak_signal_noise_ratio(truth, pixels, data_range=1.0)), PSNR_CEILING)


def ssim(a: Tensor, b: Tensor) -> float:
    """Structural similarity (Wang et al. 2004) in [-1,1], the mean over three channels and all whole windows.

    With the settings of the paper: a Gaussian window of 11 px and sigma 1.5, population variances.
    """
    pixels, truth = _pair(a, b)
    if min(truth.shape[:2]) < WINDOW:
        raise CLRFaceError(
            f"Expected pictures of at least {WINDOW} px for SSIM, got {truth.shape[1]}x{truth.shape[0]}: enlarge them."
        )
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(library().structural_similarity(truth, pixels, data_range=1.0, channel_axis=2, **settings))


def _pair(a: Tensor, b: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Both as (H,W,3) float64: in flat areas, where variances vanish, float32 would be off by 1e-4."""
    if a.shape != b.shape or a.ndim != 4 or a.shape[:2] != (1, 3):
        raise CLRFaceError(
            f"Expected two pictures (1,3,H,W) in [0,1] of one size, got {tuple(a.shape)} and {tuple(b.shape)}: "
            "convert or resize them first."
        )
    first, second = (x[0].detach().cpu().permute(1, 2, 0).double().numpy() for x in (a, b))
    return first, second
