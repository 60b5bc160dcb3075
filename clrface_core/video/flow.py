"""How the content of aligned crops moves from picture to picture: a look, a blink, and what alignment left."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CLRFaceError

SIDE = 128
"""Of the reduced crops in which movement is measured: noise hardly shows in them."""


def flow(former: Tensor, later: Tensor) -> Tensor:
    """Where each pixel of a later crop (3,S,S) was in a former one: offsets (2,SIDE,SIDE), x and y, in reduced pixels.

    By dense inverse search (Kroeger et al., ECCV 2016). Zero where nothing moved.
    """
    try:
        import cv2
    except ImportError as error:
        raise CLRFaceError(
            "Expected OpenCV, which facexlib brings along, got none: pip install opencv-python-headless."
        ) from error
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    offsets = search.calc(_reduced(later), _reduced(former), np.zeros((SIDE, SIDE, 2), np.float32))
    return torch.from_numpy(np.asarray(offsets)).movedim(-1, 0).to(later.device)


def _reduced(crop: Tensor) -> np.ndarray:
    small = F.interpolate(crop[None].float(), (SIDE, SIDE), mode="area")[0].mean(0)
    return (small.clamp(0, 1) * 255).round().byte().cpu().numpy()


def moved_by(picture: Tensor, offsets: Tensor) -> Tensor:
    """A picture (C,S,S), each pixel taken from where `offsets` (2,h,w) say that it was; bicubic, edges extended."""
    side, grid = picture.shape[-1], _places(offsets, picture.shape[-1])
    moved = F.grid_sample(picture[None], (2 * grid + 1)[None] / side - 1, "bicubic", "border", align_corners=False)
    return moved[0]


def _places(offsets: Tensor, side: int) -> Tensor:
    """Offsets as places (side,side,2) in pixels of a picture with this side."""
    fine = F.interpolate(offsets[None], (side, side), mode="bilinear", align_corners=False)[0]
    x = torch.arange(side, device=offsets.device, dtype=torch.float32)
    return torch.stack(
        [x + fine[0] * (side / offsets.shape[-1]), x[:, None] + fine[1] * (side / offsets.shape[-1])], -1
    )


def chained(first: Tensor, then: Tensor) -> Tensor:
    """Offsets from a picture to the one before the last: by `first` to the last, and on from there by `then`."""
    side, grid = first.shape[-1], _places(first, first.shape[-1])
    further = F.grid_sample(then[None], (2 * grid + 1)[None] / side - 1, "bilinear", "border", align_corners=False)
    return first + further[0]
