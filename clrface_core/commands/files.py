"""Inputs to jobs, and jobs to results: one bad file is reported in a sentence and stops none of the others."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from ..errors import CLRFaceError
from ..photo import SUFFIXES, Photo, is_picture, write_photo

OTHER_FORMATS = {*SUFFIXES} - {".png"} | {".heic"}


@dataclass(frozen=True)
class Job:
    """One input and where its result goes, or why there will be none."""

    source: Path
    target: Path | None = None
    problem: str | None = None


def plan(inputs: Sequence[Path], output: Path, *, recursive: bool = False) -> list[Job]:
    """One job per picture, in the order given; a folder's pictures are sorted by name.

    CLRFaceError where `output` cannot be the output of these inputs at all.
    """
    to_file = output.suffix.lower() == ".png" and not output.is_dir()
    if to_file and (len(inputs) > 1 or inputs[0].is_dir()):
        raise CLRFaceError(f"Expected a folder as the output of several pictures, got {output}: drop the ending .png.")
    if output.suffix.lower() in OTHER_FORMATS and not output.is_dir():
        raise CLRFaceError(f"Expected a .png file or a folder as the output, got {output}: results are PNG.")
    if output.is_file() and not to_file:
        raise CLRFaceError(f"Expected a .png file or a folder as the output, but {output} is another file: rename it.")
    jobs = []
    for source, below in _pictures(inputs, recursive):
        if isinstance(below, str):
            jobs.append(Job(source, problem=below))
        else:
            jobs.append(Job(source, output if to_file else output / below / f"{source.stem}.png"))
    return _without_clashes(jobs)


def check_place(output: Path) -> None:
    """CLRFaceError unless something can be written at `output`, so that this is known before the work is done."""
    place = output.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if place.is_file() and place != output.absolute():
        raise CLRFaceError(f"Expected a folder for the output, but {place} is a file: change -o.")
    if not os.access(place, os.W_OK):
        raise CLRFaceError(f"Expected an output that can be written, but {place} is not yours to write: change -o.")


def _pictures(inputs: Sequence[Path], recursive: bool) -> Iterator[tuple[Path, Path | str]]:
    """Each picture with the folder it takes below the output, or with the problem."""
    for path in inputs:
        if not path.exists():
            yield path, "Expected a picture or a folder, found nothing there: check the path."
        elif not path.is_dir():
            yield path, Path()
        else:
            inside = sorted(path.rglob("*") if recursive else path.glob("*"))
            pictures = [file for file in inside if is_picture(file)]
            if not pictures:
                deeper = "" if recursive else ", or add --recursive for those in sub-folders"
                yield path, f"Expected pictures in this folder, found none: name another{deeper}."
            for file in pictures:
                yield file, file.parent.relative_to(path)


def _without_clashes(jobs: list[Job]) -> list[Job]:
    """A picture named twice is done once; results may replace neither an input nor each other."""
    sources = {_identity(job.source): job.source for job in jobs}
    owners: dict[Path, Path] = {}
    kept: dict[tuple[Path, Path | None], Job] = {}
    for job in jobs:
        target = job.target
        if target is None:
            kept.setdefault((job.source, None), job)
            continue
        key = (job.source.resolve(), target.resolve())
        if key in kept:
            continue
        owner = owners.setdefault(key[1], job.source)
        if owner is not job.source:
            problem = f"Expected a stem of its own, but {owner} is written to {target} already: rename one of them."
            job = Job(job.source, problem=problem)
        elif (replaced := sources.get(_identity(target))) is not None and replaced.exists():
            problem = f"Expected another output than {target}, which would replace the input {replaced}: change -o."
            job = Job(job.source, problem=problem)
        kept[key] = job
    return list(kept.values())


def _identity(path: Path) -> tuple[int, int] | Path:
    """What makes two paths the same file, also where names ignore case."""
    try:
        status = path.stat()
    except OSError:
        return path
    return status.st_dev, status.st_ino


Outcome = tuple[Photo | Tensor, dict[str, Any]] | Exception
"""A result, with what the record should say of it; or why there is none."""

Work = Callable[[Iterable[Path], tqdm], Iterator[Outcome]]
"""(picture files, progress bar) to one outcome each, in their order; a file is asked for when its turn comes."""


def run_jobs(jobs: Sequence[Job], work: Work, *, verb: str, quiet: bool, chatty: bool) -> list[dict[str, Any]]:
    """Do every job; one record each: input, output, seconds, error, and what `work` says.

    Progress goes to standard error where that is a terminal. `chatty`: a line per result on standard output,
    made of the record's "summary".
    """
    records = []
    hidden = quiet or not sys.stderr.isatty()
    with tqdm(total=len(jobs), desc=verb, unit="picture", disable=hidden, file=sys.stderr) as bar:
        outcomes = work((job.source for job in jobs if job.target is not None), bar)
        for job in jobs:
            start = time.perf_counter()
            record = _record(job, outcomes)
            record["seconds"] = round(time.perf_counter() - start, 3)
            summary = record.pop("summary", None)
            if record["error"] is not None:
                bar.write(f"clrface: {job.source}: {record['error']}", file=sys.stderr)
            elif chatty:
                bar.write(f"{job.source} -> {job.target}: {summary} ({record['seconds']:.1f} s)", file=sys.stdout)
            records.append(record)
            bar.update()
    return records


def _record(job: Job, outcomes: Iterator[Outcome]) -> dict[str, Any]:
    """What became of a job: its outcome, the next one, is written to its target."""
    record: dict[str, Any] = {"input": str(job.source), "output": None, "error": None}
    try:
        if job.target is None:
            raise CLRFaceError(job.problem)
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        result, extra = outcome
        job.target.parent.mkdir(parents=True, exist_ok=True)
        write_photo(job.target, result)
        return record | extra | {"output": str(job.target)}
    except (CLRFaceError, OSError, MemoryError, RuntimeError) as error:
        return record | {"error": _sentence(error)}


def _sentence(error: Exception) -> str:
    """The error for the user; what is no fault of input, disk or memory is a bug and goes on as it is."""
    from ..precision import ran_out_of_memory

    if isinstance(error, CLRFaceError):
        return str(error)
    if isinstance(error, OSError):
        what = error.filename or "the file"
        return f"Expected to read and write {what}, but got {error.strerror or error}: check it and the disk."
    if ran_out_of_memory(error):
        return "Expected it to fit into memory, but that ran out: use a smaller --batch-size or picture."
    raise error
