"""The scan: levels, tiles, turns, and which boxes are kept, with a network that sees what the test says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from clrface_core.faces.search import scan
from clrface_core.faces.search.scan import Level, pyramid, tiles


class Bright(nn.Module):
    """Finds a face of 9 x 5 px, or of 5 x 9 px in a picture that is higher than wide, around every bright pixel."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ys, xs = torch.nonzero(images[0, 0] > 0.5, as_tuple=True)
        centre = torch.stack([xs, ys], -1).float()[None]
        half = torch.tensor([4.5, 2.5] if images.shape[-1] > images.shape[-2] else [2.5, 4.5])
        boxes = torch.cat([centre - half, centre + half], -1)
        return boxes, torch.full(centre.shape[:2], 0.9), centre[:, :, None].expand(-1, -1, 5, -1)


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_a_turned_scan_reports_boxes_of_the_unturned_picture(turn: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "TILE", 64)
    monkeypatch.setattr(scan, "OVERLAP", 16)
    picture = torch.zeros(1, 3, 40, 100)
    picture[..., 11, 93] = 1
    boxes, scores = scan.scan(Bright(), [Level(picture, 1.0)], 0.5, 0.4, 500, turn)
    assert scores.tolist() == pytest.approx([0.9])
    assert boxes[0].tolist() == [93 - 4.5, 11 - 2.5, 93 + 4.5, 11 + 2.5]


def test_levels_know_where_their_pixels_lie() -> None:
    # On a ramp the value of a pixel is its place, at every scale.
    rows, columns = torch.meshgrid(torch.arange(301.0), torch.arange(517.0), indexing="ij")
    levels = pyramid(torch.stack([columns, rows, columns]))
    assert max(levels[-1].pixels.shape[-2:]) <= scan.COARSEST < max(levels[-2].pixels.shape[-2:])
    for level in levels:
        seen = level.pixels[0, :2, 5, 9]
        assert level.to_picture(torch.tensor([9.0, 5.0])).tolist() == pytest.approx(seen.tolist(), abs=1e-3)


def test_small_pictures_are_also_searched_enlarged() -> None:
    assert [level.scale for level in pyramid(torch.zeros(3, 200, 300))] == [0.5, 1, 2, 4]


@pytest.mark.parametrize("height, width", [(4000, 6000), (1, 1), (1024, 1025), (3, 5000)])
def test_tiles_cover_the_picture_overlap_and_are_small(height: int, width: int) -> None:
    pixels = torch.zeros(1).expand(1, 3, height, width)
    covered = np.zeros((height, width), bool)
    shown = 0
    for x, y, tile in tiles(pixels):
        assert max(tile.shape[-2:]) <= scan.TILE
        assert x == 0 or covered[y, x : x + scan.OVERLAP].all()
        assert y == 0 or covered[y : y + scan.OVERLAP, x].all()
        covered[y : y + tile.shape[-2], x : x + tile.shape[-1]] = True
        shown += tile.shape[-2] * tile.shape[-1]
    assert covered.all()
    assert shown < 1.3 * height * width


def test_boxes_apart_are_the_surest_of_those_that_overlap() -> None:
    torch.manual_seed(0)
    corners = torch.rand(300, 2) * 100
    boxes, scores = torch.cat([corners, corners + 5 + 20 * torch.rand(300, 2)], 1), torch.rand(300)
    kept = scan.apart(boxes, scores, 0.35, 300)
    shared = torch.stack([scan.intersection_over_union(box, boxes) for box in boxes])
    assert torch.allclose(shared.diagonal(), torch.ones(300))
    assert torch.equal(scores[kept], scores[kept].sort(descending=True).values)
    assert (shared[kept][:, kept].fill_diagonal_(0) <= 0.35).all()
    surer = scores[kept][:, None] > scores
    left_out = torch.ones(300, dtype=torch.bool).index_fill(0, kept, False)
    assert 0 < left_out.sum() < 299 and ((shared[kept] > 0.35) & surer).any(0)[left_out].all()
    assert torch.equal(scan.apart(boxes, scores, 0.35, 7), kept[:7])
    assert len(scan.apart(boxes[:0], scores[:0], 0.35, 7)) == 0


def test_overlap_of_two_boxes() -> None:
    box = torch.tensor([0.0, 0.0, 4.0, 2.0])
    others = torch.tensor([[2.0, 0.0, 6.0, 2.0], [5.0, 0.0, 6.0, 2.0], [0.0, 0.0, 4.0, 2.0]])
    assert scan.intersection_over_union(box, others).tolist() == pytest.approx([1 / 3, 0, 1])
