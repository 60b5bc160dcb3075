"""The one reader of aligned faces, for training and evaluation: tar shards, folders of pictures, single pictures, on
this machine or where a URL says.

What can be told from names and headers is told when faces are read, in one sentence, and not hours later when one
is drawn. Files stay in memory compressed, some tens of kilobytes a face; they are decoded on demand.
"""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from .errors import CLRFaceError
from .photo.formats import FORMATS, SUFFIXES, is_picture
from .storage import as_path, is_remote, list_files, plain_errors

SMALLEST, LARGEST = 64, 4096
"""Sides of a face, in pixels."""
MOST_BYTES = 64 * 2**20
"""Of one picture's file: a shard may claim any size, and it would be believed."""


@dataclass(frozen=True)
class StoredFace:
    """A picture's file, or its span of bytes in a shard; `key` is its name without folder and suffix."""

    key: str
    path: Path
    member: str = ""
    start: int = 0
    length: int | None = None

    @property
    def set_name(self) -> str:
        """The key up to the first "-"; "faces" where it has none."""
        prefix, dash, _ = self.key.partition("-")
        return prefix if dash else "faces"

    @property
    def person(self) -> str:
        """The key up to the last "-": `q-anna-1` and `q-anna-2` are of one person."""
        return self.key.rpartition("-")[0]

    @property
    def place(self) -> str:
        """The path, and the member of a shard."""
        return f"{self.path} ({self.member})" if self.member else str(self.path)

    @cached_property
    def content(self) -> bytes:
        """The picture's file as it is. CLRFaceError where there is none, or one of more than MOST_BYTES."""
        try:
            with plain_errors(self.path):
                length = self.path.stat().st_size if self.length is None else self.length
            if length > MOST_BYTES:
                raise CLRFaceError(
                    f"Expected a picture of at most {MOST_BYTES >> 20} MB, got {self.place} with "
                    f"{length / 2**20:.0f} MB: save it smaller or leave it out."
                )
            with plain_errors(self.path), self.path.open("rb") as file:
                file.seek(self.start)
                return file.read(length)
        except OSError as error:
            raise CLRFaceError(
                f"Expected a picture at {self.place}, could not read it ({error.strerror or error})."
            ) from error

    def check(self) -> None:
        """CLRFaceError unless the file's header is that of a square picture of SMALLEST to LARGEST px."""
        with self._opened():
            pass

    def pixels(self) -> Tensor:
        """uint8 (3,S,S), RGB, upright. CLRFaceError as `check`, and where the picture is damaged."""
        with self._opened() as picture:
            values = np.array(ImageOps.exif_transpose(picture).convert("RGB"))
        return torch.from_numpy(values).permute(2, 0, 1).contiguous()

    @contextmanager
    def _opened(self) -> Iterator[Image.Image]:
        """The picture, its header read and its size checked; what decoding raises becomes a CLRFaceError."""
        Image.init()
        try:
            with Image.open(io.BytesIO(self.content), formats=[name for name in FORMATS if name in Image.OPEN]) as file:
                self._check_size(*file.size)
                yield file
        except CLRFaceError:
            raise
        except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error) as error:
            raise CLRFaceError(
                f"Expected a whole picture at {self.place}, could not read it ({error or type(error).__name__}): "
                "get it anew or leave it out."
            ) from error
        except Image.DecompressionBombError as error:
            raise CLRFaceError(f"Expected a face of at most {LARGEST} px at {self.place}, got more: {error}") from error

    def _check_size(self, width: int, height: int) -> None:
        if width != height:
            raise CLRFaceError(
                f"Expected a square aligned face, got {width}x{height} px at {self.place}: align it first."
            )
        if not SMALLEST <= width <= LARGEST:
            raise CLRFaceError(
                f"Expected a face of {SMALLEST} to {LARGEST} px, got {width} px at {self.place}: leave it out."
            )


def read_faces(data: Path | str | Sequence[Path | str]) -> list[StoredFace]:
    """The faces that `find_faces` finds, every one read and checked."""
    faces = find_faces(data)
    for face in faces:
        face.check()
    return faces


def find_faces(data: Path | str | Sequence[Path | str]) -> list[StoredFace]:
    """The pictures of shards, folders (with the shards in them) and files, not read yet.

    In the order of the paths, and by name in each; what has no suffix of a picture, and hidden files, do not count.
    CLRFaceError where a path is missing, a shard is damaged, a key comes twice, or there is no picture at all.
    """
    several = data if isinstance(data, Sequence) and not isinstance(data, str) else [data]
    paths = [as_path(path) for path in several]
    faces = [face for path in paths for face in _list(path)]
    if not faces:
        names = ", ".join(map(str, paths))
        raise CLRFaceError(f"Expected pictures or tar shards of them in {names}, found none: check the path.")
    known: dict[str, StoredFace] = {}
    for face in faces:
        if face.key in known:
            raise CLRFaceError(
                f"Expected every face once, got {face.key} at {known[face.key].place} and at {face.place}: "
                "rename one or leave it out."
            )
        known[face.key] = face
    return faces


def _list(path: Path) -> list[StoredFace]:
    if not path.exists():
        raise CLRFaceError(f"Expected a tar shard or a folder of faces at {path}, found nothing: check the path.")
    if not path.is_dir():
        return [StoredFace(path.stem, path)] if is_picture(path) else _list_shard(path)
    faces = []
    for file in _inside(path):
        if is_picture(file):
            faces.append(StoredFace(file.stem, file))
        elif file.suffix.lower() == ".tar" and not file.name.startswith("."):
            faces += _list_shard(file)
    return faces


def _inside(folder: Path) -> list[Path]:
    if not is_remote(folder):
        return sorted(folder.iterdir())
    try:
        return [folder / name for name in list_files(folder, recursive=False)]
    except OSError as error:
        raise CLRFaceError(f"Expected a readable folder at {folder}, got {error.strerror or error}.") from error


def _list_shard(path: Path) -> list[StoredFace]:
    """By the headers alone: nothing of what a shard claims to hold is read."""
    try:
        with plain_errors(path), path.open("rb") as file, _opened(file) as tar:
            members = sorted((member for member in tar if _is_face(member)), key=lambda member: member.name)
            end = _block_at(tar)
    except (OSError, tarfile.TarError) as error:
        raise CLRFaceError(
            f"Expected an uncompressed tar shard of faces at {path}, could not read it ({error}): get it anew."
        ) from error
    if end != bytes(tarfile.BLOCKSIZE):  # tarfile takes any unreadable header for the end
        raise CLRFaceError(f"Expected a whole tar shard at {path}, but it is damaged or cut short: get it anew.")
    return [StoredFace(Path(m.name).stem, path, m.name, m.offset_data, m.size) for m in members]


def _opened(file: IO[bytes]) -> tarfile.TarFile:
    """Not compressed: its members could not be found again."""
    return tarfile.open(fileobj=file, mode="r:")


def _is_face(member: tarfile.TarInfo) -> bool:
    name = Path(member.name)
    named = name.suffix.lower() in SUFFIXES and not name.name.startswith(".")
    return named and member.isfile()


def _block_at(tar: tarfile.TarFile) -> bytes:
    """Where the last readable header ended."""
    assert tar.fileobj is not None
    tar.fileobj.seek(tar.offset)
    return tar.fileobj.read(tarfile.BLOCKSIZE)
