"""Show a picture to a face network at every scale, tile by tile: where might a face be?

Coordinates are pixels of the picture; the centre of the first pixel is (0, 0).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

FaceNetwork = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
"""(B,3,H,W) RGB in [0,1] -> boxes (B,N,4) x0 y0 x1 y1, scores (B,N) in [0,1], landmarks (B,N,5,2), all in pixels."""

TILE = 1024
"""Side in pixels of the largest piece shown at once: it bounds the memory for a picture of any size."""

OVERLAP = 96
"""Pixels that neighbouring tiles share. A face that both cut is whole at a coarser scale."""

COARSEST = 128
"""The scales end where the picture's longer side is at most this: a face that fills the frame is found there,
and so is a blurred one, since making it small makes it sharp."""

ENLARGED = 512
"""Pictures of at most this longer side are also shown at twice their size, for their smallest faces."""


@dataclass(frozen=True)
class Level:
    """A picture at one scale: pixels (1,3,H,W), each `scale` pixels of the original wide."""

    pixels: Tensor
    scale: float

    def to_picture(self, points: Tensor) -> Tensor:
        """Points (...,2) of this level as points of the original."""
        return (points + 0.5) * self.scale - 0.5


def pyramid(image: Tensor) -> list[Level]:
    """The levels of a picture (3,H,W), finest first, each half as large as the one before."""
    levels = [Level(image[None], 1.0)]
    while max(levels[-1].pixels.shape[-2:]) > COARSEST:
        levels.append(Level(_halved(levels[-1].pixels), 2 * levels[-1].scale))
    if max(image.shape[-2:]) <= ENLARGED:
        enlarged = F.interpolate(image[None], scale_factor=2.0, mode="bilinear", align_corners=False)
        levels.insert(0, Level(enlarged, 0.5))
    return levels


def _halved(pixels: Tensor) -> Tensor:
    """Pixels (1,3,H,W) averaged in squares of two, the last row and column doubled where their number is odd.

    TILE rows at a time: PyTorch makes copies on the way, which a large photo has no room for.
    """
    height, width = pixels.shape[-2:]
    half = pixels.new_empty(1, 3, (height + 1) // 2, (width + 1) // 2)
    for top in range(0, height, TILE):
        rows = pixels[..., top : top + TILE, :]
        odd = rows.shape[-2] % 2, width % 2
        even = F.pad(rows, (0, odd[1], 0, odd[0]), mode="replicate") if any(odd) else rows
        half[..., top // 2 : (top + TILE) // 2, :] = F.avg_pool2d(even, 2)
    return half


def scan(
    network: FaceNetwork, levels: list[Level], threshold: float, overlap: float, most: int, turn: int = 0
) -> tuple[Tensor, Tensor]:
    """Boxes (N,4) and scores (N,) above `threshold`, the best of each group that overlaps by more than `overlap`;
    no more than `most`, the surest first.

    turn: the picture is shown turned by so many quarter turns, counter-clockwise.
    """
    parts = [_scan_level(network, level, threshold, turn) for level in levels]
    boxes, scores = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
    keep = apart(boxes, scores, overlap, most)
    return boxes[keep], scores[keep]


def apart(boxes: Tensor, scores: Tensor, overlap: float, most: int) -> Tensor:
    """Indices of the surest boxes (N,4), at most `most`, none of which overlaps a surer one by more than `overlap`.

    torchvision has this too, but to import that takes longer than to restore a face.
    """
    left = scores.argsort(descending=True, stable=True)
    kept: list[Tensor] = []
    while len(left) and len(kept) < most:
        best, left = left[0], left[1:]
        kept.append(best)
        left = left[intersection_over_union(boxes[best], boxes[left]) <= overlap]
    return torch.stack(kept) if kept else left


def intersection_over_union(box: Tensor, others: Tensor) -> Tensor:
    """(N,) in [0,1]: what one box (4,) shares with each of the others (N,4)."""
    shared = (torch.minimum(box[2:], others[:, 2:]) - torch.maximum(box[:2], others[:, :2])).clamp(min=0).prod(-1)
    areas = (others[:, 2:] - others[:, :2]).prod(-1)
    return shared / ((box[2:] - box[:2]).prod() + areas - shared)


def _scan_level(network: FaceNetwork, level: Level, threshold: float, turn: int) -> tuple[Tensor, Tensor]:
    found_boxes, found_scores = [], []
    for x, y, tile in tiles(level.pixels):
        boxes, scores, _ = (output[0] for output in network(torch.rot90(tile, turn, (-2, -1))))
        keep = scores > threshold
        corners = boxes[keep].unflatten(-1, (2, 2))
        corners = _turn_back(corners, turn, *tile.shape[-2:]) + corners.new_tensor([x, y])
        found_boxes.append(level.to_picture(corners).flatten(-2))
        found_scores.append(scores[keep])
    return torch.cat(found_boxes), torch.cat(found_scores)


def tiles(pixels: Tensor) -> Iterator[tuple[int, int, Tensor]]:
    """Overlapping pieces that cover pixels (1,3,H,W), with the x and y of their first pixel."""
    for top, bottom in _spans(pixels.shape[-2]):
        for left, right in _spans(pixels.shape[-1]):
            yield left, top, pixels[..., top:bottom, left:right]


def _spans(length: int) -> list[tuple[int, int]]:
    """As few stretches as cover `length`, equally long, none longer than TILE."""
    count = max(1, math.ceil((length - OVERLAP) / (TILE - OVERLAP)))
    span = math.ceil((length + (count - 1) * OVERLAP) / count)
    starts = [round(i * (length - span) / max(1, count - 1)) for i in range(count)]
    return [(start, start + span) for start in starts]


def _turn_back(corners: Tensor, turn: int, height: int, width: int) -> Tensor:
    """Corners (N,2,2) of boxes in a tile turned by `turn` as those in the tile of this height and width."""
    x, y = corners.unbind(-1)
    back = {0: (x, y), 1: (width - 1 - y, x), 2: (width - 1 - x, height - 1 - y), 3: (y, height - 1 - x)}
    turned = torch.stack(back[turn % 4], -1)
    return torch.stack([turned.amin(1), turned.amax(1)], 1)
