"""Load CLR-Face Model: the bundled one, or a file of models/clrface."""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io
from torch import Tensor

from .types import CATEGORY, Model

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
    """File to model and VAE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CLRFaceLoadModel",
            display_name="Load CLR-Face Model",
            category=CATEGORY,
            description="Loads the networks that restore faces.\nOne file holds all of them; a first one comes along.",
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
        from .host import HostModel

        path = _path(file)
        model = bundled_model() if path is None else HostModel(path)
        return io.NodeOutput(model, HostVAE(model))


def _path(file: str) -> Path | None:
    """Where a choice lies; None is the bundled one."""
    return None if file == BUNDLED else Path(folder_paths.get_full_path_or_raise(FOLDER, file))


@lru_cache(maxsize=1)
def bundled_model() -> Any:
    """The bundled model, loaded once for all nodes that use it."""
    from .host import HostModel

    return HostModel(None)


class HostVAE:
    """The autoencoder as ComfyUI's own nodes use a VAE: pictures (B,H,W,3) in [0,1], latents (B,C,h,w).

    Decoding quantises first, which is what the decoder was trained for.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        config = model.bundle.vq.config
        self.latent_channels = config.embed_dim
        self.downscale_ratio = self.upscale_ratio = config.compression

    def encode(self, pixel_samples: Tensor) -> Tensor:
        """Latents of pictures, cut to whole latents around their centre as ComfyUI does."""
        from .host import Progress, as_pictures, blank, check_image

        images = crop_to_multiple(pixel_samples[..., :3], self.downscale_ratio)
        check_image(images, "pixels")
        stages = self._model.stages()
        height, width = (extent // self.downscale_ratio for extent in images.shape[1:3])
        latents = blank(len(images), self.latent_channels, height, width)
        progress = Progress(len(images))
        for index, image in enumerate(images):
            latents[index] = stages.encode(as_pictures(image)[None])[0].to(latents)
            progress.advance(1)
        return latents

    def decode(self, samples_in: Tensor, vae_options: dict[str, Any] | None = None) -> Tensor:
        """Pictures of latents."""
        from .host import Progress, blank, samples

        latents = samples({"samples": samples_in})
        stages = self._model.stages()
        height, width = (extent * self.upscale_ratio for extent in latents.shape[2:])
        pictures = blank(len(latents), height, width, 3)
        progress = Progress(len(latents))
        for index, z in enumerate(latents):
            pictures[index] = stages.decode(z[None])[0].movedim(0, -1).to(pictures)
            progress.advance(1)
        return pictures

    def encode_tiled(self, pixel_samples: Tensor, **_: Any) -> Tensor:
        """As `encode`: it is small enough to need no tiles."""
        return self.encode(pixel_samples)

    def decode_tiled(self, samples_in: Tensor, **_: Any) -> Tensor:
        """As `decode`: it is small enough to need no tiles."""
        return self.decode(samples_in)

    def spacial_compression_encode(self) -> int:
        """Pixels per latent, along each side."""
        return self.downscale_ratio

    def spacial_compression_decode(self) -> int:
        """Pixels per latent, along each side."""
        return self.upscale_ratio

    def temporal_compression_decode(self) -> None:
        """Pictures are not frames to it."""
        return None


def crop_to_multiple(images: Tensor, unit: int) -> Tensor:
    """(B,H,W,3) cut around the centre to sides that are multiples of `unit`; an error where nothing is left."""
    from ..clrface_core.errors import CLRFaceError

    height, width = ((extent // unit) * unit for extent in images.shape[1:3])
    if not height or not width:
        raise CLRFaceError(
            f"Expected pictures of at least {unit}x{unit} px, got {images.shape[2]}x{images.shape[1]}: enlarge them."
        )
    top, left = (images.shape[1] - height) // 2, (images.shape[2] - width) // 2
    return images[:, top : top + height, left : left + width]
