"""How degraded a face is, and how much should be done to it: first do no harm.

The IRN leaves what it finds clean as it is. So the share of its estimate that the photo does not show, in structure of
8 to 32 px of a 512 px face, says how much there is to restore. Noise and JPEG hardly reach that band; blur and
reduction do.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, interpolate

from .errors import CLRFaceError

SIDES = (128, 64, 32)
"""Of the reduced faces that are compared, in their two finest octaves. The first is what counts; the others are for
faces that are so small in their photo that it cannot show what the estimate has in the first."""
SPAN = 4 / 3
"""Pixels of the photo that a pixel of such a reduced face takes at least."""
CLEAN, DEGRADED = 0.10, 0.15
"""Up to the first nothing is done, from the second on everything. On 20 held-out faces it was 0.04 to 0.09 for clean
ones (with JPEG of quality 60, or white noise of 15 of 255, too), 0.07 to 0.67 in the mild range and 0.19 to 0.78 in the
standard one; at 0.14 the restored face was as near to the truth as the degraded one, below it further away."""


def severity(crops: Tensor, estimates: Tensor) -> Tensor:
    """How degraded faces are at each of SIDES, (B,3) float32 on the CPU: 0 where the estimate agrees with the crop.

    crops, estimates: (B,3,S,S) in [0,1], aligned faces and what the IRN makes of them.
    """
    seen, known = (each.float().mean(1, keepdim=True) for each in (crops, estimates))
    shares = [_share(adaptive_avg_pool2d(seen, side), adaptive_avg_pool2d(known, side)) for side in SIDES]
    return torch.stack(shares, 1).cpu()


def _share(seen: Tensor, known: Tensor) -> Tensor:
    seen, known = _detail(seen), _detail(known)
    return ((known - seen).square().mean((1, 2, 3)) / known.square().mean((1, 2, 3)).clamp(min=1e-8)).sqrt()


def _detail(small: Tensor) -> Tensor:
    """Of the middle of reduced faces, what a quarter of their resolution does not show."""
    coarse = interpolate(avg_pool2d(small, 4), scale_factor=4.0, mode="nearest")
    middle = slice(small.shape[-1] * 3 // 16, small.shape[-1] * 13 // 16)
    return (small - coarse)[..., middle, middle]


def in_photo(severities: Tensor, side: float) -> float:
    """The one of a face's severities (3,) that counts where its crop is so many pixels of the photo wide."""
    fits = [at for at, reduced in enumerate(SIDES) if reduced * SPAN <= side]
    return float(severities[fits[0] if fits else -1])


def strength_for(degraded: float) -> float:
    """How much of the restored face should show, in [0,1], for a severity."""
    return min(max((degraded - CLEAN) / (DEGRADED - CLEAN), 0.0), 1.0)


def check_strength(strength: float | None) -> None:
    """Raise CLRFaceError unless it is None, which is automatic, or a number in [0,1]."""
    if strength is not None and not 0 <= strength <= 1:
        raise CLRFaceError(f"Expected a strength from 0 to 1, or none for automatic, got {strength}: choose one.")


def show(crops: Tensor, restored: Tensor, strengths: list[float]) -> Tensor:
    """Aligned faces (B,3,S,S) with so much of their restoration."""
    weights = torch.tensor(strengths, dtype=torch.float32).reshape(-1, 1, 1, 1)
    return torch.lerp(crops.to(restored), restored, weights.to(restored))
