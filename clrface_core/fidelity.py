"""Fidelity: how much of the IRN's estimate the refined face keeps, by frequency.

    x = out + G(sigma) x_I - G(sigma) out,    sigma = 16 (1 - fidelity) / fidelity  pixels of a 512 px face

G is a Gaussian low-pass. What is coarser than sigma comes from the estimate, a posterior mean, which knows colour,
light and large shapes best; what is finer comes from the refinement. 1 is the estimate, 0 the refinement alone.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import CLRFaceError
from .picture import FACE_SIZE

HALF = 16.0
"""Sigma at a fidelity of one half, in pixels of a 512 px face."""


def check_fidelity(fidelity: float) -> None:
    """Raise CLRFaceError unless a fidelity lies in [0,1]."""
    if not 0 <= fidelity <= 1:
        raise CLRFaceError(f"Expected a fidelity from 0 to 1, got {fidelity}: 0 is the sharpest, 1 the most faithful.")


def keep_estimate(refined: Tensor, estimate: Tensor, fidelity: float) -> Tensor:
    """The refined faces with the estimate's coarse part: (B,3,S,S) each, float32 in [0,1], and so is the result."""
    check_fidelity(fidelity)
    if fidelity == 0:
        return refined
    estimate = estimate.to(refined)
    if fidelity == 1:
        return estimate
    sigma = HALF * (1 - fidelity) / fidelity * refined.shape[-1] / FACE_SIZE
    return (refined + low_pass(estimate - refined, sigma)).clamp(0, 1)


def low_pass(pictures: Tensor, sigma: float) -> Tensor:
    """Pictures (B,C,H,W) after a Gaussian of `sigma` px, mirrored at their borders.

    A wide one acts on pictures reduced by a power of two, of which it then is 4 to 8 px: its cost does not grow.
    """
    step = 2 ** max(0, math.floor(math.log2(max(sigma, 1e-6) / 4)))
    while step > 1 and (pictures.shape[-1] % step or pictures.shape[-2] % step):
        step //= 2
    small = F.avg_pool2d(pictures, step) if step > 1 else pictures
    for axis in (-1, -2):
        small = _gaussian(small, sigma / step, axis)
    return F.interpolate(small, scale_factor=step, mode="bilinear", align_corners=False) if step > 1 else small


def _gaussian(pictures: Tensor, sigma: float, axis: int) -> Tensor:
    """One axis of the filter. A kernel wider than the picture is cut: what is that coarse is nearly a constant."""
    radius = min(math.ceil(3 * sigma), pictures.shape[axis] - 1)
    offset = torch.arange(-radius, radius + 1, device=pictures.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offset / sigma) ** 2)
    kernel = (kernel / kernel.sum()).to(pictures.dtype)
    shape = [1, 1, 1, 1]
    shape[axis] = len(kernel)
    padding = (radius, radius, 0, 0) if axis == -1 else (0, 0, radius, radius)
    padded = F.pad(pictures, padding, mode="reflect")
    return F.conv2d(padded.flatten(0, 1)[:, None], kernel.reshape(shape)).reshape(pictures.shape)
