"""One model in one safetensors file: the networks' weights under prefixes, their configs in the header."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from ..errors import CLRFaceError
from .configs import CONFIGS
from .irn import IRN, IRNConfig
from .mask import MaskConfig, MaskHead
from .refiner import Refiner, RefinerConfig
from .unfilled import unfilled
from .vq import VQConfig, VQModel

FORMAT = "clrface-bundle"
VERSION = "1"
NETWORKS = ("vq", "irn", "refiner", "mask")
_KINDS: dict[str, tuple[type, Any]] = {
    "vq": (VQConfig, VQModel),
    "irn": (IRNConfig, IRN),
    "refiner": (RefinerConfig, Refiner),
    "mask": (MaskConfig, MaskHead),
}


@dataclass
class Bundle:
    """The networks of one model; a bundle under training may lack some of them.

    `notes` is free JSON-able provenance (data, steps, figures) kept in the file's header.
    """

    vq: VQModel | None = None
    irn: IRN | None = None
    refiner: Refiner | None = None
    mask: MaskHead | None = None
    name: str = "unnamed"
    notes: dict[str, Any] = field(default_factory=dict)

    def networks(self) -> dict[str, nn.Module]:
        """The networks that are present, by prefix, in the order of the flow."""
        return {name: getattr(self, name) for name in NETWORKS if getattr(self, name) is not None}

    def to(self, *args: Any, **kwargs: Any) -> Bundle:
        """Move or cast every network in place (as `nn.Module.to`); the codebook stays float32."""
        for network in self.networks().values():
            network.to(*args, **kwargs)
        return self


def build(name: str = "s") -> Bundle:
    """A bundle of the named config ("s", "base", "tiny") with random weights, in evaluation mode."""
    if name not in CONFIGS:
        raise CLRFaceError(f"Expected a config name out of {', '.join(CONFIGS)}, got {name!r}: choose one of them.")
    config = CONFIGS[name]
    made = {kind: network(getattr(config, kind)).eval() for kind, (_, network) in _KINDS.items()}
    return Bundle(**made, name=name)


def default_bundle_path() -> Path:
    """Where the bundled model `s` lies inside the package."""
    return Path(__file__).parent.parent / "weights" / "clrface-s.safetensors"


def save_bundle(path: Path | str, bundle: Bundle, dtype: torch.dtype = torch.float16) -> None:
    """Write a bundle in `dtype` (the codebook in float32), to a temporary name first."""
    tensors: dict[str, torch.Tensor] = {}
    metadata = {"format": FORMAT, "version": VERSION, "name": bundle.name, "notes": json.dumps(bundle.notes)}
    for prefix, network in bundle.networks().items():
        metadata[prefix] = json.dumps(asdict(network.config))  # type: ignore[call-overload]
        for key, value in network.state_dict().items():
            wanted = torch.float32 if key.startswith("quantize.") else dtype
            tensors[f"{prefix}.{key}"] = value.detach().to("cpu", wanted).contiguous()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    save_file(tensors, temporary, metadata)
    os.replace(temporary, path)


def read_header(path: Path | str) -> dict[str, Any]:
    """The header of a bundle file, JSON decoded: format, version, name, notes and one config per network."""
    try:
        with safe_open(path, "pt") as file:
            metadata = dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise CLRFaceError(
            f"Expected a CLR-Face bundle (.safetensors) at {path}, could not read it ({error}): check the path."
        ) from error
    if metadata.get("format") != FORMAT:
        raise CLRFaceError(
            f"Expected a CLR-Face bundle, but {path} is another kind of safetensors file (format "
            f"{metadata.get('format')!r}): choose a file written by `clrface train export`."
        )
    if metadata.get("version") != VERSION:
        raise CLRFaceError(
            f"Expected bundle version {VERSION}, {path} has version {metadata.get('version')}: update CLR-Face."
        )
    return {key: json.loads(value) if key in (*NETWORKS, "notes") else value for key, value in metadata.items()}


def load_bundle(
    path: Path | str | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    require: tuple[str, ...] = ("vq", "irn", "refiner"),
) -> Bundle:
    """Build the networks that a file's header describes and fill them; `None` is the bundled model.

    Raises CLRFaceError where the file is not a bundle, lacks a required network, or a tensor is missing,
    superfluous or of the wrong shape; the message names it.
    """
    path = default_bundle_path() if path is None else Path(path)
    header = read_header(path)
    absent = [name for name in require if name not in header]
    if absent:
        raise CLRFaceError(
            f"Expected the networks {', '.join(require)} in {path}, but {absent[0]} is not there: "
            "train that stage and export the bundle again."
        )
    bundle = Bundle(name=header["name"], notes=header["notes"])
    with safe_open(path, "pt") as file:
        keys = set(file.keys())
        for name, (config_type, network_type) in _KINDS.items():
            if name not in header:
                continue
            with unfilled():
                network = network_type(config_from_dict(config_type, header[name], path))
            wanted = {f"{name}.{key}": value for key, value in network.state_dict().items()}
            _check_tensors(path, file, wanted, {key for key in keys if key.startswith(f"{name}.")})
            state = {key[len(name) + 1 :]: file.get_tensor(key).to(device, torch.float32) for key in wanted}
            network.load_state_dict(state, assign=True)
            setattr(bundle, name, network.eval().requires_grad_(False))
    return bundle.to(device, dtype)


def _check_tensors(path: Path, file: Any, wanted: dict[str, torch.Tensor], found: set[str]) -> None:
    missing, surplus = sorted(wanted.keys() - found), sorted(found - wanted.keys())
    if missing or surplus:
        what = f"{missing[0]} is missing" if missing else f"{surplus[0]} does not belong there"
        raise CLRFaceError(f"Expected the tensors that the header of {path} describes, but {what}: get the file anew.")
    for key, value in wanted.items():
        shape = tuple(file.get_slice(key).get_shape())
        if shape != tuple(value.shape):
            raise CLRFaceError(
                f"Expected {key} of shape {tuple(value.shape)} in {path}, got {shape}: get the file anew."
            )


def config_from_dict(kind: type, values: dict[str, Any], source: Path | str = "the config") -> Any:
    """A config dataclass from its JSON form: lists become tuples, nested objects nested dataclasses."""
    hints = get_type_hints(kind)
    known = {f.name for f in fields(kind)}
    unknown = sorted(values.keys() - known)
    if unknown:
        raise CLRFaceError(
            f"Expected the settings {', '.join(sorted(known))} in {source}, got {unknown[0]!r}: remove it."
        )
    made = {}
    for key, value in values.items():
        if is_dataclass(hints[key]):
            made[key] = config_from_dict(hints[key], value, source)
        else:
            made[key] = tuple(value) if isinstance(value, list) else value
    return kind(**made)
