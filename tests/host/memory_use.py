"""Run inside ComfyUI, by test_memory.py: what is loaded, what unloading frees, and the path for little memory, as JSON.

python memory_use.py COMFYUI CHECKOUT FOLDER [-- FLAGS]

FOLDER is for a second model file. On a CPU ComfyUI moves nothing, and its flags change no placement: that they change
no pixel is what can be seen here. What they do on a GPU, layers of which only some are loaded and the others are cast
as they are used, is asked of core directly (`partly`).
"""

import gc
import hashlib
import json
import shutil
import weakref
from pathlib import Path
from unittest import mock

from inside import ARGUMENTS, CHECKOUT, opened, part, run  # first: makes ComfyUI's modules importable  # isort: skip

import comfy.model_management as memory
import folder_paths
import psutil
import torch

nodes = part("nodes")
MB = 2**20


def loaded() -> dict[str, float]:
    """MB of weights that ComfyUI holds as loaded, by network."""
    found: dict[str, float] = {}
    for each in memory.current_loaded_models:
        name = type(each.model.model).__name__
        found[name] = found.get(name, 0) + each.model_loaded_memory() / MB
    return found


def resident() -> float:
    gc.collect()
    return psutil.Process().memory_info().rss / MB


def told(*tensors: torch.Tensor) -> str:
    return hashlib.sha256(b"".join(each.numpy().tobytes() for each in tensors)).hexdigest()[:16]


def used(model, core) -> list[torch.Tensor]:
    """Both of a loader's models at work: the chain up to our sampler, and KSampler."""
    crops, alignment, *_ = run("CLRFaceDetectAlign", image=opened("grace-hopper.jpg"))
    latent, _, known, _ = run("CLRFaceIRNInit", model=model, crops=crops, alignment=alignment)
    ours = run("CLRFaceLatentRefineSampler", model=model, latent=latent, steps=2, guidance_scale=1.0)[0]
    (theirs,) = nodes.common_ksampler(core, 3, 2, 1.0, "euler", "simple", known, known, latent, denoise=0.5)
    return [ours["samples"], theirs["samples"]]


def partly(core) -> dict[str, float | bool]:
    """KSampler with a quarter of the refiner's weights loaded, as core does on a GPU with little memory."""
    crops, alignment, *_ = run("CLRFaceDetectAlign", image=opened("grace-hopper.jpg"))
    latent, _, known, _ = run("CLRFaceIRNInit", model=BUNDLE, crops=crops, alignment=alignment)

    def sampled() -> torch.Tensor:
        settings = (3, 2, 1.0, "euler", "simple", known, known, latent)
        return nodes.common_ksampler(core, *settings, denoise=0.5)[0]["samples"]

    whole = sampled()
    memory.unload_all_models()
    load = memory.LoadedModel.model_load

    def little(self, lowvram_model_memory=0, force_patch_weights=False):
        budget = self.model.model_size() // 4 if self.model.is_clone(core) else lowvram_model_memory
        return load(self, budget, force_patch_weights)

    with mock.patch.object(memory.LoadedModel, "model_load", little):
        part_of = sampled()
    networks = [each.model for each in memory.current_loaded_models if each.model.is_clone(core)]
    layers = [layer for each in networks for layer in each.model.modules() if hasattr(layer, "comfy_cast_weights")]
    return {
        "size": core.model_size() / MB,
        "loaded": sum(each.loaded_size() for each in networks) / MB,
        "layers": len(layers),
        "cast as used": sum(bool(layer.comfy_cast_weights) for layer in layers),
        "difference": float((whole - part_of).abs().max()),
    }


with torch.inference_mode():
    BUNDLE, _, CORE = run("CLRFaceLoadModel")
    first = used(BUNDLE, CORE)
    one = loaded()
    folder_paths.add_model_folder_path("clrface", ARGUMENTS[0], is_default=True)
    shutil.copyfile(f"{CHECKOUT}/clrface_core/weights/clrface-s.safetensors", Path(ARGUMENTS[0]) / "own.safetensors")
    before = resident()
    other, vae, core = run("CLRFaceLoadModel", file="own.safetensors")
    second = used(other, core)
    two, with_two = loaded(), resident()
    watched = {"model": weakref.ref(other.bundle.irn), "MODEL": weakref.ref(core.model)}
    memory.unload_all_models()
    unloaded = loaded()
    del other, vae, core
    gc.collect()
    gone = {name: each() is None for name, each in watched.items()}
    after = resident()
    again = used(BUNDLE, CORE)
    print(
        json.dumps(
            {
                "pixels": [told(*first), told(*second), told(*again)],
                "one": one,
                "two": two,
                "unloaded": unloaded,
                "gone": gone,
                "resident": {"one": before, "two": with_two, "after": after},
                "partly": partly(CORE),
                "state": str(memory.vram_state),
            }
        )
    )
