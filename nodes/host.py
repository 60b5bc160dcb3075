"""Between ComfyUI and the library: pictures, memory, progress, previews."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
from ..clrface_core.models.bundle import load_bundle
from ..clrface_core.precision import choose_dtype
from ..clrface_core.stages import SIZE, FaceStages

if TYPE_CHECKING:
    from ..clrface_core.models.identity import IdentityNet


class Each(Sequence[Tensor]):
    """A list of tensors, each made when it is asked for: a long video is never held twice."""

    def __init__(self, count: int, make: Callable[[int], Tensor]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self._count:
            raise IndexError(index)
        return self._make(index)


def each_picture(image: Tensor, name: str = "image") -> Each:
    """IMAGE (B,H,W,3) as pictures (3,H,W), float32 RGB in [0,1]; CLRFaceError for what is no picture."""
    check_image(image, name)
    return Each(len(image), lambda index: as_pictures(image[index]))


def photos(image: Tensor) -> Each:
    """As `each_picture`, and at least one of them."""
    pictures = each_picture(image)
    if not len(pictures):
        raise CLRFaceError("Expected at least one picture in image, got an empty batch: check the node that made it.")
    return pictures


def as_pictures(image: Tensor) -> Tensor:
    """(...,H,W,3) to float32 (...,3,H,W) in [0,1]."""
    return image.float().movedim(-1, -3).clamp(0, 1)


def check_image(image: Tensor, name: str) -> None:
    """Raise CLRFaceError unless `image` is an IMAGE of finite RGB pixels."""
    if not isinstance(image, Tensor) or image.ndim != 4:
        raise CLRFaceError(f"Expected an IMAGE for {name}, got {_kind(image)}: connect pictures.")
    if image.shape[-1] != 3:
        raise CLRFaceError(
            f"Expected RGB pictures for {name}, got {image.shape[-1]} channels: take the alpha off with "
            "'Split Image with Alpha', or turn grey into RGB."
        )
    if image.shape[1] < 1 or image.shape[2] < 1:
        raise CLRFaceError(f"Expected {name} to have pixels, got {image.shape[2]}x{image.shape[1]}: check its source.")
    if not all(torch.isfinite(picture).all() for picture in image):
        raise CLRFaceError(f"Expected finite pixels in {name}, got NaN or infinity: check the node that made it.")


def images(faces: Tensor) -> Tensor:
    """(B,3,H,W) to an IMAGE where and as ComfyUI wants what travels between nodes."""
    return intermediate(faces.movedim(1, -1).contiguous())


def blank(*shape: int) -> Tensor:
    """Room for results of this shape, to be filled part by part, where and as ComfyUI wants them."""
    return torch.zeros(shape, device=memory.intermediate_device(), dtype=memory.intermediate_dtype())


def intermediate(tensor: Tensor, *, copy: bool = False) -> Tensor:
    """On the device and in the number format that ComfyUI wants between nodes; one's own to change if `copy`."""
    return tensor.to(memory.intermediate_device(), memory.intermediate_dtype(), copy=copy)


def samples(latent: dict[str, Any]) -> Tensor:
    """The latents (B,C,h,w) of a LATENT, float32; CLRFaceError for what is none of pictures."""
    z = latent.get("samples") if isinstance(latent, dict) else None
    if not isinstance(z, Tensor) or z.ndim != 4:
        raise CLRFaceError(f"Expected a LATENT of pictures, got {_kind(z)}: connect 'VQ Encode' or 'IRN Init'.")
    if not torch.isfinite(z).all():
        raise CLRFaceError("Expected finite latents, got NaN or infinity: check the node that made them.")
    return z.float()


def _kind(thing: object) -> str:
    return f"a tensor {tuple(thing.shape)}" if isinstance(thing, Tensor) else type(thing).__name__


MAPS = 24
"""Feature maps of a face, at full resolution and width, that the decoder and its gradient hold at once."""


class HostModel:
    """A bundle, from its file, whose networks ComfyUI moves to and from the device as it needs the memory."""

    def __init__(self, path: Path | None) -> None:
        self.dtype = choose_dtype(memory.get_torch_device())
        with trainable():
            self.bundle = load_bundle(path).to(dtype=self.dtype, memory_format=torch.channels_last)
            self._patcher = _managed(nn.ModuleDict(self.bundle.networks()))

    def stages(self, batch_size: int = 4) -> FaceStages:
        """The model on its device, ready for one node's work."""
        assert self.bundle.vq is not None
        face = SIZE * SIZE * self.bundle.vq.config.ch * self.dtype.itemsize * MAPS
        _load(self._patcher, memory_required=batch_size * face)
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
    _load(patcher)
    return network


@lru_cache(maxsize=1)
def _identity() -> tuple[IdentityNet, comfy.model_patcher.ModelPatcher]:
    from ..clrface_core.models.identity import load_identity

    with trainable():
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


def _load(patcher: comfy.model_patcher.ModelPatcher, memory_required: int = 0) -> None:
    """On its device, others off it where room is short."""
    with trainable():
        memory.load_models_gpu([patcher], memory_required=memory_required)


def trainable() -> torch.inference_mode:
    """Where to make and move weights: ComfyUI runs nodes in inference mode, in which guidance could not use them."""
    return torch.inference_mode(False)


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
        self._total, self._done = max(total, 1), 0
        self._bar = ProgressBar(self._total)

    def advance(self, amount: int, preview: Image.Image | None = None) -> None:
        """Add to the work done; with previews on, show `preview`."""
        self.reach((self._done + amount) / self._total, preview)

    def reach(self, fraction: float, preview: Image.Image | None = None) -> None:
        """As `advance`, to this fraction of the work; never back."""
        memory.throw_exception_if_processing_interrupted()
        self._done = max(self._done, min(round(fraction * self._total), self._total))
        shown = None if preview is None else ("JPEG", preview, args.preview_size)
        self._bar.update_absolute(self._done, self._total, shown)


@torch.no_grad()
def preview_of(stages: FaceStages, latents: Tensor) -> Image.Image | None:
    """The first face of an estimate as a small picture, or None where previews are off."""
    if args.preview_method == LatentPreviewMethod.NoPreviews or not len(latents):
        return None
    face = stages.decode_half_size(latents[:1])[0].clamp(0, 1)
    return Image.fromarray((face * 255).round().byte().movedim(0, -1).cpu().numpy())
