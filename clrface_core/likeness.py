"""Likeness: restored faces drawn towards the people in their references, in their pictures and not in the latents.

    y(c) = x + up(m tanh(c / m)),    c <- c - s d / |g|^2 g,    d = 1 - cos(embed(y(c)), target),    g = grad_c d

The change is a coarse grey picture of at most m, enlarged bilinearly, so that it is shape and shading and never grain,
a tint or a mark. It is Polyak's step, as in identity guidance, and costs one pass through the recognition network and
back, none through the decoder.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from torch import Tensor

from .diffusion.guidance import IdentityGuidance

COARSE = 8
"""Pixels of a face along each side of one of the change."""

LARGEST_CHANGE = 0.03
"""Of the brightness of any pixel, in [0,1]. Without it, and free in colour, faces got yellow and purple blotches, for
no more likeness (docs/research-notes.md)."""

LARGEST_MOVE = 1.0
"""Strength of one move: Polyak's step. Larger scales are done in several, which overshoots less."""


def draw_towards(faces: Tensor, targets: Tensor, embed: Callable[[Tensor], Tensor], scale: float) -> Tensor:
    """Faces (B,3,S,S) float32 in [0,1], drawn towards who `targets` (B,D) are; S is at least 64.

    embed: faces to embeddings (B,D), differentiable, of the kind of the targets. scale: strength, finite and at least
    0; 1 would arrive if the network were linear, 2 is usual.
    """
    seen = F.avg_pool2d(faces, 2)  # a recognition network looks at 112 px
    change = faces.new_zeros(len(faces), 1, *(side // COARSE for side in faces.shape[2:]))
    moves = math.ceil(scale / LARGEST_MOVE)
    for _ in range(moves):
        guidance = IdentityGuidance(partial(_changed, seen), embed, targets.to(faces), scale / moves)
        change = guidance(change, faces.new_ones(len(faces)))
    return _changed(faces, change).clamp(0, 1)


def _changed(faces: Tensor, change: Tensor) -> Tensor:
    bounded = LARGEST_CHANGE * (change / LARGEST_CHANGE).tanh()
    return faces + F.interpolate(bounded, size=faces.shape[2:], mode="bilinear", align_corners=False)
