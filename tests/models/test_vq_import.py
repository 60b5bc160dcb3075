"""Public f=4 first stages load: a file in each public layout is built from a known network and read back."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from clrface_core.errors import CLRFaceError
from clrface_core.models.vq import VQConfig, VQModel
from clrface_core.models.vq_import import import_vq

# LDM's vq-f4 in everything but its widths.
CONFIG = VQConfig(ch=32, ch_mult=(1, 2, 4), num_res_blocks=2, n_embed=64)


@pytest.fixture(scope="module")
def original() -> VQModel:
    torch.manual_seed(0)
    return VQModel(CONFIG).eval()


def diffusers_name(key: str) -> str:
    """The name that diffusers gives to an LDM tensor, written out on its own, from their model's structure."""
    parts = key.split(".")
    if parts[0] in ("encoder", "decoder"):
        if parts[1] in ("down", "up"):
            level = int(parts[2]) if parts[1] == "down" else len(CONFIG.ch_mult) - 1 - int(parts[2])
            inner = {
                "block": f"resnets.{parts[4]}",
                "downsample": "downsamplers.0",
                "upsample": "upsamplers.0",
            }[parts[3]]
            tail = parts[5:] if parts[3] == "block" else parts[4:]
            key = ".".join([parts[0], f"{parts[1]}_blocks", str(level), inner, *tail])
        elif parts[2] in ("block_1", "block_2"):
            key = ".".join([parts[0], "mid_block.resnets", str(int(parts[2][-1]) - 1), *parts[3:]])
        elif parts[2:3] == ["attn_1"]:
            layer = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}[parts[3]]
            key = ".".join([parts[0], "mid_block.attentions.0", layer, parts[4]])
    return key.replace("nin_shortcut", "conv_shortcut").replace("norm_out", "conv_norm_out")


def check_same(path: Path, original: VQModel) -> None:
    loaded = import_vq(path)
    assert loaded.config == original.config
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded(x)[0], original(x)[0])


def test_ldm_checkpoint(tmp_path: Path, original: VQModel) -> None:
    state = {f"first_stage_model.{key}": value for key, value in original.state_dict().items()}
    state["first_stage_model.loss.discriminator.main.0.weight"] = torch.zeros(2)
    state["model.diffusion_model.out.2.bias"] = torch.zeros(2)
    save_file(state, tmp_path / "ldm.safetensors")
    check_same(tmp_path / "ldm.safetensors", original)


@pytest.mark.parametrize("old_attention", [False, True])
def test_diffusers_model(tmp_path: Path, original: VQModel, old_attention: bool) -> None:
    state = {}
    for key, value in original.state_dict().items():
        name = diffusers_name(key)
        if "attentions" in name and value.ndim == 4:
            value = value[:, :, 0, 0].clone()
        if old_attention:
            for new, old in (
                ("to_q", "query"),
                ("to_k", "key"),
                ("to_v", "value"),
                ("to_out.0", "proj_attn"),
            ):
                name = name.replace(f".{new}.", f".{old}.")
        state[name] = value
    assert "decoder.up_blocks.0.upsamplers.0.conv.weight" in state
    save_file(state, tmp_path / "diffusers.safetensors")
    check_same(tmp_path / "diffusers.safetensors", original)


def test_what_does_not_fit_is_named(tmp_path: Path, original: VQModel) -> None:
    state = dict(original.state_dict())
    del state["decoder.mid.block_1.conv1.weight"]
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(CLRFaceError, match=r"lacks decoder\.mid\.block_1\.conv1\.weight"):
        import_vq(tmp_path / "part.safetensors")
    save_file({"encoder.conv_in.weight": torch.zeros(4, 3, 3, 3)}, tmp_path / "vae.safetensors")
    with pytest.raises(CLRFaceError, match="Expected a VQ first stage"):
        import_vq(tmp_path / "vae.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(CLRFaceError, match="could not read it"):
        import_vq(tmp_path / "text.safetensors")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("encoder.down.999999999.block.0.conv1.weight", torch.zeros(1), "is not there"),
        ("encoder.down.0.block.999999999.conv1.weight", torch.zeros(1), "is not there"),
        ("encoder.down." + "9" * 5000 + ".block.0.conv1.weight", torch.zeros(1), "is not there"),
        ("decoder.up_blocks." + "9" * 5000 + ".resnets.0.conv1.weight", torch.zeros(1), "also holds"),
        ("encoder.down.", torch.zeros(1), "is not there"),
        ("encoder.conv_in.weight", torch.tensor(1.0), "is not there"),
        ("encoder.conv_in.weight", torch.zeros(0, 3, 3, 3), "for ch in"),
        ("encoder.conv_in.weight", torch.zeros(8, 3, 3, 3), "multiple of norm_groups"),
        ("quantize.embedding.weight", torch.zeros(64), "is not there"),
        ("quantize.embedding.weight", torch.full((64, 3), float("nan")), "NaN or infinity in quantize"),
        ("quant_conv.weight", torch.zeros(3, 3, 1, 1, dtype=torch.int8), "as floats"),
        ("quant_conv.bias", torch.zeros(7), "of shape"),
        ("decoder.conv_in.weight", torch.zeros(128, 3), "of shape"),
    ],
)
def test_an_odd_file_is_named(tmp_path: Path, original: VQModel, key: str, value: torch.Tensor, message: str) -> None:
    save_file(dict(original.state_dict()) | {key: value}, tmp_path / "odd.safetensors")
    with pytest.raises(CLRFaceError, match=message) as caught:
        import_vq(tmp_path / "odd.safetensors")
    assert len(str(caught.value)) < 500 + len(str(tmp_path))


def test_a_whole_checkpoint_is_read_only_as_far_as_it_is_wanted(tmp_path: Path, original: VQModel) -> None:
    """Integers of other parts are none of its business."""
    state = {f"first_stage_model.{key}": value for key, value in original.state_dict().items()}
    save_file(state | {"model_ema.num_updates": torch.tensor(3)}, tmp_path / "ldm.safetensors")
    assert import_vq(tmp_path / "ldm.safetensors").config == original.config
