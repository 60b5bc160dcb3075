"""What happens to real photographs and to no synthetic pair of blur, noise and JPEG: prints, scanners, phones, age.

Each kind is drawn on its own, with a strength from hardly visible up, and comes before the standard degradation, which
then makes it the second order (Wang et al. 2021, Real-ESRGAN, arXiv 2107.10833). The truth stays without it.
"""

from __future__ import annotations

import io

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from torch import Tensor


def worn(face: Tensor, rng: np.random.Generator) -> Tensor:
    """A face (3,S,S) in [0,1] after one to three kinds of wear; a pure function of the picture and `rng`."""
    kinds = rng.choice(len(KINDS), size=int(rng.integers(1, 4)), replace=False)
    for kind in sorted(int(k) for k in kinds):  # in the order of a photo's life
        face = KINDS[kind](face, rng).clamp(0, 1)
    return face


def motion(face: Tensor, rng: np.random.Generator) -> Tensor:
    """The camera or the person moved: a line of up to 4 % of the side."""
    side = face.shape[1]
    length, angle = rng.uniform(0.005, 0.04) * side, rng.uniform(0, np.pi)
    taps = max(int(length), 2)
    moved = torch.zeros_like(face)
    for offset in np.linspace(-length / 2, length / 2, taps):
        shift = (round(float(np.sin(angle) * offset)), round(float(np.cos(angle) * offset)))
        moved += face.roll(shift, (1, 2))
    return moved / taps


def grain(face: Tensor, rng: np.random.Generator) -> Tensor:
    """Film grain: one pattern for all channels, of 1 to 3 pixels, strongest in the middle tones."""
    side = face.shape[1]
    coarse = max(int(side / rng.uniform(1, 3)), 8)
    pattern = torch.from_numpy(rng.standard_normal((1, 1, coarse, coarse), dtype=np.float32))
    pattern = F.interpolate(pattern, (side, side), mode="bilinear", align_corners=False)[0]
    tone = face.mean(0, keepdim=True)
    return face + pattern * float(rng.uniform(0.01, 0.08)) * 2 * (tone * (1 - tone)).clamp_min(0).sqrt()


def halftone(face: Tensor, rng: np.random.Generator) -> Tensor:
    """Print: a turned grid of dots, 2 to 5 pixels apart, as strong as the tone leaves room for."""
    side = face.shape[1]
    pitch, angle = rng.uniform(2, 5), rng.uniform(0, np.pi / 2)
    y, x = torch.meshgrid(torch.arange(side) * 1.0, torch.arange(side) * 1.0, indexing="ij")
    u, v = (x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle))
    dots = torch.cos(2 * np.pi * u / pitch) * torch.cos(2 * np.pi * v / pitch)
    return face + dots * float(rng.uniform(0.03, 0.2)) * 2 * (face * (1 - face)).clamp_min(0).sqrt()


def scratches(face: Tensor, rng: np.random.Generator) -> Tensor:
    """Dust and scratches: up to 40 light or dark specks and up to three thin lines from border to border."""
    side = face.shape[1]
    mark = np.zeros((side, side), np.float32)
    for _ in range(int(rng.integers(1, 40))):
        top, left = rng.integers(side, size=2)
        extent = int(rng.integers(1, max(side // 120, 2) + 1))
        mark[top : top + extent, left : left + extent] = rng.uniform(0.3, 1)
    for _ in range(int(rng.integers(0, 4))):
        start, end, bend = rng.uniform(0, side, size=3)
        along = np.linspace(0, 1, 2 * side)
        path = start + (end - start) * along + 0.1 * (bend - side / 2) * np.sin(np.pi * along)
        across, down = path.astype(int).clip(0, side - 1), (along * (side - 1)).astype(int)
        mark[(down, across) if rng.random() < 0.7 else (across, down)] = rng.uniform(0.2, 0.8)
    colour = 1.0 if rng.random() < 0.7 else 0.0
    return torch.lerp(face, torch.full_like(face, colour), torch.from_numpy(mark)[None])


def median(face: Tensor, rng: np.random.Generator) -> Tensor:
    """A camera's or an app's noise reduction: edges stay, texture goes."""
    return _pillow(face, ImageFilter.MedianFilter(int(rng.choice([3, 5]))))


def sharpened(face: Tensor, rng: np.random.Generator) -> Tensor:
    """Unsharp masking, with its halos."""
    strength, radius = int(rng.uniform(50, 250)), float(rng.uniform(0.8, 3))
    return _pillow(face, ImageFilter.UnsharpMask(radius, strength, 2))


def shared_before(face: Tensor, rng: np.random.Generator) -> Tensor:
    """Made smaller, compressed and enlarged once already, as what went through a messenger or the web."""
    side = face.shape[1]
    small = int(side / rng.uniform(1, 4))
    kind = [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.BOX, Image.Resampling.LANCZOS]
    stream = io.BytesIO()
    reduced = _image(face).resize((small, small), kind[int(rng.integers(4))])
    reduced.save(stream, "JPEG", quality=int(rng.integers(30, 96)), subsampling=int(rng.choice([0, 2])))
    with Image.open(stream) as again:
        return _tensor(again.convert("RGB").resize((side, side), kind[int(rng.integers(2))]))


KINDS = (motion, grain, halftone, scratches, median, sharpened, shared_before)
"""In the order in which a photo meets them."""


def _image(face: Tensor) -> Image.Image:
    return Image.fromarray((face.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def _pillow(face: Tensor, kernel: ImageFilter.Filter) -> Tensor:
    return _tensor(_image(face).filter(kernel))
