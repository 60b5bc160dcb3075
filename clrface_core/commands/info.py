"""`clrface info`: what is in a bundle file."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    """Declare the sub-command."""
    parser = commands.add_parser(
        "info", help="show what a model file holds", allow_abbrev=False,
        description="Show a bundle's format, networks, configs, sizes, checksum and training notes.",
    )  # fmt: skip
    parser.set_defaults(run=run)
    parser.add_argument("model", nargs="?", type=Path, metavar="MODEL", help="model file (default: the bundled one)")
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the description of the bundle."""
    from ..models.bundle import default_bundle_path

    description = describe(args.model or default_bundle_path())
    print(json.dumps(description, indent=2) if args.json else as_table(description))
    return 0


def describe(path: Path) -> dict[str, Any]:
    """A bundle's header, sizes and checksum as plain values. CLRFaceError where it is no bundle."""
    from ..models.file import FORMAT, VERSION, open_tensors, read_header

    header = read_header(path)
    networks: dict[str, Any] = {}
    with open_tensors(path, "a CLR-Face bundle") as file:
        for name, config in header.configs.items():
            slices = [file.get_slice(key) for key in file.keys() if key.startswith(f"{name}.")]  # noqa: SIM118
            networks[name] = {
                "parameters": sum(math.prod(part.get_shape()) for part in slices),
                "dtypes": sorted({str(part.get_dtype()) for part in slices}),
                "config": asdict(config),
            }
    return {
        "path": str(path),
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "format": FORMAT,
        "version": VERSION,
        "name": header.name,
        "face size": header.size,
        "networks": networks,
        "notes": header.notes,
    }


def as_table(description: dict[str, Any]) -> str:
    """The description for people."""
    size = description["bytes"] / 1e6
    lines = [
        f"{description['path']}",
        f"  model     {description['name']} ({description['format']}, version {description['version']})",
        f"  faces     {description['face size']} px",
        f"  size      {size:.1f} MB",
        f"  sha256    {description['sha256']}",
        "",
        f"  {'network':10}{'parameters':>12}  {'stored as':12}config",
    ]
    for name, network in description["networks"].items():
        config = ", ".join(_settings(network["config"]))
        lines.append(f"  {name:10}{network['parameters']:>12,}  {'/'.join(network['dtypes']):12}{config}")
    total = sum(network["parameters"] for network in description["networks"].values())
    lines.append(f"  {'together':10}{total:>12,}")
    if description["notes"]:
        lines += ["", "  notes", *(f"    {line}" for line in json.dumps(description["notes"], indent=2).splitlines())]
    return "\n".join(lines)


def _settings(config: dict[str, Any], prefix: str = "") -> list[str]:
    """A config as key=value, nested ones with a dot."""
    parts = []
    for key, value in config.items():
        nested = isinstance(value, dict)
        parts += _settings(value, f"{prefix}{key}.") if nested else [f"{prefix}{key}={json.dumps(value)}"]
    return parts
