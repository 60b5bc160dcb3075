"""The terms of the training objectives that more than one stage uses."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.perceptual import LPIPS


def crop_pair(a: Tensor, b: Tensor, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The same random square of two batches of pictures; whole pictures where they are no larger."""
    height, width = a.shape[2:]
    if side >= min(height, width):
        return a, b
    top = int(torch.randint(height - side + 1, (), generator=generator))
    left = int(torch.randint(width - side + 1, (), generator=generator))
    window = (..., slice(top, top + side), slice(left, left + side))
    return a[window], b[window]


def negative_psnr(restored: Tensor, clean: Tensor) -> Tensor:
    """Minus the PSNR in dB of pictures in [0,1], averaged over the faces of the batch; 50 dB is enough of it.

    In decibels a face that was hardly degraded counts as much as a ruin, whose errors drown it in L1.
    """
    error = (restored - clean).square().flatten(1).mean(1)
    return 10 * error.clamp_min(1e-5).log10().mean()


def perceptual(lpips: LPIPS, restored: Tensor, clean: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """LPIPS on one random crop per batch: VGG on whole 512 px faces would cost more than the network in training."""
    a, b = crop_pair(restored, clean, side, generator)
    return lpips(a, b).mean()


def identity(embed: nn.Module, restored: Tensor, clean: Tensor) -> Tensor:
    """1 - cosine of the recognition embeddings, averaged over the batch."""
    with torch.no_grad():
        target = embed(clean)
    return (1 - F.cosine_similarity(embed(restored), target)).mean()
