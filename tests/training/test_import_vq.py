"""`clrface import-vq`: a public first stage becomes a run's own, with latents as the refiner wants them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from clrface_core.cli import main
from clrface_core.models.vq import VQConfig, VQModel, scale_of
from clrface_core.training.assemble import assemble
from clrface_core.training.data import Augmentation, Crops, FaceShards


@pytest.fixture
def public(tmp_path: Path) -> Path:
    """A small first stage under LDM's names, whose latents have a scale of their own."""
    torch.manual_seed(0)
    vq = VQModel(VQConfig(ch=32, ch_mult=(1, 1, 1), num_res_blocks=1, n_embed=64, mid_attention=False))
    with torch.no_grad():
        vq.quant_conv.weight.mul_(7)
        vq.quant_conv.bias.add_(3)  # type: ignore[union-attr]
    save_file(vq.state_dict(), tmp_path / "vq-f4.safetensors")
    return tmp_path / "vq-f4.safetensors"


def test_training_starts_from_a_public_first_stage(public: Path, shard: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(["import-vq", str(public), "--run", str(run), "--data", str(shard), "--device", "cpu"]) == 0
    vq = assemble(run, "tiny").vq
    faces = Crops(FaceShards([shard]), {"b": 1.0}, 4, 1, Augmentation(), side=128)[0]["clean"]
    with torch.no_grad():
        mean, std = scale_of(vq.encode(faces))
        assert mean.abs().max() < 0.5 and abs(std - 1) < 0.5
        original = VQModel(vq.config)
        original.load_state_dict(load_file(public))
        assert torch.allclose(vq(faces)[0], original(faces)[0], atol=1e-3), "pictures stay the same"
    data = ["--config", "tiny", "--data", str(shard), "--steps", "1", "--workers", "0", "--device", "cpu", "--quiet"]
    assert main(["train", "vq", "--run", str(run), *data]) == 0
    trained = assemble(run, "tiny").vq
    assert trained.config == vq.config and not torch.equal(trained.decoder.conv_in.weight, vq.decoder.conv_in.weight)


def test_what_cannot_be_imported_is_named(
    public: Path, shard: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(file: Path, run: Path) -> str:
        assert main(["import-vq", str(file), "--run", str(run), "--data", str(shard), "--device", "cpu"]) == 1
        return capsys.readouterr().err

    assert "could not read it" in fails(tmp_path / "none.safetensors", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (tmp_path / "vq.safetensors").touch()
    assert "choose another --run" in fails(public, tmp_path)
