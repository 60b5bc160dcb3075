"""The second stage learns."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from clrface_core.models.irn import IRN
from clrface_core.training.data import Augmentation
from clrface_core.training.loop import TrainOptions, train
from clrface_core.training.stages.irn import SAME_PERSON, blurred

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


def test_irn_learns_from_references_and_blind_faces_stay_blind(options: Callable[..., TrainOptions]) -> None:
    told = ('mix={"b": 1.0}', "references=0.5", "strangers=0.2", "weights.identity=0.01", "batch=8")
    trainer = train(options("irn", steps=3, overrides=told))
    batch = trainer.held_out
    assert set(batch["told"].tolist()) == {0.0, 1.0}
    assert float(batch["reference"][batch["told"] == 0].abs().max()) == 0
    network = trainer.network
    assert isinstance(network, IRN)
    assert network.unet.person is not None
    assert network.unet.middle.film_person is not None
    assert float(network.unet.middle.film_person.weight.detach().abs().max()) > 0
    stage = trainer.stage
    with torch.no_grad():
        restored = stage._restore(network, batch, torch.Generator().manual_seed(0))  # type: ignore[attr-defined]
        blind = batch["degraded"] + network.change(batch["degraded"])
    same = (restored - blind).abs().flatten(1).amax(1) == 0
    assert same.tolist() == (batch["told"] == 0).tolist()


def test_blurred_embeddings_stay_near_their_person() -> None:
    known = torch.nn.functional.normalize(torch.randn(500, 128), dim=1)
    cosine = (blurred(known, torch.Generator().manual_seed(0)) * known).sum(1)
    assert SAME_PERSON - 1e-3 < float(cosine.min()) < SAME_PERSON + 0.01
    assert float(cosine.max()) > 0.99
