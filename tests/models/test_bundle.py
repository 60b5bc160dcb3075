"""A bundle file holds what was saved, says what it holds, and names what is wrong with it."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from clrface_core.errors import CLRFaceError
from clrface_core.models.bundle import (
    Bundle,
    build,
    config_from_dict,
    load_bundle,
    read_header,
    save_bundle,
)
from clrface_core.models.configs import CONFIGS
from clrface_core.models.irn import IRN, IRNConfig
from clrface_core.models.unet import UNetConfig


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    bundle = build("tiny")
    bundle.notes = {"steps": 3}
    save_bundle(tmp_path / "m.safetensors", bundle, torch.float32)
    return tmp_path / "m.safetensors"


def rewrite(path: Path, change) -> Path:
    """The same file after `change(tensors, metadata)`."""
    with safe_open(path, "pt") as file:
        metadata = dict(file.metadata())
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    change(tensors, metadata)
    save_file(tensors, path, metadata)
    return path


def test_round_trip_keeps_every_number(saved: Path) -> None:
    torch.manual_seed(0)
    original, loaded = build("tiny"), load_bundle(saved)
    assert (loaded.name, loaded.notes) == ("tiny", {"steps": 3})
    for name, network in original.networks().items():
        restored = loaded.networks()[name]
        assert restored.config == network.config and not restored.training
        for key, value in network.state_dict().items():
            assert torch.equal(value, restored.state_dict()[key]), f"{name}.{key}"


def test_odd_hyper_parameters_survive(tmp_path: Path) -> None:
    config = IRNConfig(UNetConfig((12, 24, 36), (2, 1, 3), norm_groups=3, head_channels=9), patch=2, reduce=1)
    save_bundle(tmp_path / "odd.safetensors", Bundle(irn=IRN(config)))
    loaded = load_bundle(tmp_path / "odd.safetensors", require=("irn",))
    assert loaded.irn is not None and loaded.irn.config == config
    assert list(loaded.networks()) == ["irn"]


def test_half_precision_keeps_the_codebook_exact(tmp_path: Path) -> None:
    bundle = build("tiny")
    save_bundle(tmp_path / "m.safetensors", bundle)
    loaded = load_bundle(tmp_path / "m.safetensors", dtype=torch.bfloat16)
    assert loaded.vq is not None and bundle.vq is not None
    assert torch.equal(loaded.vq.quantize.embedding.weight, bundle.vq.quantize.embedding.weight)
    assert loaded.vq.decoder.conv_in.weight.dtype == torch.bfloat16


def test_keys_carry_their_networks_prefix(saved: Path) -> None:
    with safe_open(saved, "pt") as file:
        prefixes = {key.split(".")[0] for key in file.keys()}  # noqa: SIM118
    assert prefixes == {"vq", "irn", "refiner", "mask"}
    assert read_header(saved)["vq"]["ch_mult"] == [1, 1, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, m: t.pop("irn.unet.conv_in.bias"), "irn.unet.conv_in.bias is missing"),
        (lambda t, m: t.update({"vq.extra": torch.zeros(1)}), "vq.extra does not belong"),
        (
            lambda t, m: t.update({"vq.quant_conv.bias": torch.zeros(7)}),
            r"vq.quant_conv.bias of shape \(3,\).*got \(7,\)",
        ),
        (lambda t, m: m.update(format="other"), "another kind of safetensors"),
        (lambda t, m: m.update(version="9"), "update CLR-Face"),
        (lambda t, m: m.pop("refiner"), "refiner is not there"),
        (lambda t, m: m.update(mask='{"colour": 3}'), "'colour'"),
    ],
)
def test_what_is_wrong_is_named(saved: Path, change, message: str) -> None:
    with pytest.raises(CLRFaceError, match=message):
        load_bundle(rewrite(saved, change))


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(CLRFaceError, match=r"none\.safetensors"):
        load_bundle(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("no tensors here")
    with pytest.raises(CLRFaceError, match="could not read it"):
        load_bundle(tmp_path / "text.safetensors")
    with pytest.raises(CLRFaceError, match="s, base, tiny"):
        build("huge")


def test_failed_save_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("clrface_core.models.bundle.save_file", full)
    with pytest.raises(OSError, match="disk full"):
        save_bundle(tmp_path / "m.safetensors", build("tiny"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", list(CONFIGS))
def test_named_configs_survive_json(name: str) -> None:
    import dataclasses
    import json

    for kind in ("vq", "irn", "refiner", "mask"):
        config = getattr(CONFIGS[name], kind)
        assert config_from_dict(type(config), json.loads(json.dumps(dataclasses.asdict(config)))) == config
