"""A bundle is complete, fits together, and comes out of its file as it went in."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from clrface_core.errors import CLRFaceError
from clrface_core.models.bundle import Bundle, build, load_bundle, save_bundle
from clrface_core.models.file import read_header, write_networks
from clrface_core.models.mask import MaskConfig, MaskHead


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    bundle = build("tiny")
    bundle.notes = {"steps": 3}
    save_bundle(tmp_path / "m.safetensors", bundle, torch.float32)
    return tmp_path / "m.safetensors"


def test_round_trip_keeps_every_number(saved: Path) -> None:
    torch.manual_seed(0)
    original, loaded = build("tiny"), load_bundle(saved)
    assert (loaded.name, loaded.notes, loaded.size) == ("tiny", {"steps": 3}, 64)
    for name, network in original.networks().items():
        restored = loaded.networks()[name]
        assert restored.config == network.config
        for key, value in network.state_dict().items():
            assert torch.equal(value, restored.state_dict()[key]), f"{name}.{key}"


def test_what_is_built_and_what_is_loaded_is_ready_to_run(saved: Path) -> None:
    for bundle in (build("tiny"), load_bundle(saved)):
        for network in bundle.networks().values():
            assert not network.training and not any(weight.requires_grad for weight in network.parameters())


def test_a_file_without_a_size_is_for_512_px(tmp_path: Path) -> None:
    """Files of before the header said so."""
    bundle = build("tiny")
    bundle.size = 512
    save_bundle(tmp_path / "m.safetensors", bundle)
    from safetensors.torch import save_file

    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        metadata = {key: value for key, value in file.metadata().items() if key != "size"}
        save_file({key: file.get_tensor(key) for key in file.keys()}, tmp_path / "old.safetensors", metadata)  # noqa: SIM118
    assert load_bundle(tmp_path / "old.safetensors").size == 512


def test_half_precision_keeps_the_codebook_exact(tmp_path: Path) -> None:
    bundle = build("tiny")
    save_bundle(tmp_path / "m.safetensors", bundle)
    loaded = load_bundle(tmp_path / "m.safetensors", dtype=torch.bfloat16)
    assert torch.equal(loaded.vq.quantize.embedding.weight, bundle.vq.quantize.embedding.weight)
    assert loaded.vq.decoder.conv_in.weight.dtype == torch.bfloat16


def test_keys_carry_their_networks_prefix(saved: Path) -> None:
    with safe_open(saved, "pt") as file:
        prefixes = {key.split(".")[0] for key in file.keys()}  # noqa: SIM118
    assert prefixes == {"vq", "irn", "refiner", "mask"}
    assert read_header(saved).configs["vq"].ch_mult == (1, 1, 1)


@pytest.mark.parametrize("absent", ["vq", "irn", "refiner"])
def test_a_bundle_without_a_network_names_it(tmp_path: Path, absent: str) -> None:
    networks = {name: network for name, network in build("tiny").networks().items() if name != absent}
    write_networks(tmp_path / "m.safetensors", networks, name="part", notes={}, size=64, dtype=torch.float32)
    with pytest.raises(CLRFaceError, match=f"but {absent} is missing"):
        load_bundle(tmp_path / "m.safetensors")


def test_a_bundle_may_have_no_mask(tmp_path: Path) -> None:
    whole = build("tiny")
    save_bundle(tmp_path / "m.safetensors", Bundle(whole.vq, whole.irn, whole.refiner, size=64))
    assert load_bundle(tmp_path / "m.safetensors").mask is None


def test_what_does_not_fit_together_is_named() -> None:
    whole = build("tiny")
    with pytest.raises(CLRFaceError, match=r"a mask for latents of 3 channels.*got one for 4"):
        replace(whole, mask=MaskHead(MaskConfig(channels=4)))
    with pytest.raises(CLRFaceError, match=r"multiple of 16 px.*got 72 px"):
        replace(whole, size=72)
    with pytest.raises(CLRFaceError, match="s, base, tiny"):
        build("huge")
