"""The fourth stage learns through guidance, and the run becomes a bundle."""

from collections.abc import Callable
from pathlib import Path

import torch

from clrface_core.models.bundle import load_bundle
from clrface_core.models.mask import MaskHead
from clrface_core.training.assemble import export
from clrface_core.training.loop import TrainOptions, train
from clrface_core.training.parts import Parts


def test_mask_learns_through_guidance_and_the_run_exports(
    options: Callable[..., TrainOptions], tmp_path: Path, prepare: Callable[..., None]
) -> None:
    prepare(tmp_path / "run", "vq", "irn", "refiner")
    trainer = train(options("mask", steps=3))
    assert isinstance(trainer.network, MaskHead)
    assert trainer.network.logits.weight.abs().sum() > 0  # it started at zero
    frozen = Parts.load(tmp_path / "run" / "vq.safetensors").networks["vq"]
    assert all(torch.equal(a, b) for a, b in zip(frozen.parameters(), trainer.bundle.vq.parameters(), strict=True))
    bundle = export(tmp_path / "run", tmp_path / "model.safetensors", "tiny", {"data": "three pictures"})
    loaded = load_bundle(tmp_path / "model.safetensors")
    assert list(loaded.networks()) == list(bundle.networks()) == ["vq", "irn", "refiner", "mask"]
    assert loaded.notes == {"data": "three pictures"}
