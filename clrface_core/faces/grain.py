"""Grain of a photo: how much of it a restored face has lost, and new grain of the same spectrum in its place.

Everything is measured in square blocks of the photo, 8 pixels or more a side, and their cosine transform, as JPEG does,
in luma and two chromas of their own. The face's grain is what the photo has where the restored face is flat; it is
capped by what the flat parts around the face have, for what only the face has is no grain but skin.
"""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache

import torch
from torch import Tensor

BLOCK, LARGEST_BLOCK = 8, 64
"""Sides of the blocks for faces as large as the crops or smaller, and for the largest."""
MOST_BLOCKS = 40
"""Blocks across the part of the photo that is looked at."""
FLAT = 1 / 3
"""Share of the blocks that count as flat."""
LEAST_BLOCKS = 8
"""Where there are fewer nothing is measured."""
STRUCTURE = 4
"""Coefficients (k, l) with k + l below this say how flat a block is, the others how grainy: so neither biases the
other. Below SHADING they are light and shade, and no grain is made of them."""
SHADING = 2
LEAST = 1 / 255
"""Standard deviation that counts as grain: what rounding to 8 bits, or a JPEG of high quality, leaves is none."""
CLIPPED = 4 / 255
"""How near to black or white a block is in which there is no room for grain."""
FIELD = 1024
"""Grain of larger faces repeats after so many pixels."""

OPPONENT = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]])
OPPONENT = OPPONENT / OPPONENT.norm(dim=1, keepdim=True)
"""Red, green and blue to luma and two chromas, orthonormal: grain is much the same in all of film's colours, and
independent in a sensor's."""


def block_for(photo_pixels: float) -> int:
    """Side of the blocks for a face of which so many pixels of the photo make one of the crop: all that the crop shows
    finer than a quarter of such a block, and all that it does not show, can be grain."""
    block = BLOCK
    while block < LARGEST_BLOCK and photo_pixels > 1.5 * block / BLOCK:
        block *= 2
    return block


@lru_cache
def _cosines(size: int) -> Tensor:
    k, n = torch.arange(size)[:, None], torch.arange(size)[None]
    basis = torch.cos(math.pi / size * (n + 0.5) * k) * math.sqrt(2 / size)
    basis[0] /= math.sqrt(2)
    return basis


def _order(spectrum: Tensor) -> Tensor:
    """k + l of each coefficient of spectra (...,s,s)."""
    k = torch.arange(spectrum.shape[-1], device=spectrum.device)
    return k[:, None] + k


def power(blocks: Tensor) -> Tensor:
    """Squared coefficients (N,3,s,s), luma first, of blocks (N,3,s,s) of RGB."""
    basis = _cosines(blocks.shape[-1]).to(blocks)
    opponent = torch.einsum("ij,njhw->nihw", OPPONENT.to(blocks), blocks)
    return (basis @ opponent @ basis.T).square()


def lost_grain(before: Tensor, after: Tensor, around: Tensor) -> Tensor | None:
    """The spectrum (3,s,s) of the grain that a face has lost, a variance per coefficient; None where it lost none.

    before, after: (N,3,s,s) RGB in [0,1], blocks of the face in the photo and in the result, of the same places.
    around: (M,3,s,s), blocks of the photo near the face.
    """
    room = _roomy(before)
    before, after, around = power(before[room]), power(after[room]), power(around[_roomy(around)])
    if len(before) < LEAST_BLOCKS:
        return None
    order = _order(before)
    flat = _flattest(after[:, 0][:, order >= SHADING].sum(1))
    target, left = before[flat].mean(0), after[flat].mean(0)
    if len(around) >= LEAST_BLOCKS:
        smooth = around[_flattest(around[:, 0][:, order < STRUCTURE][:, 1:].sum(1))].mean(0)
        target = target * (_fine(smooth) / _fine(target).clamp(min=1e-12)).clamp(max=1)
    if float(_fine(target)) < LEAST**2:
        return None
    lost = (target - left).clamp(min=0) * (order >= SHADING).to(target)
    return lost if float(lost[0].mean()) > (LEAST / 2) ** 2 else None


def _roomy(blocks: Tensor) -> Tensor:
    mean = blocks.mean((1, 2, 3))
    return (mean > CLIPPED) & (mean < 1 - CLIPPED)


def _flattest(energy: Tensor) -> Tensor:
    """Indices of the third of the blocks with least energy (N,)."""
    return energy.argsort(stable=True)[: max(LEAST_BLOCKS, round(FLAT * len(energy)))]


def _fine(spectrum: Tensor) -> Tensor:
    """Mean variance of the fine coefficients of luma of a spectrum (3,s,s)."""
    return spectrum[0][_order(spectrum) >= STRUCTURE].mean()


def make_grain(spectrum: Tensor, height: int, width: int, *, seed: int, face_id: int) -> Tensor:
    """Grain (3,height,width) RGB of this spectrum (3,s,s), with mean 0: a function of its arguments alone.

    At most FIELD pixels a side: it may be repeated without a seam.
    """
    height, width = min(height, FIELD), min(width, FIELD)
    digest = hashlib.blake2b(f"grain/{int(seed)}/{int(face_id)}".encode(), digest_size=4).digest()
    generator = torch.Generator("cpu").manual_seed(int.from_bytes(digest, "little"))
    white = torch.randn(3, height, width, generator=generator)
    response = _between(spectrum.cpu().clamp(min=0).sqrt(), torch.fft.fftfreq(height), torch.fft.rfftfreq(width))
    grain = torch.fft.irfft2(torch.fft.rfft2(white) * response, s=(height, width))
    return torch.einsum("ij,ihw->jhw", OPPONENT, grain).contiguous()


def _between(values: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Values (3,s,s) of the cosines, linearly between them, at frequencies (h,) and (w,) in cycles per pixel."""
    size = values.shape[-1]
    for axis, frequency in ((1, down), (2, across)):
        place = (frequency.abs() * 2 * size).clamp(max=size - 1)
        low = place.floor().long().clamp(max=size - 2)
        share = (place - low).reshape(-1, 1) if axis == 1 else place - low
        values = values.index_select(axis, low) * (1 - share) + values.index_select(axis, low + 1) * share
    return values
