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


def spectrum(restored: Tensor, clean: Tensor, tile: int = 32, rings: int = 8, sectors: int = 8) -> Tensor:
    """How far the texture of pictures (B,3,H,W) is from the truth's: mean |log ratio| of power, tile by tile, by band.

    Pixel losses and LPIPS are content with less texture than there is, as misplaced texture costs them more; power in
    a band of frequencies does not ask where a pore is. A band is a ring, cut into sectors: by whole rings, a mesh along
    two directions would do for hair along all. A floor of a grey level's noise keeps flat tiles from counting.
    """
    power = (_band_power(pictures, tile, rings, sectors) + (tile / 255) ** 2 for pictures in (restored, clean))
    return (next(power).log() - next(power).log()).abs().mean()


def _band_power(pictures: Tensor, tile: int, rings: int, sectors: int) -> Tensor:
    """(B,bands,h,w): mean power of the brightness of tiles that overlap by half, under a Hann window.

    It is averaged over 3 x 3 of them where there are so many. The coarsest ring is left out.
    """
    with torch.autocast(pictures.device.type, enabled=False):
        tiles = pictures.float().mean(1).unfold(1, tile, tile // 2).unfold(2, tile, tile // 2)
        hann = torch.hann_window(tile, periodic=False, device=pictures.device)
        power = torch.fft.fft2((tiles - tiles.mean((3, 4), keepdim=True)) * hann * hann[:, None]).abs().square()
        axis = torch.fft.fftfreq(tile, device=pictures.device)
        ring = ((axis.square() + axis[:, None].square()).sqrt() * 2 * rings).long().flatten()
        angle = torch.atan2(axis[:, None].expand(tile, tile), axis.expand(tile, tile)).flatten()
        sector = (angle / torch.pi * sectors).round().long() % sectors  # opposite directions are one
        inside = (ring > 0) & (ring < rings)  # corners and the mean belong to none
        member = F.one_hot(((ring - 1) * sectors + sector)[inside], (rings - 1) * sectors).float()
        bands = (power.flatten(3)[..., inside] @ (member / member.sum(0))).movedim(-1, 1)
        return F.avg_pool2d(bands, min(3, *bands.shape[2:]), stride=1)


def identity(embed: nn.Module, restored: Tensor, clean: Tensor) -> Tensor:
    """1 - cosine of the recognition embeddings, averaged over the batch."""
    with torch.no_grad():
        target = embed(clean)
    return (1 - F.cosine_similarity(embed(restored), target)).mean()
