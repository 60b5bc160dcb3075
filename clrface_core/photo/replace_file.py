"""Files that appear whole or not at all, what a killed run leaves of them, and the note in a finished one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import socket
import zlib
from pathlib import Path

from ..errors import CLRFaceError
from ..storage import as_path, is_remote, plain_errors, write_whole
from .opening import shown
from .png import SIGNATURE, chunk

HOST = f"{zlib.crc32(socket.gethostname().encode()):08x}"
"""Tells the processes of this machine from those of another that writes to the same place."""

LEFTOVER = re.compile(r"\.clrface-([0-9a-f]{8})-(\d+)-[0-9a-f]+\.tmp")

NOTE_NAME = b"clRF"
"""A PNG chunk of our own: private, and by its last letter dropped by programs that change the picture."""
NOTE_MARK = b"CLR-Face note: "
MAX_NOTE = 1024


def replace_file(path: Path, data: bytes, note: str | None = None) -> None:
    """Write `data` beside `path`, then rename: a reader never sees a part, and a failure leaves nothing.

    note: one line put into the file, see `read_note`.
    """
    if note is not None:
        data = _with_note(data, note)
    try:
        (write_whole if is_remote(path) else _replace)(path, data)
    except (OSError, ValueError) as error:
        reason = error.strerror or error if isinstance(error, OSError) else error
        raise CLRFaceError(
            f"Expected to write {shown(path)}, which failed ({reason}): "
            "choose a file name in an existing folder that has room and that you may write to."
        ) from error


def _replace(path: Path, data: bytes) -> None:
    temporary = temporary_beside(path)
    try:
        with open(temporary, "xb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError, ValueError):
            temporary.unlink()
        raise


def temporary_beside(path: Path) -> Path:
    """A name for a file that is not complete yet, by which `remove_leftovers` knows it."""
    return path.with_name(f".clrface-{HOST}-{os.getpid()}-{secrets.token_hex(8)}.tmp")


def remove_leftovers(folder: Path) -> None:
    """Remove what killed runs have left in a folder; never the files of a process that is still there."""
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        found = LEFTOVER.fullmatch(name)
        if found and found[1] == HOST and not _is_alive(int(found[2])):
            with contextlib.suppress(OSError):
                (folder / name).unlink()


def _is_alive(process: int) -> bool:
    if os.name == "nt":  # a file in use cannot be removed there; and to ask would be to kill
        return process == os.getpid()
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _with_note(data: bytes, note: str) -> bytes:
    """The file with a note and a digest of all the rest: in a PNG as a chunk before the last, else at the end.

    The end is a `free` box, as AVIF wants it; all other readers stop before it.
    """
    body = NOTE_MARK + f"{hashlib.sha256(data).hexdigest()} {note}".encode()
    if data.startswith(SIGNATURE):
        return data[:-12] + chunk(NOTE_NAME, body) + data[-12:]
    return data + (len(body) + 8).to_bytes(4, "big") + b"free" + body


def read_note(path: str | Path) -> tuple[str, bool] | None:
    """The note in a file, and whether all the rest is still as it was written; None where there is no note."""
    try:
        path = as_path(path)
        with plain_errors(path):
            data = path.read_bytes()
    except (OSError, ValueError):
        return None
    place = data.rfind(NOTE_MARK, max(0, len(data) - MAX_NOTE))
    if place < 8:
        return None
    length = int.from_bytes(data[place - 8 : place - 4], "big")
    png = data[place - 4 : place] == NOTE_NAME
    end = place + (length + 4 if png else length - 8)
    body = data[place : place + length] if png else data[place:end]
    if png:
        framed = end == len(data) - 12 and data[place - 8 : end] == chunk(NOTE_NAME, body)
    else:
        framed = end == len(data) and data[place - 4 : place] == b"free"
    digest, _, note = body[len(NOTE_MARK) :].decode("utf-8", "replace").partition(" ")
    rest = data[: place - 8] + data[end:]
    return note, framed and hashlib.sha256(rest).hexdigest() == digest
