"""How steady a video is, where its motion is known: numbers that need no download, in 1/255 or in pixels.

Each compares pictures that follow one another, the later one moved back to where the former is. Interpolation alone
makes a difference then, so a number means something beside that of the input, or of the truth, on the same clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ...faces.warp import inverse, warp
from ...fidelity import low_pass

FINE = 1.5
"""Sigma in pixels: what is finer is fine structure, such as hair and pores."""


def moved_back(later: Tensor, to_later: Tensor) -> Tensor:
    """A later picture (3,H,W) as it would be at the time of the former, from whose pixels `to_later` (2,3) leads."""
    return warp(later, to_later, *later.shape[1:])


def flicker(former: Tensor, later: Tensor, to_later: Tensor, mask: Tensor) -> float:
    """Mean absolute difference, of 255, of two pictures (3,H,W) where `mask` (H,W) says that the face is."""
    difference = (former - moved_back(later, to_later)).abs().mean(0)
    return float((difference * mask).sum() / mask.sum().clamp(min=1)) * 255


def fine_flicker(former: Tensor, later: Tensor, to_later: Tensor, mask: Tensor) -> float:
    """As `flicker`, of fine structure only: what hair and skin do when they boil."""
    one, other = former[None], moved_back(later, to_later)[None]
    difference = ((one - low_pass(one, FINE)) - (other - low_pass(other, FINE)))[0].abs().mean(0)
    return float((difference * mask).sum() / mask.sum().clamp(min=1)) * 255


def warping_error(former: Tensor, later: Tensor, to_later: Tensor, mask: Tensor) -> float:
    """E_warp of Lai et al. (ECCV 2018), here with the known motion: mean squared difference, times 1000."""
    difference = (former - moved_back(later, to_later)).square().mean(0)
    return float((difference * mask).sum() / mask.sum().clamp(min=1)) * 1000


def identity_jitter(embeddings: Sequence[Tensor]) -> float:
    """1 minus the mean cosine of the unit vectors (D,) of faces in pictures that follow one another: the idea of VIDD
    (Zhou et al., 2022), which takes the distance of such vectors between neighbouring frames."""
    cosines = [float(one @ other) for one, other in pairwise(embeddings)]
    return 1 - float(np.mean(cosines)) if cosines else 0.0


def landmark_jitter(points: Sequence[np.ndarray], maps: Sequence[Tensor]) -> float:
    """Mean distance in pixels of five points (5,2) from those before, moved as the picture moved.

    maps: (2,3) from the pixels of each picture but the last to those of the next.
    """
    distances = [
        np.linalg.norm(later - (former @ to_later[:, :2].numpy().T + to_later[:, 2].numpy()), axis=1).mean()
        for former, later, to_later in zip(points[:-1], points[1:], maps, strict=True)
    ]
    return float(np.mean(distances)) if distances else 0.0


def psnr(picture: Tensor, truth: Tensor, mask: Tensor) -> float:
    """Peak signal-to-noise ratio in dB where the mask (H,W) is."""
    error = ((picture - truth).square().mean(0) * mask).sum() / mask.sum().clamp(min=1)
    return float(-10 * torch.log10(error.clamp(min=1e-12)))


def region(mask: Tensor, to_frame: Tensor) -> Tensor:
    """A mask (H,W) of the first picture as it lies in another one, to which `to_frame` (2,3) leads; hard-edged."""
    return (warp(mask[None], inverse(to_frame), *mask.shape)[0] > 0.5).float()
