"""Resample a picture through an affine map: no aliasing, no black corners, pixel centres exact.

Coordinates: the centre of the pixel in column i and row j is (x, y) = (i, j), so a picture of width W covers
x in [-0.5, W - 0.5], and resizing by k, which keeps the edges, takes x to (x + 0.5) k - 0.5.
A map is a float64 CPU tensor (..., 2, 3): [x', y'] = A @ [x, y, 1]. Pictures are (C,H,W) of any float dtype
on any device that can `grid_sample` bicubically; results are float32 there and may overshoot [0,1].
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

HEADROOM = 1.2
"""A picture to be shrunk and turned is first shrunk to this many times its final size: it stays sharper."""

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in whole pixels, right and bottom excluded."""


def resizing(x_scale: float, y_scale: float) -> Tensor:
    """The map (2,3) from a picture to the same picture `x_scale` times as wide, `y_scale` times as high."""
    scale = torch.tensor([x_scale, y_scale], dtype=torch.float64)
    return torch.cat([torch.diag(scale), (scale[:, None] - 1) / 2], dim=1)


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """The map that applies `inner`, then `outer`; leading dimensions broadcast."""
    linear = outer[..., :2] @ inner[..., :2]
    return torch.cat([linear, outer[..., :2] @ inner[..., 2:] + outer[..., 2:]], dim=-1)


def inverse(maps: Tensor) -> Tensor:
    """The maps (...,2,3) that undo `maps`."""
    linear = torch.linalg.inv(maps[..., :2])
    return torch.cat([linear, -linear @ maps[..., 2:]], dim=-1)


def stretch(transform: Tensor) -> float:
    """How many pixels of the target one pixel of the source spans, as a geometric mean over directions."""
    return math.sqrt(abs(float(torch.linalg.det(transform[..., :2]))))


def points(transform: Tensor, box: Box, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where the pixel centres of `box` land: x and y, float32 (bottom - top, right - left) each."""
    return moved(transform, *pixels(box, device))


def pixels(box: Box, device: torch.device) -> tuple[Tensor, Tensor]:
    """The pixel centres of `box`: x, float32 (1, right - left), and y (bottom - top, 1)."""
    left, top, right, bottom = box
    column = torch.arange(left, right, device=device, dtype=torch.float32)
    return column[None], torch.arange(top, bottom, device=device, dtype=torch.float32)[:, None]


def moved(transform: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Where a map (2,3) takes points; x and y broadcast."""
    (a, b, c), (d, e, f) = transform.tolist()
    return a * x + (b * y + c), d * x + (e * y + f)


def resize(picture: Tensor, height: int, width: int) -> Tensor:
    """Antialiased bicubic resize of (C,H,W) to (C,height,width), float32; no copy where nothing changes."""
    if picture.shape[-2:] == (height, width):
        return picture.float()
    size = (height, width)
    return F.interpolate(picture[None].float(), size, mode="bicubic", align_corners=False, antialias=True)[0]


def sample(picture: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Bicubically interpolated values (C,h,w) at points x, y (h,w), not antialiased; edges are extended."""
    height, width = picture.shape[-2:]
    grid = torch.stack([(2 * _centred(x) + 1) / width - 1, (2 * _centred(y) + 1) / height - 1], dim=-1)
    return F.grid_sample(picture[None].float(), grid[None], "bicubic", "border", align_corners=False)[0]


def _centred(x: Tensor) -> Tensor:
    """Coordinates for which PyTorch's bicubic kernel has its centre of mass at x.

    That kernel (Keys 1981 with a = -3/4) puts the value for phase t at m(t) = t - t (1 - t) (2t - 1) / 2, up
    to 0.05 px beside the point asked for. Solving m(p) = t, by two Newton steps, makes linear ramps come out
    exact, and keeps more detail than a = -1/2, the value that needs no such correction.
    """
    whole = x.floor()
    t = x - whole
    p = t
    for _ in range(2):
        p = p - (p - 0.5 * p * (1 - p) * (2 * p - 1) - t) / (1.5 - 3 * p * (1 - p))
    return whole + p


def warp(picture: Tensor, to_picture: Tensor, height: int, width: int) -> Tensor:
    """A new picture (C,height,width) whose pixel (x, y) shows `picture` at `to_picture` (2,3) of it.

    Beyond its edges the picture is mirrored. Where the new picture is coarser, the part needed is first resized
    to about its scale with antialiasing. Only that part is copied: the cost does not grow with the rest.
    """
    x, y = points(to_picture, (0, 0, width, height), picture.device)
    x, y = _mirror(x, picture.shape[-1]), _mirror(y, picture.shape[-2])
    step = max(stretch(to_picture) / HEADROOM, 1.0)
    left, right = _span(x, picture.shape[-1], step)
    top, bottom = _span(y, picture.shape[-2], step)
    part = picture[:, top:bottom, left:right]
    small = resize(part, max(round((bottom - top) / step), 1), max(round((right - left) / step), 1))
    to_small = resizing(small.shape[-1] / part.shape[-1], small.shape[-2] / part.shape[-2])
    x = (x - left) * float(to_small[0, 0]) + float(to_small[0, 2])
    y = (y - top) * float(to_small[1, 1]) + float(to_small[1, 2])
    return sample(small, x, y)


def _mirror(x: Tensor, length: int) -> Tensor:
    """Fold coordinates back into [-0.5, length - 0.5] by reflection at the edges, as often as it takes."""
    return length - 0.5 - ((x + 0.5).remainder(2 * length) - length).abs()


def _span(x: Tensor, length: int, step: float) -> tuple[int, int]:
    """The range of pixels, within [0, length), on which values at x can depend after resizing by 1/step."""
    margin = math.ceil(4 * step) + 1
    low, high = (float(v) for v in x.aminmax())
    return max(math.floor(low) - margin, 0), min(math.ceil(high) + margin + 1, length)
