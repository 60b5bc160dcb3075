"""Between ComfyUI and the library: pictures, memory, progress, previews."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import comfy.model_management as memory
import comfy.model_patcher
import folder_paths
import torch
from comfy.cli_args import LatentPreviewMethod, args
from comfy.utils import ProgressBar
from PIL import Image
from torch import Tensor, nn

from ..clrface_core.errors import CLRFaceError
from ..clrface_core.precision import choose_dtype
from ..clrface_core.stages import FaceStages

if TYPE_CHECKING:
    from ..clrface_core.models.bundle import Bundle
    from ..clrface_core.models.identity import IdentityNet

PREVIEW_SIDE = 512


def pictures(image: Tensor, name: str = "image") -> Tensor:
    """IMAGE (B,H,W,3) to float32 (B,3,H,W), RGB in [0,1]; CLRFaceError for what is no picture."""
    if not isinstance(image, Tensor) or image.ndim != 4:
        raise CLRFaceError(f"Expected an IMAGE for {name}, got {_kind(image)}: connect pictures.")
    if image.shape[-1] != 3:
        raise CLRFaceError(
            f"Expected RGB pictures for {name}, got {image.shape[-1]} channels: take the alpha off with "
            "'Split Image with Alpha', or turn grey into RGB."
        )
    if image.shape[1] < 1 or image.shape[2] < 1:
        raise CLRFaceError(f"Expected {name} to have pixels, got {image.shape[2]}x{image.shape[1]}: check its source.")
    if not torch.isfinite(image).all():
        raise CLRFaceError(f"Expected finite pixels in {name}, got NaN or infinity: check the node that made it.")
    return image.float().movedim(-1, 1).clamp(0, 1)


def images(faces: Tensor) -> Tensor:
    """(B,3,H,W) to an IMAGE where and as ComfyUI wants what travels between nodes."""
    return intermediate(faces.movedim(1, -1).contiguous())


def intermediate(tensor: Tensor) -> Tensor:
    """On the device and in the number format that ComfyUI wants between nodes."""
    return tensor.to(memory.intermediate_device(), memory.intermediate_dtype())


def samples(latent: dict[str, Any]) -> Tensor:
    """The latents (B,C,h,w) of a LATENT, float32; CLRFaceError for what is none of pictures."""
    z = latent.get("samples") if isinstance(latent, dict) else None
    if not isinstance(z, Tensor) or z.ndim != 4:
        raise CLRFaceError(f"Expected a LATENT of pictures, got {_kind(z)}: connect 'VQ Encode' or 'IRN Init'.")
    return z.float()


def _kind(thing: object) -> str:
    return f"a tensor {tuple(thing.shape)}" if isinstance(thing, Tensor) else type(thing).__name__


class HostModel:
    """A bundle whose networks ComfyUI moves to and from the device as it needs the memory."""

    def __init__(self, bundle: Bundle) -> None:
        device = memory.get_torch_device()
        self.dtype = choose_dtype(device)
        self.bundle = bundle.to(dtype=self.dtype, memory_format=torch.channels_last)
        self._patcher = _managed(nn.ModuleDict(bundle.networks()))

    def stages(self, batch_size: int = 4) -> FaceStages:
        """The model on its device, ready for one node's work."""
        memory.load_models_gpu([self._patcher])
        return FaceStages.around(
            self.bundle, self._patcher.load_device, self.dtype, identity_net=_OnDemand(), batch_size=batch_size
        )


class _OnDemand(nn.Module):
    """The recognition network, which is loaded when guidance first asks for it."""

    def forward(self, faces: Tensor) -> Tensor:
        return identity_network()(faces)


def identity_network() -> IdentityNet:
    """SFace on its device, under ComfyUI's memory management."""
    network, patcher = _identity()
    memory.load_models_gpu([patcher])
    return network


@lru_cache(maxsize=1)
def _identity() -> tuple[IdentityNet, comfy.model_patcher.ModelPatcher]:
    from ..clrface_core.models.identity import load_identity

    network = load_identity("sface")
    return network, _managed(network)


def _managed(network: nn.Module) -> comfy.model_patcher.ModelPatcher:
    """The network in ComfyUI's hands. Which kind of patcher is the right one is only known once ComfyUI has started."""
    kind = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
    return kind(
        network,
        load_device=memory.get_torch_device(),
        offload_device=memory.unet_offload_device(),
    )


def shown(images: Iterable[Tensor]) -> list[dict[str, str]]:
    """Pictures (3,H,W) as files of ComfyUI's temporary folder, in the form in which the browser asks for them."""
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for image in images:
        name = f"clrface_{uuid4().hex}.png"
        pixels = (image.float().clamp(0, 1) * 255).round().byte().movedim(0, -1).cpu().numpy()
        Image.fromarray(pixels).save(folder / name, compress_level=1)
        files.append({"filename": name, "subfolder": "", "type": "temp"})
    return files


class Progress:
    """ComfyUI's progress bar over `total` units of work; every report first asks whether the user cancelled."""

    def __init__(self, total: int) -> None:
        self._bar = ProgressBar(max(total, 1))
        self._total, self.done = max(total, 1), 0.0

    def advance(self, amount: float, preview: Image.Image | None = None) -> None:
        """Add to the work done; with previews on, show `preview`."""
        memory.throw_exception_if_processing_interrupted()
        self.done += amount
        shown = None if preview is None else ("JPEG", preview, PREVIEW_SIDE)
        self._bar.update_absolute(min(round(self.done), self._total), self._total, shown)

    def steps(self, stages: FaceStages, amount: float) -> Callable[[dict[str, Any]], None]:
        """A sampler's callback: a step is so much work."""

        def report(event: dict[str, Any]) -> None:
            self.advance(amount, preview_of(stages, event["denoised"]))

        return report


@torch.no_grad()
def preview_of(stages: FaceStages, latents: Tensor) -> Image.Image | None:
    """The first face of an estimate as a small picture, or None where previews are off."""
    if args.preview_method == LatentPreviewMethod.NoPreviews or not len(latents):
        return None
    face = stages.decode_half_size(latents[:1])[0].clamp(0, 1)
    return Image.fromarray((face * 255).round().byte().movedim(0, -1).cpu().numpy())
