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
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from .. import __version__
from ..errors import CLRFaceError
from ..photo import (
    Photo,
    as_photo,
    content_of,
    count_frames_in,
    frames_of_file,
    photo_of_file,
    read_note,
    read_photo,
    remove_leftovers,
    write_frames,
    write_photo,
)
from ..photo.opening import shown
from ..precision import ran_out_of_memory
from ..storage import is_remote, make_folder, plain_errors
from .console import complain, say
from .files import Job, Output

Item = tuple[Job, "Photo | Exception"]
"""A job, and its picture or why there is none."""

Outcome = tuple["Photo | Tensor", dict[str, Any]] | Exception
"""A result and what the record should say of it; or why there is none."""

Work = Callable[[Iterable[Item], tqdm], Iterator[Outcome]]
"""(items, progress bar) to one outcome each, in their order. An item is asked for when its turn comes; its error is its
outcome."""

BEGINNINGS = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"II*\0", b"MM\0*", b"GIF8")
"""How files of the kinds that are written begin, but for AVIF."""
END_OF_PNG = b"IEND\xaeB`\x82"


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


def run_jobs(
    jobs: Sequence[Job], work: Work, batch: Batch, records: list[dict[str, Any]] | None = None
) -> list[dict[str, Any]]:
    """Do every job; one record each: input, output, seconds, error, and what `work` says.

    They are added to `records` as they come, for whoever wants those of a run that is interrupted.

    Also "skipped" where --resume found it done, and "frames_left_out". Progress goes to standard error where that is a
    terminal. A line per result on standard output is made of the record's "summary".
    """
    remove_leftovers_of(jobs, set())
    records = [] if records is None else records
    with progress_bar(len(jobs), batch) as bar:
        for job, record in zip(jobs, each_record(jobs, work, batch, bar), strict=True):
            tell(job, record, batch)
            records.append(record)
            bar.update()
    return records


def remove_leftovers_of(jobs: Sequence[Job], known: set[Path]) -> None:
    """What killed runs have left in the folders of the results, but for `known` ones, to which they are added."""
    targets = (job.target for job in jobs if job.target is not None and not is_remote(job.target))
    for folder in {target.parent for target in targets} - known:
        remove_leftovers(folder)
        known.add(folder)


def progress_bar(pictures: int, batch: Batch) -> tqdm:
    """On standard error, where that is a terminal."""
    shows = not batch.quiet and sys.stderr is not None and sys.stderr.isatty()
    stream = sys.stderr if shows else io.StringIO()
    return tqdm(total=pictures, desc=batch.verb, unit="picture", disable=not shows, file=stream)


def each_record(jobs: Sequence[Job], work: Work, batch: Batch, bar: tqdm) -> Iterator[dict[str, Any]]:
    """Do one job after the other, and say what became of it: see `run_jobs`; "summary" is still in the record."""
    begun: deque[_Begun] = deque()
    outcomes = work(_items(jobs, batch, begun, bar), bar)
    start = time.perf_counter()
    for job in jobs:
        first = next(outcomes)
        record = _record(job, begun.popleft(), first, outcomes, batch)
        record["seconds"] = round(time.perf_counter() - start, 3)
        yield record
        start = time.perf_counter()


@dataclass(frozen=True)
class _Begun:
    """What is known of a job when its pictures go to work: how many they are, and the note of its result."""

    pictures: int = 1
    left_out: int = 0
    note: str = ""


class _DoneBefore(Exception):
    """The outcome of a job whose result is there already."""


def _items(jobs: Sequence[Job], batch: Batch, begun: deque[_Begun], bar: tqdm) -> Iterator[Item]:
    """The pictures of the jobs, one or several each; what is known of a job is appended to `begun` before its first."""
    for job in jobs:
        bar.set_postfix_str(shown(job.source.name))
        try:
            known, photos = _begin(job, batch)
        except Exception as error:
            begun.append(_Begun())
            yield job, error
            continue
        begun.append(known)
        for photo in _each(photos, known.pictures):
            yield job, photo


def _begin(job: Job, batch: Batch) -> tuple[_Begun, Iterator[Photo]]:
    """What is known of a job, and its pictures, read when their turn comes; `_DoneBefore` if there is nothing to do."""
    if job.target is None:
        raise CLRFaceError(job.problem)
    data = content_of(job.source)
    note = _made_from(job.source.name, data, batch)
    if _is_done(job.target, note, batch.output):
        raise _DoneBefore
    name = shown(job.source)
    if batch.output.frames == "all":
        return _Begun(count_frames_in(name, data), 0, note), _reading(frames_of_file(name, data))
    [photo] = _reading(photo_of_file(name, data) for _ in range(1))
    return _Begun(1, photo.frames_left_out, note), iter((photo,))


def _each(photos: Iterator[Photo], count: int) -> Iterator[Photo | Exception]:
    """So many pictures; from one on that cannot be read, its error."""
    for number in range(count):
        try:
            photo = next(photos)
        except Exception as error:
            yield from repeat(error, count - number)
            return
        yield photo


def _record(job: Job, begun: _Begun, first: Outcome, outcomes: Iterator[Outcome], batch: Batch) -> dict[str, Any]:
    """What became of a job: its outcomes, `first` and those after it, are written to its target."""
    record: dict[str, Any] = {"input": str(job.source), "output": None, "error": None}
    results = chain((first,), islice(outcomes, begun.pictures - 1))
    try:
        _good(first)
        record |= _write(job, begun, map(_good, results), batch.output) | {"output": str(job.target)}
    except _DoneBefore:
        record |= {"skipped": True, "summary": "done before", "output": str(job.target)}
    except (CLRFaceError, OSError, MemoryError, RuntimeError) as error:
        record["error"] = sentence_of(error)
    for _ in results:  # what is left of a job that failed: the next outcome is the next job's
        pass
    return record


def _good(outcome: Outcome) -> tuple[Photo | Tensor, dict[str, Any]]:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _write(
    job: Job, begun: _Begun, results: Iterator[tuple[Photo | Tensor, dict[str, Any]]], output: Output
) -> dict[str, Any]:
    """Write the results of a job as they come; what its record should say besides the output."""
    assert job.target is not None
    writing: dict[str, Any] = {"quality": output.quality, "strip_metadata": output.strip_metadata, "note": begun.note}
    if begun.pictures > 1:
        extras: list[dict[str, Any]] = []

        def frames() -> Iterator[Photo]:
            for result, extra in results:
                extras.append(extra)
                yield as_photo(result)

        make_folder(job.target.parent)
        write_frames(job.target, frames(), **writing)
        return {"frames": extras, "summary": f"{len(extras)} frames, the first: {extras[0].pop('summary', None)}"}
    result, extra = next(results)
    make_folder(job.target.parent)
    write_photo(job.target, result, **writing)
    return extra | ({"frames_left_out": begun.left_out} if begun.left_out else {})


def tell(job: Job, record: dict[str, Any], batch: Batch) -> None:
    """Tell the user what became of a job; takes the summary out of its record."""
    summary = record.pop("summary", None)
    if record["error"] is not None:
        complain(f"clrface: {shown(job.source)}: {record['error']}")
    elif batch.chatty:
        say(f"{shown(job.source)} -> {shown(job.target)}: {summary} ({record['seconds']:.1f} s)")
    if record.get("frames_left_out") and not batch.quiet:
        count = record["frames_left_out"]
        frames = "1 more frame or page was" if count == 1 else f"{count} more frames or pages were"
        complain(f"clrface: {shown(job.source)}: {frames} left out: --frames all takes them too.")


def _reading(photos: Iterator[Photo]) -> Iterator[Photo]:
    """The pictures; an error that is not in words yet, in words."""
    try:
        yield from photos
    except (CLRFaceError, OSError):
        raise
    except Exception as error:  # whatever else a reader trips over is the file's fault and ends none of the other jobs
        if ran_out_of_memory(error):
            raise
        raise CLRFaceError(f"Expected a whole picture, got a damaged one ({type(error).__name__}: {error}).") from error


def _made_from(name: str, data: bytes, batch: Batch) -> str:
    """What the result is made from, as one number: the input's content and name, settings, model, program."""
    how = {key: value for key, value in asdict(batch.output).items() if key not in ("overwrite", "resume")}
    parts = [__version__, name, how, dict(batch.made_with)]
    text = json.dumps(parts, sort_keys=True, default=str).encode()
    return hashlib.sha256(hashlib.sha256(data).digest() + text).hexdigest()


def _is_done(target: Path, note: str, output: Output) -> bool:
    """Whether --resume finds the result there. CLRFaceError where a file is in the way that clrface did not write."""
    with plain_errors(target):
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
    """Whether a file begins as a picture of ours and does not go on to its end."""
    with plain_errors(target):
        data = target.read_bytes()
    if data.startswith(BEGINNINGS[0]) and not data.endswith(END_OF_PNG):  # the pixels may be whole, the note is gone
        return True
    if not data or data.startswith(BEGINNINGS) or data[4:8] == b"ftyp":
        try:
            read_photo(target)
        except CLRFaceError:
            return True
    return False


def sentence_of(error: Exception) -> str:
    """The error for the user; what is no fault of input, disk or memory is a bug and goes on as it is."""
    if isinstance(error, CLRFaceError):
        return str(error)
    if isinstance(error, OSError):
        what = error.filename or "the file"
        return f"Expected to read and write {what}, but got {error.strerror or error}: check it and the disk."
    if ran_out_of_memory(error):
        return "Expected it to fit into memory, but that ran out: use a smaller --batch-size or picture."
    raise error
