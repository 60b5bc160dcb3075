"""PSNR and SSIM by torchmetrics: how near a restored face is to the truth, pixel by pixel and window by window.

Each takes two pictures (1,3,H,W), RGB in [0,1]. CLRFaceError where torchmetrics is not installed.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from torch import Tensor

from ...errors import CLRFaceError

PSNR_CEILING = 100.0
WINDOW = 11


def library(module: str) -> ModuleType:
    """A module of torchmetrics, or the sentence that says how to get it."""
    try:
        return import_module(f"torchmetrics.{module}")
    except ImportError as error:
        raise CLRFaceError(f"Expected torchmetrics for this metric, but {error}: pip install torchmetrics.") from error


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio in dB, -10 log10(mean squared error); equal pictures get 100, not infinity."""
    measure = library("functional.image").peak_signal_noise_ratio
    return min(float(measure(*_pair(a, b), data_range=1.0)), PSNR_CEILING)


def ssim(a: Tensor, b: Tensor) -> float:
    """Structural similarity (Wang et al. 2004) in [-1,1], the mean over three channels and all whole windows.

    With the settings of the paper: a Gaussian window of 11 px and sigma 1.5, population variances.
    """
    if min(b.shape[2:]) < WINDOW:
        raise CLRFaceError(
            f"Expected pictures of at least {WINDOW} px for SSIM, got {b.shape[3]}x{b.shape[2]}: enlarge them."
        )
    measure = library("functional.image").structural_similarity_index_measure
    return float(measure(*_pair(a, b), data_range=1.0))


def _pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both as float64 on the CPU: in flat areas, where variances vanish, float32 would be off by 1e-4."""
    if a.shape != b.shape or a.ndim != 4 or a.shape[:2] != (1, 3):
        raise CLRFaceError(
            f"Expected two pictures (1,3,H,W) in [0,1] of one size, got {tuple(a.shape)} and {tuple(b.shape)}: "
            "convert or resize them first."
        )
    return a.detach().cpu().double(), b.detach().cpu().double()
