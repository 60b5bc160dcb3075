"""Stages of a run, and those of a bundle to go on from, become one bundle."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clrface_core.errors import CLRFaceError
from clrface_core.models.bundle import build, save_bundle
from clrface_core.models.configs import find_config
from clrface_core.models.irn import IRN
from clrface_core.training.assemble import export, grown
from clrface_core.training.loop import TrainOptions, train
from clrface_core.training.parts import Parts


def test_a_bundle_can_be_trained_further(options: Callable[..., TrainOptions], tmp_path: Path) -> None:
    torch.manual_seed(3)
    bundle = build("tiny")
    save_bundle(tmp_path / "start.safetensors", bundle, torch.float32)
    trainer = train(options("irn", init=tmp_path / "start.safetensors", steps=1, overrides=("lr=0.0",)))
    for key, value in bundle.irn.state_dict().items():
        assert torch.equal(value, trainer.network.state_dict()[key]), key


def test_a_network_can_be_averaged_with_the_one_before(tmp_path: Path, prepare: Callable[..., None]) -> None:
    prepare(tmp_path / "run", "irn")
    torch.manual_seed(3)
    start = tmp_path / "start.safetensors"
    save_bundle(start, build("tiny"), torch.float32)
    destination = tmp_path / "end.safetensors"

    def weights(path: Path) -> dict[str, torch.Tensor]:
        return Parts.load(path).networks["irn"].state_dict()

    before, trained = weights(start), weights(tmp_path / "run" / "irn.safetensors")
    export(tmp_path / "run", destination, "tiny", init=start, shares={"irn": 0.75})
    for key, mean in weights(destination).items():
        torch.testing.assert_close(mean.float(), 0.25 * before[key] + 0.75 * trained[key], rtol=2e-3, atol=1e-3)
    with pytest.raises(CLRFaceError, match="share in"):
        export(tmp_path / "run", destination, "tiny", init=start, shares={"irn": 1.5})
    prepare(tmp_path / "whole", "vq", "irn", "refiner")
    with pytest.raises(CLRFaceError, match="to average with"):
        export(tmp_path / "whole", destination, "tiny", shares={"irn": 0.5})


def test_a_stage_can_start_anew_on_a_bundle(options: Callable[..., TrainOptions], tmp_path: Path) -> None:
    start = build("tiny")
    save_bundle(tmp_path / "start.safetensors", start, torch.float32)
    train(options("irn", init=tmp_path / "start.safetensors", fresh=True, steps=1, overrides=("lr=0.0",)))
    bundle = export(tmp_path / "run", tmp_path / "end.safetensors", "tiny", init=tmp_path / "start.safetensors")
    assert torch.equal(
        bundle.vq.state_dict()["encoder.conv_in.weight"], start.vq.state_dict()["encoder.conv_in.weight"]
    )
    assert any(not torch.equal(a, b) for a, b in zip(bundle.irn.parameters(), start.irn.parameters(), strict=True))


def test_export_without_a_trained_mask_has_none(tmp_path: Path, prepare: Callable[..., None]) -> None:
    prepare(tmp_path, "vq", "irn")
    with pytest.raises(CLRFaceError, match="refiner is missing"):
        export(tmp_path, tmp_path / "model.safetensors", "tiny")
    prepare(tmp_path, "refiner")
    assert export(tmp_path, tmp_path / "model.safetensors", "tiny").mask is None


def test_a_network_with_something_added_goes_on_from_the_one_without() -> None:
    torch.manual_seed(0)
    config = find_config("tiny").irn
    small = IRN(replace(config, unet=replace(config.unet, attention=1, identity=0, shared=False)))
    for parameter in small.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    large = grown(small, IRN(config))
    face = torch.rand(1, 3, 64, 64)
    assert large.config == config
    assert torch.equal(large(face), small(face))
    other = IRN(replace(config, patch=2))
    assert grown(small, other) is small
