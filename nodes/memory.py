"""The networks in ComfyUI's hands: on which device, in which number format, and loaded together."""

from __future__ import annotations

import inspect
from functools import lru_cache
from pathlib import Path
from typing import Any

import comfy.model_management as memory
import comfy.model_patcher
import torch
from comfy.cli_args import args
from torch import Tensor, nn

from ..clrface_core.faces.detect import Face, load_detector
from ..clrface_core.models.bundle import load_bundle
from ..clrface_core.models.identity import IdentityNet, load_identity
from ..clrface_core.precision import choose_dtype
from ..clrface_core.restorer import FaceRestorer
from .detectors import weights_of

MAPS = 24
"""Feature maps of a face, at full resolution and width, that the decoder and its gradient hold at once."""


class HostModel:
    """A bundle, from its file, whose networks ComfyUI moves to and from the device as it needs the memory."""

    def __init__(self, path: Path | None) -> None:
        self.dtype = network_dtype(memory.get_torch_device())
        with trainable():
            self.bundle = load_bundle(path).to(dtype=self.dtype, memory_format=torch.channels_last)
            self._patcher = managed(nn.ModuleDict(self.bundle.networks()))

    def faces(self, batch_size: int = 0, *, guided: bool = False, beside: HostDetector | None = None) -> FaceRestorer:
        """The model on its device, ready for one node's work, with so many faces at once; 0 chooses.

        guided: with the recognition network. beside: a detector that the same node needs.
        """
        side, config = self.bundle.size, self.bundle.vq.config
        needed = (batch_size or 4) * side * side * config.ch * self.dtype.itemsize * MAPS
        identity, patcher = _identity() if guided else (None, None)
        _load(self._patcher, patcher, beside and beside.patcher, memory_required=needed)
        return FaceRestorer(
            self.bundle, identity, batch_size=batch_size or None, device=self._patcher.load_device, dtype=self.dtype
        )


@lru_cache(maxsize=1)
def bundled_model() -> HostModel:
    """The bundled model, loaded once for all nodes that use it."""
    return HostModel(None)


def network_dtype(device: torch.device) -> torch.dtype:
    """The number format that ComfyUI would take on this device; on a CPU the one that was measured to be faster."""
    if args.force_fp32:
        return torch.float32
    if memory.is_device_cpu(device):
        return choose_dtype(device)
    if memory.should_use_bf16(device):
        return torch.bfloat16
    return torch.float16 if memory.should_use_fp16(device) else torch.float32


def identity_network() -> IdentityNet:
    """SFace on its device."""
    network, patcher = _identity()
    _load(patcher)
    return network


@lru_cache(maxsize=1)
def _identity() -> tuple[IdentityNet, comfy.model_patcher.ModelPatcher]:
    with trainable():
        network = load_identity("sface")
        return network, managed(network)


class HostDetector:
    """A face detector whose network ComfyUI moves; `load` it, or `HostModel.faces` does, before it detects."""

    def __init__(self, name: str) -> None:
        with trainable():
            self._detector = load_detector(name, weights=weights_of(name))
            self.patcher = managed(self._detector.network)
        self._detector.device = self.patcher.load_device

    def load(self) -> HostDetector:
        """On its device now."""
        _load(self.patcher)
        return self

    def detect(self, image: Tensor, score_threshold: float) -> list[Face]:
        """See `Detector`."""
        return self._detector.detect(image, score_threshold)

    def follow(self, image: Tensor, face: Face) -> Face:
        """See `NetworkDetector.follow`."""
        return self._detector.follow(image, face)

    def look(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """See `NetworkDetector.look`."""
        self.load()
        return self._detector.look(crops)


@lru_cache(maxsize=2)
def detector(name: str) -> HostDetector:
    """A detector, kept for the next run."""
    return HostDetector(name)


def managed(network: nn.Module) -> comfy.model_patcher.ModelPatcher:
    """The network in ComfyUI's hands. Which kind of patcher is the right one is only known once ComfyUI has started."""
    kind = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
    return kind(network, load_device=memory.get_torch_device(), offload_device=memory.unet_offload_device())


def _load(*patchers: comfy.model_patcher.ModelPatcher | None, memory_required: float = 0) -> None:
    """All of them on their device, whole, and others off it where room is short.

    Together, so that loading one never evicts another; whole, because ComfyUI can only stream layers of its own kind,
    and leaves a plain module's on the CPU where the budget for weights is used up.
    """
    whole: dict[str, Any] = {}
    if "force_full_load" in inspect.signature(memory.load_models_gpu).parameters:
        whole["force_full_load"] = True
    with trainable():
        wanted = [each for each in patchers if each]
        memory.load_models_gpu(wanted, memory_required=memory_required, **whole)
        for each in wanted:  # which --novram has not done
            each.model.to(each.load_device)


def trainable() -> torch.inference_mode:
    """Where to make and move weights: ComfyUI runs nodes in inference mode, in which guidance could not use them."""
    return torch.inference_mode(False)
