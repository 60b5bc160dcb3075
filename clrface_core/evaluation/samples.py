"""Ground truth to measure on: aligned faces in tar shards or folders, by set and in a fixed order."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..errors import CLRFaceError

SUFFIXES = (".webp", ".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Sample:
    """One picture in a file, or in a span of bytes of a shard. `key` is its name without folder and suffix."""

    key: str
    path: Path
    start: int = 0
    length: int = -1

    @property
    def set_name(self) -> str:
        """The key up to the first "-"; "faces" where it has none."""
        prefix, dash, _ = self.key.partition("-")
        return prefix if dash else "faces"

    @property
    def seed(self) -> int:
        """A number that depends on the key alone, the same on every machine."""
        return int.from_bytes(hashlib.sha256(self.key.encode()).digest()[:8], "big")

    def read(self) -> bytes:
        """The picture's file, as it is."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            return file.read(self.length)

    def load(self) -> Tensor:
        """(3,S,S) float32 RGB in [0,1]. CLRFaceError where it cannot be read or is not square."""
        try:
            with Image.open(io.BytesIO(self.read())) as picture:
                pixels = np.array(ImageOps.exif_transpose(picture).convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise CLRFaceError(
                f"Expected a picture at {self.path} ({self.key}), could not read it: {error}."
            ) from error
        height, width = pixels.shape[:2]
        if height != width:
            raise CLRFaceError(
                f"Expected a square aligned face, got {width}x{height} in {self.path} ({self.key}): align it first."
            )
        return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def find_samples(data: Path | str | Sequence[Path | str], limit: int | None = None) -> list[Sample]:
    """The pictures of shards and folders (with the shards in them), sorted by key; at most `limit` of each set.

    CLRFaceError where a path is missing, a shard is unreadable, or there is no picture at all.
    """
    paths = [Path(data)] if isinstance(data, (str, Path)) else [Path(path) for path in data]
    found = sorted((sample for path in paths for sample in _list(path)), key=lambda s: (s.key, s.path.name))
    if not found:
        names = ", ".join(map(str, paths))
        raise CLRFaceError(f"Expected pictures or tar shards in {names}, found none: check the path.")
    taken: dict[str, int] = {}
    chosen = []
    for sample in found:
        taken[sample.set_name] = taken.get(sample.set_name, 0) + 1
        if limit is None or taken[sample.set_name] <= limit:
            chosen.append(sample)
    return chosen


def _list(path: Path) -> list[Sample]:
    if path.is_dir():
        files = [file for file in path.iterdir() if file.is_file()]
        pictures = [Sample(file.stem, file) for file in files if file.suffix.lower() in SUFFIXES]
        return pictures + [s for file in files if file.suffix.lower() == ".tar" for s in _list_shard(file)]
    if path.suffix.lower() in SUFFIXES and path.is_file():
        return [Sample(path.stem, path)]
    return _list_shard(path)


def _list_shard(path: Path) -> list[Sample]:
    try:
        with tarfile.open(path, "r:") as tar:
            members = [member for member in tar if member.isfile()]
    except (OSError, tarfile.TarError) as error:
        raise CLRFaceError(
            f"Expected a folder or an uncompressed tar shard at {path}, could not read it: {error}."
        ) from error
    return [
        Sample(Path(member.name).stem, path, member.offset_data, member.size)
        for member in members
        if Path(member.name).suffix.lower() in SUFFIXES
    ]
