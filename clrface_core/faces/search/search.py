"""Find faces of any size, sharpness and rotation with a network that knows sharp upright ones best.

1. Scan the picture at every scale from its own down to 128 px, in tiles, with a low threshold: candidates. A face
   is found where it is some 30 to 100 px large; there a blurred one is sharp again, and one on its side still shows.
2. Detect again in close-up views of each candidate, turned to every side: most turn out to be nothing, the others
   get their rotation, points and score (`closeup`).
3. Small faces on their side escape the upright scan. If the faces found are turned, scan the picture turned so as
   well; if none was found, scan it turned each way, up to 1024 px. A photo with upright faces skips this step.
"""

import math

import torch
from torch import Tensor

from .closeup import Detections, detect_in_boxes
from .scan import TILE, FaceNetwork, Level, pyramid, scan

CANDIDATE = 0.2
"""Lowest score of a candidate in the upright scan, which must also notice turned faces."""

TURNED_CANDIDATE = 0.5
"""Lowest score of a candidate in a turned scan, which is for faces upright in it."""

OVERLAP = 0.35
"""Of candidates that overlap by more than this (intersection over union) only the surest is viewed."""

APART = 0.4
"""The centres of two faces are at least this far apart, in sizes of the larger one; else it is one face found twice."""

PART = 0.7
"""What is a part of a head is at most so large, in sizes of its face."""

TOP, CHIN, EAR = -1.75, 1.2, 1.2
"""A head, from the top of a cap to the chin and as wide as its ears: in halves of its face's height below and width
beside the middle. The face of somebody behind begins above, that of somebody in front is lower."""

MOST = 500
"""Candidates viewed per scan, the surest first: it bounds the time on noise, in which there may be thousands."""


def search(network: FaceNetwork, image: Tensor, threshold: float) -> Detections:
    """The faces of a picture (3,H,W) float32 whose score is at least `threshold`, the surest first."""
    levels = pyramid(image)
    found = _search(network, levels, threshold, 0)
    for turn in turns_worth_a_scan(found.angle):
        further = levels if len(found) else [level for level in levels if max(level.pixels.shape[-2:]) <= TILE]
        found = distinct(Detections.cat([found, _search(network, further, threshold, turn)]))
    return found


def _search(network: FaceNetwork, levels: list[Level], threshold: float, turn: int) -> Detections:
    """The faces of a picture shown turned by so many quarter turns."""
    boxes, _ = scan(network, levels, TURNED_CANDIDATE if turn else CANDIDATE, OVERLAP, MOST, turn)
    found = detect_in_boxes(network, levels, boxes)
    return distinct(found[found.scores >= threshold])


def distinct(found: Detections) -> Detections:
    """The faces without those that are a surer one found again, or a part of its head, the surest first.

    It goes by centres and not by boxes: faces side by side may overlap much, one face found at two scales little.
    """
    found = found[found.scores.argsort(descending=True, stable=True)]
    size = found.pose().size
    near = torch.cdist(found.centre, found.centre) < APART * torch.maximum(size[:, None], size)
    same = (near | parts_of_heads(found)).tolist()
    kept: list[int] = []
    for i, row in enumerate(same):
        if not any(row[j] for j in kept):
            kept.append(i)
    return found[torch.tensor(kept, dtype=torch.long, device=size.device)]


def parts_of_heads(found: Detections) -> Tensor:
    """(N,N) whether face i is so much smaller than face j, and so placed, that it can only be a part of j's head.

    In enlarged photos networks take an eye, a chin or the badge of a cap for a face. Their points fit the template as
    well as those of many real faces, so only the place tells.
    """
    size, half = found.pose().size, found.extent / 2
    across, down = (found.centre[:, None] - found.centre).unbind(-1)
    cos, sin = found.angle.cos(), found.angle.sin()
    u, v = (across * cos + down * sin) / half[:, 0], (down * cos - across * sin) / half[:, 1]
    return (size[:, None] < PART * size) & (u.abs() < EAR) & (v > TOP) & (v < CHIN)


def turns_worth_a_scan(angles: Tensor) -> list[int]:
    """Quarter turns, counter-clockwise, in which faces at these angles (N,) are upright, 0 left out; all if N = 0."""
    if not len(angles):
        return [1, 2, 3]
    return sorted({round(angle / (math.pi / 2)) % 4 for angle in angles.tolist()} - {0})
