"""Jobs to results: one bad file is reported in a sentence and stops none of the others; what is done stays done.

A result carries what it was made from in a note of its own (see `photo.replace_file`), not in a journal beside it:
so the two appear in one rename, two processes share nothing, folders may be moved, and no file is left behind.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from .. import __version__
from ..errors import CLRFaceError
from ..photo import (
    Photo,
    as_photo,
    read_frames,
    read_note,
    read_photo,
    remove_leftovers,
    write_frames,
    write_photo,
)
from ..photo.opening import read_bytes, shown
from .console import complain, say
from .files import Job, Output

Work = Callable[[Photo, Job, tqdm], tuple[Photo | Tensor, dict[str, Any]]]
"""(picture, its job, progress bar) to the result and what the record should say of it."""

BEGINNINGS = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"II*\0", b"MM\0*", b"GIF8")
"""How files of the kinds that are written begin, but for AVIF."""


@dataclass(frozen=True)
class Batch:
    """How a command does its jobs.

    verb: of the progress bar, such as "restoring". made_with: all that decides what the results are, besides the
    input and `output`: settings, and the model's checksum. chatty: a line per result. quiet: only lines about errors.
    """

    verb: str
    output: Output
    made_with: Mapping[str, Any]
    quiet: bool = False
    chatty: bool = True


def run_jobs(jobs: Sequence[Job], work: Work, batch: Batch) -> list[dict[str, Any]]:
    """Do every job; one record each: input, output, seconds, error, and what `work` says.

    Also "skipped" where --resume found it done, and "frames_left_out". Progress goes to standard error where that is a
    terminal. A line per result on standard output is made of the record's "summary".
    """
    for folder in {job.target.parent for job in jobs if job.target is not None}:
        remove_leftovers(folder)
    records = []
    shows = not batch.quiet and sys.stderr is not None and sys.stderr.isatty()
    stream = sys.stderr if shows else io.StringIO()
    with tqdm(total=len(jobs), desc=batch.verb, unit="picture", disable=not shows, file=stream) as bar:
        for job in jobs:
            start = time.perf_counter()
            record: dict[str, Any] = {"input": str(job.source), "output": None, "error": None}
            try:
                record |= _do(job, work, batch, bar) | {"output": str(job.target)}
            except (CLRFaceError, OSError, MemoryError, RuntimeError) as error:
                record["error"] = _sentence(error)
            record["seconds"] = round(time.perf_counter() - start, 3)
            _tell(job, record, batch)
            records.append(record)
            bar.update()
    return records


def _tell(job: Job, record: dict[str, Any], batch: Batch) -> None:
    summary = record.pop("summary", None)
    if record["error"] is not None:
        complain(f"clrface: {shown(job.source)}: {record['error']}")
    elif batch.chatty:
        say(f"{shown(job.source)} -> {shown(job.target)}: {summary} ({record['seconds']:.1f} s)")
    if record.get("frames_left_out") and not batch.quiet:
        count = record["frames_left_out"]
        frames = "1 more frame or page was" if count == 1 else f"{count} more frames or pages were"
        complain(f"clrface: {shown(job.source)}: {frames} left out: --frames all takes them too.")


def _do(job: Job, work: Work, batch: Batch, bar: tqdm) -> dict[str, Any]:
    """One job; what its record should say besides the output."""
    if job.target is None:
        raise CLRFaceError(job.problem)
    bar.set_postfix_str(shown(job.source.name))
    output, note = batch.output, _made_from(job, batch)
    if _is_done(job.target, note, output):
        return {"skipped": True, "summary": "done before"}
    writing: dict[str, Any] = {"quality": output.quality, "strip_metadata": output.strip_metadata, "note": note}
    if output.frames == "all":
        photos, extras = _all_frames(job, work, bar)
        job.target.parent.mkdir(parents=True, exist_ok=True)
        if len(photos) > 1:
            write_frames(job.target, photos, **writing)
            return {"frames": extras, "summary": f"{len(photos)} frames, the first: {extras[0].pop('summary', None)}"}
        write_photo(job.target, photos[0], **writing)
        return extras[0]
    photo = _read(job.source)
    result, extra = work(photo, job, bar)
    job.target.parent.mkdir(parents=True, exist_ok=True)
    write_photo(job.target, result, **writing)
    return extra | ({"frames_left_out": photo.frames_left_out} if photo.frames_left_out else {})


def _read(source: Path) -> Photo:
    try:
        return read_photo(source)
    except (CLRFaceError, MemoryError, OSError):
        raise
    except Exception as error:  # whatever a reader trips over is the file's fault and ends none of the other jobs
        raise CLRFaceError(f"Expected a whole picture, got a damaged one ({type(error).__name__}: {error}).") from error


def _all_frames(job: Job, work: Work, bar: tqdm) -> tuple[list[Photo], list[dict[str, Any]]]:
    photos, extras = [], []
    for photo in read_frames(job.source):
        result, extra = work(photo, job, bar)
        photos.append(as_photo(result))
        extras.append(extra)
    return photos, extras


def _made_from(job: Job, batch: Batch) -> str:
    """What the result is made from, as one number: the input's content and name, settings, model, program."""
    how = {key: value for key, value in asdict(batch.output).items() if key not in ("overwrite", "resume")}
    parts = [__version__, job.source.name, how, dict(batch.made_with)]
    text = json.dumps(parts, sort_keys=True, default=str).encode()
    return hashlib.sha256(hashlib.sha256(read_bytes(job.source)).digest() + text).hexdigest()


def _is_done(target: Path, note: str, output: Output) -> bool:
    """Whether --resume finds the result there. CLRFaceError where a file is in the way that clrface did not write."""
    if not target.exists():
        return False
    found = read_note(target)
    if found is not None:
        return output.resume and found == (note, True)
    if not output.overwrite and not (output.resume and _is_cut_short(target)):
        raise CLRFaceError(
            f"Expected a free name for the result, but {target} is there and clrface did not write it: "
            "add --overwrite, or change -o."
        )
    return False


def _is_cut_short(target: Path) -> bool:
    """Whether a file begins as a picture of ours and cannot be read."""
    try:
        beginning = target.read_bytes()[:12]
        if not beginning or beginning.startswith(BEGINNINGS) or beginning[4:8] == b"ftyp":
            read_photo(target)
    except CLRFaceError:
        return True
    return False


def _sentence(error: Exception) -> str:
    """The error for the user; what is no fault of input, disk or memory is a bug and goes on as it is."""
    if isinstance(error, CLRFaceError):
        return str(error)
    if isinstance(error, OSError):
        what = error.filename or "the file"
        return f"Expected to read and write {what}, but got {error.strerror or error}: check it and the disk."
    if is_out_of_memory(error):
        return "Expected it to fit into memory, but that ran out: use a smaller --batch-size or picture."
    raise error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this is how Python, PyTorch, or oneDNN under it says that memory has run out."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "memory" in text or "could not create a primitive" in text
