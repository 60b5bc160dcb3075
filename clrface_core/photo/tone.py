"""A grey photo stays grey, a one-tint photo keeps its tint: what holds for every pixel holds for the result."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

LUMA = (0.299, 0.587, 0.114)
LEVELS = 256

GREY = 0.5 / 255
"""How far apart the channels of a grey pixel may lie."""
BLOCK = 16
"""Over how many pixels chroma is averaged before it is judged: JPEG's own grid, whose noise this takes away."""
SMOOTH = 2.0
TOLERANCE = 10 / 255
"""How far the chroma of any block may lie from the one curve: clipped highlights and hard edges of a JPEG come to 9,
lips and cheeks coloured by hand to 20 and more."""
TYPICAL = 2 / 255
"""How far, in the root mean square over all blocks: a sepia JPEG of quality 40 comes to 2, a pale colour photo to 5."""


def keep_tone(original: Tensor, restored: Tensor) -> Tensor:
    """The restored picture with no colours that the original has not: (3,H,W) float in [0,1], as `restored`.

    original: (3,H,W) float in [0,1], the photo before; it may differ in size from `restored`.
    Grey in (channels within half an 8-bit step everywhere) gives exactly grey out. Where the colours of the original
    are one tint, so that chroma is a function of luma (sepia, cyanotype, a toned print), those of the result follow
    the same function. Any other picture comes back as it is, and pixels that equal the original always do.
    """
    if original.shape[0] != 3 or not torch.isfinite(restored).all():
        return restored
    source = original.to(restored.device, torch.float32)
    grey = float((source.amax(0) - source.amin(0)).max()) <= GREY
    curve = None if grey else tint_of(source)
    if not grey and curve is None:
        return restored
    if source.shape != restored.shape:
        return _toned(restored, curve).contiguous()
    # What the restoration has not touched keeps its bits, and costs nothing.
    changed = (original.to(restored) != restored).any(0)
    result = restored.clone()
    if changed.any():
        top, bottom, left, right = _bounds(changed)
        part = result[:, top:bottom, left:right]
        part.copy_(torch.where(changed[top:bottom, left:right], _toned(part, curve), part))
    return result


def _toned(picture: Tensor, curve: Tensor | None) -> Tensor:
    """A picture (3,h,w) with the chroma of a curve over luma in place of its own; grey without one."""
    luma, _ = _split(picture.float())
    toned = luma.expand(3, -1, -1) if curve is None else _joined(luma, _look_up(curve, luma))
    return toned.clamp(0, 1).to(picture.dtype)


def _bounds(inside: Tensor) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of what is true in (H,W), the ends excluded."""
    rows, columns = (inside.any(axis).nonzero()[:, 0] for axis in (1, 0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def tint_of(picture: Tensor) -> Tensor | None:
    """The chroma (2,256) of each level of luma of a picture (3,H,W) of one tint; None for any other picture."""
    step = max(1, min(picture.shape[1:]) // 256)
    if _distance(picture[:, ::step, ::step], 1)[1] > 3 * TYPICAL:  # most photos of many colours are known at a glance
        return None
    block = max(1, min(BLOCK, *(side // 8 for side in picture.shape[1:])))
    curve, typical, most = _distance(picture, block)
    return curve if typical <= TYPICAL and most <= TOLERANCE else None


def _distance(picture: Tensor, block: int) -> tuple[Tensor, float, float]:
    """The curve of chroma over luma that fits best; how far from it blocks of the picture lie, typically and at most.

    Chroma is compared pixel by pixel and only then averaged, as a curve that bends has no meaning for means.
    """
    luma, chroma = _split(picture)
    curve = _curve(luma, chroma)
    away = avg_pool2d((chroma - _look_up(curve, luma))[None], block)[0].square().sum(0).sqrt()
    return curve, float(away.square().mean().sqrt()), float(away.max())


def _split(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Luma (1,H,W), and chroma (2,H,W) as red and blue less luma."""
    weights = rgb.new_tensor(LUMA)
    luma = (rgb * weights[:, None, None]).sum(0, keepdim=True)
    return luma, rgb[[0, 2]] - luma


def _joined(luma: Tensor, chroma: Tensor) -> Tensor:
    red, blue = luma + chroma[:1], luma + chroma[1:]
    green = luma - (LUMA[0] * chroma[:1] + LUMA[2] * chroma[1:]) / LUMA[1]
    return torch.cat([red, green, blue])


def _curve(luma: Tensor, chroma: Tensor) -> Tensor:
    """Mean chroma (2,256) by level of luma, smoothed over a few levels; levels without pixels follow the others."""
    index = (luma.flatten().clamp(0, 1) * (LEVELS - 1)).round().long()
    counts = torch.bincount(index, minlength=LEVELS).double()
    sums = torch.stack([torch.bincount(index, plane.flatten().double(), LEVELS) for plane in chroma])
    distance = torch.arange(LEVELS, device=luma.device).double()
    distance = distance[:, None] - distance[None]
    near = torch.exp(-0.5 * (distance / SMOOTH) ** 2) + 1e-12 * torch.exp(-0.5 * (distance / 64) ** 2)
    return ((sums @ near) / (counts @ near).clamp_min(1e-300)).float()


def _look_up(curve: Tensor, luma: Tensor) -> Tensor:
    """The curve's chroma (2,H,W) at luma (1,H,W), between levels by a straight line."""
    place = luma[0].clamp(0, 1) * (LEVELS - 1)
    low = place.floor().long().clamp_max(LEVELS - 2)
    share = place - low
    return curve[:, low] * (1 - share) + curve[:, low + 1] * share
