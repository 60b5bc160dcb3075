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


def spectrum(restored: Tensor, clean: Tensor, tile: int = 32, rings: int = 8) -> Tensor:
    """How far the texture of pictures (B,3,H,W) is from the truth's: mean |log ratio| of power, tile by tile, by band.

    Pixel losses and LPIPS are content with less texture than there is, as misplaced texture costs them more; power in
    a ring of frequencies does not ask where a pore is. A floor of a grey level's noise keeps flat tiles from counting.
    """
    power = (_ring_power(pictures, tile, rings) + (tile / 255) ** 2 for pictures in (restored, clean))
    return (next(power).log() - next(power).log()).abs().mean()


def _ring_power(pictures: Tensor, tile: int, rings: int) -> Tensor:
    """(B,tiles,rings): mean power of the brightness of each tile under a Hann window; the coarsest ring is left out."""
    with torch.autocast(pictures.device.type, enabled=False):
        tiles = pictures.float().mean(1).unfold(1, tile, tile).unfold(2, tile, tile).flatten(1, 2)
        hann = torch.hann_window(tile, periodic=False, device=pictures.device)
        power = torch.fft.fft2((tiles - tiles.mean((2, 3), keepdim=True)) * hann * hann[:, None]).abs().square()
        axis = torch.fft.fftfreq(tile, device=pictures.device)
        ring = ((axis.square() + axis[:, None].square()).sqrt() * 2 * rings).long().flatten()
        member = F.one_hot(ring.clamp_max(rings), rings + 1)[:, 1:rings].float()  # corners and the mean belong to none
        return power.flatten(2) @ (member / member.sum(0))


def identity(embed: nn.Module, restored: Tensor, clean: Tensor) -> Tensor:
    """1 - cosine of the recognition embeddings, averaged over the batch."""
    with torch.no_grad():
        target = embed(clean)
    return (1 - F.cosine_similarity(embed(restored), target)).mean()
