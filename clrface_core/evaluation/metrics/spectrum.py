"""How much fine texture a restored face has beside the truth: its skin's spectrum, by band."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...errors import CLRFaceError

SKIN = ((120, 300), (300, 300), (208, 60))
"""Left and top of windows on both cheeks and the forehead of a face aligned to FFHQ's template, at 512 px."""
WINDOW = 96
BANDS = ((0.03, 0.08), (0.08, 0.15), (0.15, 0.25), (0.25, 0.35))
"""Cycles per pixel, from the coarsest to the finest."""


def amplitudes(faces: Tensor, bands: Sequence[tuple[float, float]] = BANDS) -> Tensor:
    """Mean amplitude of the brightness of skin in each band: (B,len(bands)) of aligned faces (B,3,512,512) in [0,1].

    The root of the mean power of WINDOW px squares under a Hann window, without their mean. CLRFaceError for another
    size: cycles per pixel mean something else there.
    """
    if faces.ndim != 4 or faces.shape[1:] != (3, 512, 512):
        raise CLRFaceError(f"Expected aligned faces (B,3,512,512), got {tuple(faces.shape)}: resize them.")
    brightness = faces.float().mean(1)
    windows = torch.stack([brightness[:, top : top + WINDOW, left : left + WINDOW] for left, top in SKIN], dim=1)
    hann = torch.hann_window(WINDOW, periodic=False, device=faces.device)
    power = torch.fft.fft2((windows - windows.mean((2, 3), keepdim=True)) * hann * hann[:, None]).abs().square().mean(1)
    axis = torch.fft.fftfreq(WINDOW, device=faces.device)
    radius = (axis.square() + axis[:, None].square()).sqrt()
    return torch.stack([power[:, (radius >= low) & (radius < high)].mean(1).sqrt() for low, high in bands], dim=1)


def texture(restored: Tensor, truth: Tensor, band: tuple[float, float] = (0.15, 0.35)) -> Tensor:
    """(B,) amplitude over that of the truth in one band: 1 is as much texture, less is airbrushed, more is invented."""
    ours, theirs = (amplitudes(faces, [band])[:, 0] for faces in (restored, truth))
    return ours / theirs.clamp_min(1e-6)
