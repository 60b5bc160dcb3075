"""Find faces of any size, sharpness and rotation with a network that knows sharp upright ones best.

1. Scan the picture at every scale from its own down to 128 px, in tiles, with a low threshold: candidates. A face
   is found where it is some 30 to 100 px large; there a blurred one is sharp again, and one on its side still shows.
2. Examine each candidate in close-up views turned to every side: most turn out to be nothing, the others get their
   rotation, points and score (`closeup`).
3. Small faces on their side escape the upright scan. If the faces found are turned, scan the picture turned so as
   well; if none was found, scan it turned each way, up to 1024 px. A photo with upright faces skips this step.
"""

import math

import torch
from torch import Tensor

from .closeup import Sight, examine
from .scan import TILE, FaceNetwork, Level, pyramid, scan

CANDIDATE = 0.2
"""Lowest score of a candidate in the upright scan, which must also notice turned faces."""

TURNED_CANDIDATE = 0.5
"""Lowest score of a candidate in a turned scan, which is for faces upright in it."""

OVERLAP = 0.35
"""Of candidates that overlap by more than this (intersection over union) only the surest is examined."""

APART = 0.4
"""The centres of two faces are at least this far apart, in sizes of the larger one; else it is one face seen twice."""

MOST = 500
"""Candidates examined per scan, the surest first: it bounds the time on noise, in which there may be thousands."""


def search(network: FaceNetwork, image: Tensor, threshold: float) -> Sight:
    """The faces of a picture (3,H,W) float32 whose score is at least `threshold`, the surest first."""
    levels = pyramid(image)
    seen = _search(network, levels, threshold, 0)
    for turn in turns_worth_a_scan(seen.angle):
        further = levels if len(seen) else [level for level in levels if max(level.pixels.shape[-2:]) <= TILE]
        seen = distinct(Sight.cat([seen, _search(network, further, threshold, turn)]))
    return seen


def _search(network: FaceNetwork, levels: list[Level], threshold: float, turn: int) -> Sight:
    """The faces of a picture shown turned by so many quarter turns."""
    boxes, _ = scan(network, levels, TURNED_CANDIDATE if turn else CANDIDATE, OVERLAP, MOST, turn)
    seen = examine(network, levels, boxes)
    return distinct(seen[seen.scores >= threshold])


def distinct(seen: Sight) -> Sight:
    """The faces without those that are a surer one seen again, the surest first.

    It goes by centres and not by boxes: faces side by side may overlap much, one face seen at two scales little.
    """
    seen = seen[seen.scores.argsort(descending=True, stable=True)]
    size = seen.pose().size
    near = torch.cdist(seen.centre, seen.centre) < APART * torch.maximum(size[:, None], size)
    kept: list[int] = []
    for i, row in enumerate(near.tolist()):
        if not any(row[j] for j in kept):
            kept.append(i)
    return seen[torch.tensor(kept, dtype=torch.long, device=size.device)]


def turns_worth_a_scan(angles: Tensor) -> list[int]:
    """Quarter turns, counter-clockwise, in which faces at these angles (N,) are upright, 0 left out; all if N = 0."""
    if not len(angles):
        return [1, 2, 3]
    return sorted({round(angle / (math.pi / 2)) % 4 for angle in angles.tolist()} - {0})
