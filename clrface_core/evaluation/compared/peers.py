"""Baselines that are not ours: bicubic enlargement, and networks of others from files that spandrel knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ...errors import CLRFaceError
from ..cases import SIDE, Batch


def bicubic(batch: Batch) -> Tensor:
    """Each face at its own reduced size, enlarged bicubically. Unlike blind restorers it is told that size."""
    return torch.cat([_bicubic(face, case.degradation.reduction) for face, case in _pairs(batch)])


def _pairs(batch: Batch) -> Any:
    return zip(batch.degraded.split(1), batch.cases, strict=True)


def _bicubic(face: Tensor, reduction: float) -> Tensor:
    small = max(int(SIDE / reduction), 1)
    if small >= SIDE:
        return face
    reduced = functional.interpolate(face, (small, small), mode="bilinear", align_corners=False)
    return functional.interpolate(reduced, (SIDE, SIDE), mode="bicubic", align_corners=False).clamp(0, 1)


def load_peer(path: Path, device: torch.device | str = "cpu") -> Callable[[Batch], Tensor]:
    """A network in float32 out of its file, one face at a time.

    A super-resolution network of scale s sees the degraded face area-reduced to 512/s px, a face restorer sees it as
    it is. CLRFaceError where spandrel is not installed, the file is of no network it knows, or of another kind.
    """
    try:
        import spandrel
    except ImportError as error:
        raise CLRFaceError(
            f"Expected the package spandrel for the baseline {path.name}, but {error}: pip install spandrel."
        ) from error
    try:
        network = spandrel.ModelLoader(device=torch.device(device)).load_from_file(path)
    except (OSError, RuntimeError, ValueError, spandrel.UnsupportedModelError) as error:
        raise CLRFaceError(
            f"Expected a network that spandrel knows in {path}, could not load it ({error or type(error).__name__}): "
            "check the file."
        ) from error
    if not isinstance(network, spandrel.ImageModelDescriptor) or network.input_channels != 3:
        raise CLRFaceError(f"Expected a network from picture to picture in {path}, got {network.architecture.name}.")
    if network.scale > 1 and SIDE % network.scale:
        raise CLRFaceError(f"Expected a scale that divides {SIDE} in {path}, got {network.scale}: use another network.")
    network.eval().float()
    call = _gfpgan(network.model) if network.architecture.id == "GFPGAN" else network
    return lambda batch: torch.cat([_enlarged(call, face, network.scale) for face in batch.degraded.split(1)])


def _gfpgan(model: Any) -> Callable[[Tensor], Tensor]:
    """GFPGAN takes and gives [-1,1], which spandrel leaves to its caller."""
    return lambda face: ((model(face * 2 - 1, randomize_noise=False)[0] + 1) / 2).clamp(0, 1)


@torch.no_grad()
def _enlarged(call: Callable[[Tensor], Tensor], face: Tensor, scale: int) -> Tensor:
    side = SIDE // max(scale, 1)
    return call(face if side == SIDE else functional.interpolate(face, (side, side), mode="area"))
