"""Degrade Face draws by its seed."""

from __future__ import annotations

import torch

from tests.nodes.conftest import Run


def test_degrading_is_seeded(run: Run) -> None:
    photos = torch.rand(2, 40, 48, 3)
    once, again, other = (run("CLRFaceDegradeFace", image=photos, seed=seed).args[0] for seed in (1, 1, 2))
    assert torch.equal(once, again) and not torch.equal(once, other) and once.shape == photos.shape
