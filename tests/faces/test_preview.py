"""Every face of a preview has its box and, beside it, a number that can be read."""

from __future__ import annotations

import numpy as np
import torch

from clrface_core.faces.detect import Face
from clrface_core.faces.preview import COLOUR, numbered


def drawn(*boxes: tuple[float, float, float, float]) -> torch.Tensor:
    """Where a preview of grey paper is not grey any more: (H,W)."""
    faces = [Face(box, 0.9, np.zeros((5, 2), np.float32)) for box in boxes]
    picture = numbered(torch.full((3, 300, 400), 0.5), faces, range(len(faces)))
    assert picture.shape == (3, 300, 400) and picture.dtype == torch.float32
    return (picture - 128 / 255).abs().amax(0) > 0.01


def test_the_number_stands_above_the_box_and_leaves_the_face_free() -> None:
    changed = drawn((100, 100, 160, 180))
    assert changed[100, 100:160].all() and changed[100:180, 160].all()
    assert not changed[105:175, 105:155].any() and changed[80:98, 100:112].any()


def test_a_number_without_room_above_stays_in_the_picture() -> None:
    for box in ((0.0, 0.0, 60.0, 70.0), (-20.0, -10.0, 40.0, 60.0), (370.0, 2.0, 410.0, 50.0)):
        x, y = int(min(max(box[0], 0), 380)), int(max(box[1], 0))
        label = drawn(box)[y : y + 20, x : x + 20]
        assert label.float().mean() > 0.5


def test_numbers_differ_and_no_face_changes_nothing() -> None:
    faces = [Face((20.0, 60.0, 80.0, 120.0), 0.9, np.zeros((5, 2), np.float32))]
    paper = torch.full((3, 300, 400), 0.5)
    assert not torch.equal(numbered(paper, faces, [0]), numbered(paper, faces, [7]))
    yellow = torch.tensor(COLOUR).view(3, 1, 1) / 255
    assert ((numbered(paper, faces, [7]) - yellow).abs().amax(0) < 0.01).sum() > 100
    assert torch.allclose(numbered(paper, [], []), paper, atol=1 / 255)
