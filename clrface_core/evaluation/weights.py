"""Weight files of metrics and baselines: one folder, every name and shape checked, or the whole file's hash."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ..errors import CLRFaceError

LPIPS_VGG = "lpips_vgg16.safetensors"
LPIPS_ALEX = "lpips_alexnet.safetensors"
INCEPTION = "inception_fid.pt"
LANDMARKS = "landmarks68.safetensors"
REALESRGAN = "realesrgan_x4plus.safetensors"

Network = TypeVar("Network", bound=nn.Module)


def weight_file(folder: Path | str | None, name: str) -> Path:
    """`name` in the folder of metric weights; CLRFaceError where there is no such folder or file."""
    if folder is None:
        raise CLRFaceError(f"Expected {name}, but no folder of metric weights was given: add --metric-weights DIR.")
    path = Path(folder) / name
    if not path.is_file():
        raise CLRFaceError(
            f"Expected {name} among the metric weights, but the folder does not hold it: "
            "docs/evaluation.md says where it comes from."
        )
    return path


def fill(network: Network, path: Path) -> Network:
    """The network with the weights of a safetensors file, frozen and in evaluation mode, in float32."""
    try:
        state = {key: value.float() for key, value in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise CLRFaceError(
            f"Expected metric weights (safetensors) at {path}, could not read them ({error}): get the file anew."
        ) from error
    wanted = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in state.items()}
    odd = sorted({*wanted.items()} ^ {*found.items()})
    if odd:
        raise CLRFaceError(
            f"Expected the weights of {type(network).__name__} in {path}, but {odd[0][0]} does not fit: "
            "get the file anew."
        )
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
