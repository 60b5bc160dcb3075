"""Model files as the user's folder has them, and the model as core's VAE."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.nodes.conftest import Run


def test_a_foreign_model_file(run: Run, nodes: dict[str, Any], part: Callable[[str], Any], sentence: Any) -> None:
    import folder_paths
    from safetensors.torch import save_file

    folder = Path(folder_paths.models_dir) / "clrface"
    folder.mkdir(exist_ok=True)
    save_file({"model.diffusion_model.weight": torch.zeros(2)}, folder / "foreign.safetensors")
    (folder / "torn.safetensors").write_bytes(b"\x00\x01")
    files = part("clrface_core.models.bundle")
    files.save_bundle(folder / "own.safetensors", files.build("tiny"))
    assert {"foreign.safetensors", "own.safetensors"} <= set(part("nodes.models").choices())
    for name in ("foreign.safetensors", "torn.safetensors"):
        with sentence(name):
            run("CLRFaceLoadModel", file=name)
    model, *_ = run("CLRFaceLoadModel", file="own.safetensors").args
    assert model.bundle.irn is not None
    assert nodes["CLRFaceLoadModel"].validate_inputs("gone.safetensors").startswith("Expected a model")


def test_an_unreadable_model_folder(
    nodes: dict[str, Any], part: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    import folder_paths

    def denied(name: str) -> list[str]:
        raise PermissionError(13, "Permission denied", "models/clrface")

    monkeypatch.setattr(folder_paths, "get_filename_list", denied)
    assert part("nodes.models").choices() == [part("nodes.models").BUNDLED]
    assert "Permission denied" in caplog.text
    assert "readable" in nodes["CLRFaceLoadModel"].validate_inputs("own.safetensors")


def test_the_vae_does_what_core_asks_of_one(run: Run, part: Callable[[str], Any], model: Any) -> None:
    vae = part("nodes.vae").HostVAE(model)
    image = torch.rand(2, 42, 33, 4)  # a picture with alpha, of odd size: ComfyUI cuts both off
    latents = vae.encode(image)
    assert latents.shape == (2, 3, 10, 8)
    assert torch.equal(latents, run("CLRFaceVQEncode", model=model, image=image[:, 1:41, :32, :3]).args[0]["samples"])
    assert torch.equal(vae.decode(latents), run("CLRFaceVQDecode", model=model, latent={"samples": latents}).args[0])
    assert torch.equal(vae.decode_tiled(latents, tile_x=64), vae.decode(latents))
    assert torch.equal(vae.encode_tiled(image, tile_x=64, tile_y=64), latents)
    with pytest.raises(part("clrface_core.errors").CLRFaceError, match=r"^Expected [^\n]*: copy the file[^\n]*\.$"):
        vae.get_sd()  # what VAE Save asks for
    with pytest.raises(AttributeError, match=r"^Expected a VAE that has 'first_stage_model'[^\n]*: use[^\n]*\.$"):
        _ = vae.first_stage_model
    assert not hasattr(vae, "audio_sample_rate")
