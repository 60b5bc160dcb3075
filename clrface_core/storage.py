"""Where files are: paths of this machine, and URLs such as s3://bucket/in that fsspec opens.

A URL becomes a `upath.UPath`, which has the methods of a `Path`, so that whoever reads and writes need not tell them
apart. What they cannot share is here: a folder of an object store is listed at once, for asking about each of its
files costs a request; and its files appear when they are complete, so that they need no other name until then.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import CLRFaceError

URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
"""How a URL begins; a Windows drive has one letter."""

OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss", "memory")
"""Protocols where a file appears when it is complete, and where folders are parts of names."""


def as_path(path: str | Path) -> Path:
    """A path, or a URL as a UPath, which is no Path but acts as one. CLRFaceError where nothing here can open it."""
    if not isinstance(path, str):
        return path
    if (url := URL.match(path)) is None:
        return Path(path)
    try:
        import fsspec
        from upath import UPath
    except ImportError as error:
        raise CLRFaceError(
            f"Expected the package {error.name} to open {path}, found none: pip install 'clr-face[ray]'."
        ) from error
    try:
        fsspec.get_filesystem_class(url[1].lower())
    except (ImportError, ValueError) as error:
        raise CLRFaceError(f"Expected a URL that fsspec can open, got {path}: {error}.") from error
    found = UPath(path)
    return Path(found.path) if found.protocol in ("file", "local") else found


def is_remote(path: object) -> bool:
    """Whether this came from a URL."""
    return hasattr(path, "fs") and hasattr(path, "protocol")


@contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """The clients of stores raise errors of their own for missing credentials and the like: make them OSErrors."""
    try:
        yield
    except (OSError, CLRFaceError, MemoryError):
        raise
    except Exception as error:
        if not is_remote(path):
            raise
        raise OSError(None, f"{type(error).__name__}: {error}", str(path)) from error


def make_folder(folder: Path) -> None:
    """The folder and those above it, where they have to be made."""
    if not _is_object(folder):
        with plain_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)


def list_files(folder: Any, *, recursive: bool) -> list[str]:
    """The files in a remote folder, and in those below it, as sorted names below the folder: x.jpg, deeper/y.jpg.

    OSError where it cannot be listed.
    """
    with plain_errors(folder):
        names = folder.fs.find(folder.path, maxdepth=None if recursive else 1)
    start = len(folder.path.rstrip("/")) + 1
    return sorted(name[start:] for name in names if len(name) > start)


def write_whole(path: Any, data: bytes) -> None:
    """Write a remote file so that a reader never sees a part of it."""
    with plain_errors(path):
        if _is_object(path):
            path.fs.pipe_file(path.path, data)
            return
        temporary = path.with_name(f".clrface-{secrets.token_hex(8)}.tmp")
        try:
            temporary.fs.pipe_file(temporary.path, data)
            path.fs.mv(temporary.path, path.path)
        except BaseException:
            if temporary.exists():
                temporary.unlink()
            raise


def put_file(source: Path, target: Any) -> None:
    """Copy a file of this machine to a remote place."""
    with plain_errors(target):
        target.fs.put_file(str(source), target.path)


def _is_object(path: Any) -> bool:
    return is_remote(path) and path.protocol in OBJECT_STORES
