"""Load CLR-Face Model: the bundled one, or a file of models/clrface."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io

from .memory import HostModel, bundled_model
from .sampling import sampling_model
from .types import CATEGORY, Model
from .vae import HostVAE

FOLDER = "clrface"
BUNDLED = "bundled (CLR-Face s)"


def register_folder() -> None:
    """models/clrface, besides what extra_model_paths.yaml names."""
    folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir) / FOLDER))


def choices() -> list[str]:
    """The bundled model and every safetensors file of the folders; the bundled one alone where they are unreadable."""
    try:
        names = folder_paths.get_filename_list(FOLDER)
    except OSError as error:
        logging.warning("CLR-Face: expected a readable folder models/%s, got %s: check its permissions.", FOLDER, error)
        names = []
    return [BUNDLED, *(name for name in names if name.endswith(".safetensors"))]


class LoadModel(io.ComfyNode):
    """File to model, VAE and MODEL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CLRFaceLoadModel",
            display_name="Load CLR-Face Model",
            category=CATEGORY,
            description="Loads the networks that restore faces.\nOne file holds all of them; one is included.",
            search_aliases=["face restore model", "load face restore", "codeformer", "gfpgan"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=choices(),
                    default=BUNDLED,
                    tooltip="Which model.\nThe bundled one needs no download.\nOthers are found in models/clrface.",
                )
            ],
            outputs=[
                Model.Output(
                    "model", display_name="model", tooltip="For every other CLR-Face node.\nMoved on and off the GPU."
                ),
                io.Vae.Output(
                    "vae",
                    display_name="vae",
                    tooltip="The model's autoencoder.\nWorks in ComfyUI's own VAE Encode and VAE Decode.",
                ),
                io.Model.Output(
                    "core_model",
                    display_name="MODEL",
                    tooltip="The refiner, for KSampler and SamplerCustomAdvanced.\nWith the conditioning of "
                    "'IRN Init', cfg 1, scheduler simple, and a denoise of 0.5.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str) -> bool | str:
        if file in choices():
            return True
        return f"Expected a model that is in models/{FOLDER} and readable, got {file}: choose another."

    @classmethod
    def fingerprint_inputs(cls, file: str) -> Any:
        path = _path(file)
        return (file, path.stat().st_mtime_ns if path is not None and path.is_file() else None)

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        path = _path(file)
        model = bundled_model() if path is None else HostModel(path)
        return io.NodeOutput(model, HostVAE(model), sampling_model(model))


def _path(file: str) -> Path | None:
    """Where a choice lies; None is the bundled one."""
    return None if file == BUNDLED else Path(folder_paths.get_full_path_or_raise(FOLDER, file))
