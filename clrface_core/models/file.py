"""Networks in one safetensors file: weights under prefixes, configs in the header, and no trust in either.

What a file makes us compute is bounded by what it holds: whoever writes "a million blocks" into a header of a few
hundred bytes gets an error, not a million blocks.
"""

from __future__ import annotations

import json
import math
import os
import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from ..errors import CLRFaceError
from ..picture import FACE_SIZE
from .checked import checked, config_from_json
from .irn import IRN, IRNConfig
from .mask import MaskConfig, MaskHead
from .refiner import Refiner, RefinerConfig
from .unfilled import unfilled
from .vq import VQConfig, VQModel

FORMAT = "clrface-bundle"
VERSION = "1"
KINDS: dict[str, tuple[type, Any]] = {
    "vq": (VQConfig, VQModel),
    "irn": (IRNConfig, IRN),
    "refiner": (RefinerConfig, Refiner),
    "mask": (MaskConfig, MaskHead),
}
"""A network's config and class by its prefix, in the order of the flow."""
NETWORKS = tuple(KINDS)

LARGEST_HEADER = 2**24
"""Bytes of a safetensors header: a whole checkpoint of another project has some hundred thousand."""
LONGEST_TEXT = 2**20
"""Characters of one entry of a bundle's header: 1 MB of JSON takes at most some 30 MB once it is read."""
MOST_TENSORS = 4096
"""In a bundle; the largest of ours has some hundreds."""
FLOATS = ("F16", "BF16", "F32", "F64")


@dataclass
class Header:
    """What a file says of itself. size: side of the aligned crops in pixels; configs: one per network that is there."""

    name: str = "unnamed"
    notes: dict[str, Any] = field(default_factory=dict)
    size: int = FACE_SIZE
    configs: dict[str, Any] = field(default_factory=dict)


@contextmanager
def open_tensors(path: Path | str, wanted: str) -> Iterator[Any]:
    """A safetensors file, open for reading; CLRFaceError where it is none, or is damaged. Nothing is unpickled."""
    try:
        if not os.path.isfile(path):
            raise FileNotFoundError("no such file")
        with open(path, "rb") as file:
            if int.from_bytes(file.read(8), "little") > LARGEST_HEADER:
                raise SafetensorError(f"its header would be larger than {LARGEST_HEADER >> 20} MB")
        with safe_open(path, "pt") as tensors:
            yield tensors
    except (OSError, SafetensorError) as error:
        raise CLRFaceError(
            f"Expected {wanted} (.safetensors) at {path}, could not read it ({error}): check the path."
        ) from error


def read_header(path: Path | str) -> Header:
    """The header of a bundle file; CLRFaceError where it is not one, or is damaged."""
    with open_tensors(path, "a CLR-Face bundle") as file:
        return _header(file.metadata() or {}, path)


def read_networks(path: Path | str, device: torch.device | str = "cpu") -> tuple[Header, dict[str, Any]]:
    """The header and the networks of a bundle file, in float32, in evaluation mode and without gradients.

    Raises CLRFaceError where the file is not a bundle, or a tensor is missing, superfluous, of the wrong shape or
    type, or not finite; the message names it.
    """
    with open_tensors(path, "a CLR-Face bundle") as file:
        header = _header(file.metadata() or {}, path)
        keys = set(file.keys())
        if len(keys) > MOST_TENSORS:
            raise CLRFaceError(f"Expected up to {MOST_TENSORS} tensors in {path}, got {len(keys)}: get the file anew.")
        for key in sorted(key for key in keys if key.split(".")[0] not in header.configs):
            raise _misfit(path, f"{reprlib.repr(key)} does not belong there")
        configs = header.configs.items()
        return header, {name: _read_network(file, path, name, config, device) for name, config in configs}


def write_networks(
    path: Path | str,
    networks: Mapping[str, nn.Module],
    *,
    name: str,
    notes: dict[str, Any],
    size: int,
    dtype: torch.dtype,
) -> None:
    """Write networks in `dtype` (a codebook in float32), to a temporary name first."""
    tensors: dict[str, torch.Tensor] = {}
    metadata = {"format": FORMAT, "version": VERSION, "name": name, "size": str(size), "notes": json.dumps(notes)}
    for prefix, network in networks.items():
        metadata[prefix] = json.dumps(asdict(network.config))  # type: ignore[call-overload]
        for key, value in network.state_dict().items():
            wanted = torch.float32 if key.startswith("quantize.") else dtype
            tensors[f"{prefix}.{key}"] = value.detach().to("cpu", wanted).contiguous()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    try:
        save_file(tensors, temporary, metadata)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _header(metadata: dict[str, str], path: Path | str) -> Header:
    if metadata.get("format") != FORMAT:
        raise CLRFaceError(
            f"Expected a CLR-Face bundle, but {path} is another kind of safetensors file (format "
            f"{reprlib.repr(metadata.get('format'))}): choose a file written by `clrface train export`."
        )
    if metadata.get("version") != VERSION:
        raise CLRFaceError(
            f"Expected bundle version {VERSION}, {path} has version {reprlib.repr(metadata.get('version'))}: "
            "update CLR-Face."
        )
    name, notes = metadata.get("name", ""), _decoded(metadata, "notes", path)
    if not 0 < len(name) <= 200 or not name.isprintable():
        raise CLRFaceError(f"Expected a name in the header of {path}, got {reprlib.repr(name)}: get the file anew.")
    if not isinstance(notes, dict):
        raise CLRFaceError(f"Expected notes by name in {path}, got {reprlib.repr(notes)}: get the file anew.")
    size = checked(int, "size", _decoded(metadata, "size", path), path) if "size" in metadata else Header.size
    configs = {
        kind: config_from_json(config, _decoded(metadata, kind, path), f"{kind} of {path}")
        for kind, (config, _) in KINDS.items()
        if kind in metadata
    }
    return Header(name, notes, size, configs)


def _decoded(metadata: dict[str, str], key: str, path: Path | str) -> Any:
    """The JSON of one entry of the header."""
    text = metadata.get(key, "")
    if len(text) > LONGEST_TEXT:
        raise CLRFaceError(f"Expected {key} of at most 1 MB in the header of {path}, got more: get the file anew.")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CLRFaceError(f"Expected JSON for {key} in {path}, but {error}: get the file anew.") from error


def _read_network(file: Any, path: Path | str, name: str, config: Any, device: torch.device | str) -> nn.Module:
    found = {key for key in file.keys() if key.startswith(f"{name}.")}  # noqa: SIM118 (not a dict)
    # A few more, so that what is missing can be named.
    with unfilled(at_most=len(found) + 100, source=f"{name} of {path}"):
        network = KINDS[name][1](config)
    state = network.state_dict()
    wanted = {f"{name}.{key}" for key in state}
    for key in sorted(wanted - found):
        raise _misfit(path, f"{key} is missing")
    for key in sorted(found - wanted):
        raise _misfit(path, f"{reprlib.repr(key)} does not belong there")
    for key, value in state.items():
        state[key] = read_tensor(file, path, f"{name}.{key}", tuple(value.shape)).to(device)
    network.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(False)


def read_tensor(file: Any, path: Path | str, key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """One tensor in float32, checked before and after it is read."""
    stored = file.get_slice(key)
    found = tuple(stored.get_shape())
    if found != shape:
        raise CLRFaceError(f"Expected {key} of shape {shape} in {path}, got {found}: get the file anew.")
    if stored.get_dtype() not in FLOATS:
        raise CLRFaceError(f"Expected {key} as floats in {path}, got {stored.get_dtype()}: get the file anew.")
    tensor = file.get_tensor(key).float()
    if not all(math.isfinite(extreme) for extreme in torch.aminmax(tensor)):  # NaN is both extremes
        raise CLRFaceError(f"Expected finite weights in {path}, got NaN or infinity in {key}: get the file anew.")
    return tensor


def _misfit(path: Path | str, what: str) -> CLRFaceError:
    return CLRFaceError(f"Expected the tensors that the header of {path} describes, but {what}: get the file anew.")
