"""The second stage learns."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from clrface_core.models.irn import IRN
from clrface_core.training.data import Augmentation
from clrface_core.training.loop import TrainOptions, train

STILL = Augmentation(
    flip=0, scale=0, rotate=0, shift=0, colour=0, gamma=0, saturation=0, monochrome=0, vignette=0, occlusion=0
)


def test_irn_learns(options: Callable[..., TrainOptions], tmp_path: Path) -> None:
    # A batch is one face: in 25 steps there is nothing to learn from faces that are recoloured every time.
    overrides = ('mix={"b": 1.0}', "lr=0.005", "batch=1", f"augmentation={json.dumps(asdict(STILL))}")
    trainer = train(options("irn", steps=25, overrides=overrides))
    degraded, clean = trainer.held_out["degraded"], trainer.held_out["clean"]
    irn = trainer.average.module
    assert isinstance(irn, IRN)
    with torch.no_grad():
        restored = degraded + irn.change(degraded)
    assert (restored - clean).abs().mean() < 0.99 * (degraded - clean).abs().mean()
