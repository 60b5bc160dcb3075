"""The first stage learns, uses its codebook, and its parts can be trained alone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from clrface_core.models.bundle import build, save_bundle
from clrface_core.training.loop import TrainOptions, train
from clrface_core.training.parts import Parts


def test_vq_learns_and_uses_its_codebook(
    options: Callable[..., TrainOptions], tmp_path: Path, losses_of: Callable[..., list[dict]]
) -> None:
    trainer = train(options("vq", overrides=("weights.gan=0.0",)))
    rows = losses_of(tmp_path / "run", "vq")
    assert np.mean([row["l1"] for row in rows[-5:]]) < 0.7 * rows[0]["l1"]
    assert any(row.get("codebook_use", 0) > 0.3 for row in rows)
    assert (trainer.folder / "samples-000040.png").is_file()
    exported = Parts.load(tmp_path / "run" / "vq.safetensors").networks["vq"]
    z = exported.encode(trainer.held_out["clean"])
    assert z.mean((0, 2, 3)).abs().max() < 1e-3 and abs(float(z.std()) - 1) < 0.05


def test_vq_discriminator_joins_after_the_warm_up(
    options: Callable[..., TrainOptions], tmp_path: Path, losses_of: Callable[..., list[dict]]
) -> None:
    train(options("vq", steps=8))
    rows = losses_of(tmp_path / "run", "vq")
    assert [("gan" in row, "discriminator" in row) for row in rows] == [(False, False)] * 5 + [(True, True)] * 3


def test_a_decoder_alone_can_be_trained_on(options: Callable[..., TrainOptions], tmp_path: Path) -> None:
    start = build("tiny")
    save_bundle(tmp_path / "start.safetensors", start, torch.float32)
    overrides = ('only=["decoder"]', "quantise_from=0", "restart_until=0")
    train(options("vq", init=tmp_path / "start.safetensors", steps=3, overrides=overrides))
    trained = Parts.load(tmp_path / "run" / "vq.safetensors").networks["vq"]
    before, after = start.vq.state_dict(), trained.state_dict()
    changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"decoder"}
