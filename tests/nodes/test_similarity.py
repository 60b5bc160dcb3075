"""Face Similarity says a cosine and what it means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.nodes.conftest import Run


def test_similarity(run: Run, model: Any, part: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    class Grey(torch.nn.Module):
        """Alike where the colours are alike."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, faces: Tensor) -> Tensor:
            return torch.nn.functional.normalize(faces.mean((2, 3)) * self.weight)

    monkeypatch.setattr(part("nodes.similarity"), "identity_network", Grey)
    faces = torch.zeros(2, 64, 64, 3)
    faces[0, ..., 0], faces[1, ..., 1] = 1, 1
    cosines, text = run("CLRFaceFaceSimilarity", faces=faces, reference=faces[:1]).args
    assert cosines == pytest.approx([1.0, 0.0], abs=1e-5)
    assert text.splitlines()[0] == "face 0: 1.000, the same person, clearly" and "not recognisable" in text
