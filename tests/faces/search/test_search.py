"""The search: which faces are one face, and when the picture is scanned turned."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from clrface_core.faces.detect import (
    Detector,
    NetworkDetector,
)
from clrface_core.faces.search.closeup import Detections
from clrface_core.faces.search.search import distinct, parts_of_heads, turns_worth_a_scan

Draw = Callable[..., np.ndarray]
Ground = Callable[[int, int], Tensor]


def test_a_face_seen_twice_counts_once_and_neighbours_twice() -> None:
    centre = torch.tensor([[100.0, 100.0], [110.0, 100.0], [150.0, 100.0], [100.0, 112.0]])
    extent = torch.tensor([[80.0, 100.0], [80.0, 100.0], [80.0, 100.0], [30.0, 30.0]])
    scores = torch.tensor([0.8, 0.9, 0.85, 0.95])
    seen = Detections(scores, centre, extent, torch.zeros(4), torch.zeros(4, 5, 2))
    assert distinct(seen).scores.tolist() == pytest.approx([0.95, 0.85])


def test_parts_of_a_head_are_no_faces_and_smaller_faces_around_it_are() -> None:
    # The head is turned by 90 degrees clockwise: its cap points to the right of the picture.
    head = [200.0, 200.0]
    parts = [[200.0 + 55, 200.0 + 25], [200.0 + 80, 200.0 - 20], [200.0 - 55, 200.0]]  # an eye, a badge, the chin
    others = [[200.0 + 100, 200.0], [200.0, 200.0 + 70], [200.0 - 80, 200.0]]  # behind, beside and in front of it
    centre = torch.tensor([head, *parts, *others])
    extent = torch.tensor([[80.0, 100.0], *[[30.0, 40.0]] * 6])
    angle = torch.tensor([math.pi / 2, *[0.0] * 6])
    scores = torch.linspace(0.95, 0.85, 7)
    found = Detections(scores, centre, extent, angle, torch.zeros(7, 5, 2))
    assert parts_of_heads(found).nonzero().tolist() == [[1, 0], [2, 0], [3, 0]]
    assert distinct(found).centre.tolist() == [head, *others]
    surer = Detections(scores.flip(0), centre, extent, angle, torch.zeros(7, 5, 2))
    assert len(distinct(surer)) == 7  # the smaller ones are not given up for a face that is less sure


def test_turned_scans_are_for_turned_or_missing_faces() -> None:
    upright, sideways, overhead = torch.tensor([0.3, -0.5]), torch.tensor([0.1, -1.5, 1.6]), torch.tensor([3.0])
    assert turns_worth_a_scan(upright) == []
    assert turns_worth_a_scan(sideways) == [1, 3]
    assert turns_worth_a_scan(overhead) == [2]
    assert turns_worth_a_scan(torch.zeros(0)) == [1, 2, 3]


def test_the_picture_is_scanned_once_where_faces_stand_upright(detector: Detector, draw: Draw, ground: Ground) -> None:
    assert isinstance(detector, NetworkDetector)
    shown: list[tuple[int, ...]] = []
    hook = detector.network.register_forward_pre_hook(lambda module, inputs: shown.append(tuple(inputs[0].shape[-2:])))
    picture = ground(600, 900)
    draw(picture, 400, 300, 200)
    detector.detect(picture, 0.75)
    hook.remove()
    scans = [shape for shape in shown if shape[0] != shape[1]]
    assert scans == [(600, 900), (300, 450), (150, 225), (75, 113)]
