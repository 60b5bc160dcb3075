"""What there is of a model while it is trained: some of its networks, each from a stage of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..models.bundle import Bundle, join
from ..models.file import read_networks, write_networks
from ..picture import FACE_SIZE


@dataclass
class Parts:
    """Networks by prefix, and what a file says of them; see `Bundle`."""

    networks: dict[str, Any]
    name: str = "unnamed"
    notes: dict[str, Any] = field(default_factory=dict)
    size: int = FACE_SIZE

    @classmethod
    def load(cls, path: Path | str, device: torch.device | str = "cpu") -> Parts:
        """What a bundle file holds, be it one network; CLRFaceError where it is not such a file, or is damaged."""
        header, networks = read_networks(path, device)
        return cls(networks, header.name, header.notes, header.size)

    def save(self, path: Path | str) -> None:
        """Write them in float32: training goes on from there."""
        write_networks(path, self.networks, name=self.name, notes=self.notes, size=self.size, dtype=torch.float32)

    def complete(self) -> Bundle:
        """A bundle of these networks; CLRFaceError where one is missing, or they do not fit together."""
        return join(self.networks, name=self.name, notes=self.notes, size=self.size, source=repr(self.name))
