"""Previews are small, and faces are cut at their own size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def test_previews_are_small_and_faces_are_cut_at_their_own_size(part: Callable[[str], Any]) -> None:
    previews, face_module = part("nodes.previews"), part("clrface_core.faces.detect")
    large = torch.rand(3, 2000, 3000)
    assert previews.small(large).shape == (3, 1154, 1732) and previews.small(large[:, :10, :10]).shape == (3, 10, 10)
    face = face_module.Face((100.0, 200.0, 200.0, 320.0), 0.9, torch.zeros(5, 2).numpy())
    half = previews.scaled(face, 0.5)
    assert half.box == (50.0, 100.0, 100.0, 160.0)
    assert previews.around(face, 2000, 3000) == (slice(152, 368), slice(60, 240))
    for box in ((-9.0, -9.0, 5.0, 5.0), (2990.0, 1990.0, 3100.0, 2100.0), (4000.0, 3000.0, 4001.0, 3001.0)):
        rows, columns = previews.around(face_module.Face(box, 0.9, torch.zeros(5, 2).numpy()), 2000, 3000)
        assert large[:, rows, columns].numel()
