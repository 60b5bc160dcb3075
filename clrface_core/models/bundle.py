"""One model, complete: the networks that together restore a face, and the size of face that they know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import CLRFaceError
from ..picture import FACE_SIZE
from .configs import find_config
from .file import KINDS, NETWORKS, read_networks, write_networks
from .irn import IRN
from .mask import MaskHead
from .refiner import Refiner
from .vq import VQModel


@dataclass
class Bundle:
    """The networks of one model; only the mask may be absent, and guidance then acts on the whole latent.

    size: side in pixels of the aligned crops (B,3,size,size) that they restore.
    notes: free JSON-able provenance (data, steps, figures) kept in the file's header.
    Raises CLRFaceError for networks that do not fit together, or do not fit the size.
    """

    vq: VQModel
    irn: IRN
    refiner: Refiner
    mask: MaskHead | None = None
    name: str = "unnamed"
    notes: dict[str, Any] = field(default_factory=dict)
    size: int = FACE_SIZE

    def __post_init__(self) -> None:
        channels = self.vq.config.embed_dim
        for name, head in (("refiner", self.refiner), ("mask", self.mask)):
            if head is not None and head.config.channels != channels:
                raise CLRFaceError(
                    f"Expected a {name} for latents of {channels} channels, as the vq of {self.name!r} makes them, got "
                    f"one for {head.config.channels}: train that stage on this vq."
                )
        latent = self.vq.config.compression
        for name, unit in (("vq", latent), ("irn", self.irn.unit), ("refiner", latent * self.refiner.unit)):
            if self.size % unit:
                raise CLRFaceError(
                    f"Expected faces of a multiple of {unit} px, which the {name} of {self.name!r} needs, got "
                    f"{self.size} px: change the size."
                )

    def networks(self) -> dict[str, nn.Module]:
        """The networks that are present, by prefix, in the order of the flow."""
        return {name: getattr(self, name) for name in NETWORKS if getattr(self, name) is not None}

    def to(self, *args: Any, **kwargs: Any) -> Bundle:
        """Move or cast every network in place (as `nn.Module.to`); the codebook stays float32."""
        for network in self.networks().values():
            network.to(*args, **kwargs)
        return self


def join(networks: Mapping[str, Any], *, name: str, notes: dict[str, Any], size: int, source: object) -> Bundle:
    """Networks by prefix as a bundle; CLRFaceError where one is missing, or they do not fit together."""
    for absent in (kind for kind in ("vq", "irn", "refiner") if kind not in networks):
        raise CLRFaceError(
            f"Expected the networks vq, irn and refiner in {source}, but {absent} is missing: train that stage and "
            "export the bundle again."
        )
    return Bundle(**networks, name=name, notes=notes, size=size)


def build(name: str = "s") -> Bundle:
    """A bundle of the named config ("s", "base", "tiny") with random weights, ready to run."""
    config = find_config(name)
    made = {kind: network(getattr(config, kind)).eval().requires_grad_(False) for kind, (_, network) in KINDS.items()}
    return Bundle(**made, name=name, size=config.size)


def default_bundle_path() -> Path:
    """Where the bundled model `s` lies inside the package."""
    return Path(__file__).parent.parent / "weights" / "clrface-s.safetensors"


def save_bundle(path: Path | str, bundle: Bundle, dtype: torch.dtype = torch.float16) -> None:
    """Write a bundle in `dtype` (the codebook in float32), to a temporary name first."""
    write_networks(path, bundle.networks(), name=bundle.name, notes=bundle.notes, size=bundle.size, dtype=dtype)


def load_bundle(
    path: Path | str | None = None, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Bundle:
    """The model in a file, in evaluation mode and without gradients; `None` is the bundled one.

    Raises CLRFaceError where the file is not a bundle, is damaged, lacks a network, or its parts do not fit.
    """
    path = default_bundle_path() if path is None else Path(path)
    header, networks = read_networks(path, device)
    bundle = join(networks, name=header.name, notes=header.notes, size=header.size, source=path)
    return bundle.to(device, dtype)
