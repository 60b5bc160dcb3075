"""`clrface restore` for videos: which of the inputs they are, where the results go, and doing one after the other."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CLRFaceError
from ..storage import is_remote
from ..video.kinds import CONTAINERS, SUFFIXES, is_video
from .options import number

if TYPE_CHECKING:
    from ..pipeline import Restorer
    from ..references import References
    from ..video.restore import VideoRestoration
    from ..video.tracks import Tracks
    from ..video.writing import Encoding
    from .files import Job

CODECS = ("auto", "h264", "av1")
"""Of `video.writing.CODECS`, repeated so that --help need not load it."""


def add_options(parser: Any) -> None:
    """--tracks, --codec and --crf."""
    group = parser.add_argument_group("videos", "Faces are followed, and numbered by when they appear.")
    group.add_argument(
        "--tracks", type=Path, metavar="FILE",
        help="where the faces are in every picture, as JSON: taken from this file if it is there, else written to it",
    )  # fmt: skip
    group.add_argument("--codec", choices=CODECS, default="auto", help="AV1 in .webm, H.264 in all others (auto)")
    group.add_argument(
        "--crf", type=number(0, 63), metavar="Q", help="quality of the video, lower is better (18; 24 for AV1)"
    )


def split(inputs: Sequence[Path], *, recursive: bool) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """The videos among the inputs, those in folders too, each with its folder below the output; and what is left."""
    videos: list[tuple[Path, Path]] = []
    others: list[Path] = []
    for path in inputs:
        if is_remote(path):  # where folders are listed once, by whoever looks for pictures
            others.append(path)
        elif path.is_dir():
            inside = _videos_in(path, recursive)
            videos += [(each, each.parent.relative_to(path)) for each in inside]
            if not inside or _has_more(path, recursive):
                others.append(path)
        elif path.is_file() and is_video(path):
            videos.append((path, Path()))
        else:
            others.append(path)
    return videos, others


def _names(folder: Path, recursive: bool) -> list[Path]:
    found = folder.rglob("*") if recursive else folder.iterdir()
    return sorted(path for path in found if not path.name.startswith(".") and path.is_file())


def _videos_in(folder: Path, recursive: bool) -> list[Path]:
    try:
        return [path for path in _names(folder, recursive) if path.suffix.lower() in SUFFIXES]
    except OSError:  # whoever looks for pictures in it says so
        return []


def _has_more(folder: Path, recursive: bool) -> bool:
    """Whether a folder with videos has pictures too."""
    from ..photo import FOREIGN_SUFFIXES
    from ..photo import SUFFIXES as PICTURES

    return any(path.suffix.lower() in (*PICTURES, *FOREIGN_SUFFIXES) for path in _names(folder, recursive))


def plan_videos(videos: Sequence[tuple[Path, Path]], place: Path, alone: bool) -> list[Job]:
    """One job per video. alone: it is the only input, so that `place` may be a file.

    CLRFaceError where `place` cannot be the output.
    """
    from .files import Job

    if place.suffix.lower() in SUFFIXES and not place.is_dir():
        if not alone:
            raise CLRFaceError(f"Expected a folder as the output of several inputs, got {place}: drop the ending.")
        if place.suffix.lower() not in CONTAINERS:
            raise CLRFaceError(f"Expected an output ending in {', '.join(CONTAINERS)}, got {place.name}: rename it.")
        return [_sparing(Job(videos[0][0], place))]
    if alone and place.suffix and not place.is_dir():
        raise CLRFaceError(f"Expected a folder or {', '.join(CONTAINERS)} as the output, got {place.name}: rename it.")
    jobs: list[Job] = []
    taken: set[str] = set()
    for source, below in videos:
        ending = source.suffix.lower() if source.suffix.lower() in CONTAINERS else ".mp4"
        target = place / below / f"{source.stem}{ending}"
        if str(target).casefold() in taken:
            target = place / below / f"{source.name}{ending}"
        taken.add(str(target).casefold())
        jobs.append(_sparing(Job(source, target)))
    return jobs


def _sparing(job: Job) -> Job:
    """The job, unless its result would replace its input."""
    from .files import Job

    target = job.target
    if target is not None and target.exists() and os.path.samefile(job.source, target):
        return Job(job.source, problem=f"Expected another output than {target}, which is the input: change -o.")
    return job


def run_videos(
    args: argparse.Namespace,
    jobs: Sequence[Job],
    settings: tuple[Any, Any, Any],
    encoding: Encoding,
    restorer: Restorer,
    references: References | None,
    made_with: dict[str, Any],
    records: list[dict[str, Any]],
) -> None:
    """Do every job; one record each is added: input, output, seconds, error, and what became of the faces."""
    from .batch import sentence_of
    from .console import complain, say

    for job in jobs:
        start = time.perf_counter()
        record: dict[str, Any] = {"input": str(job.source), "output": None, "error": None}
        try:
            record |= _one(args, job, settings, encoding, restorer, references, made_with)
        except (CLRFaceError, OSError, MemoryError, RuntimeError) as error:
            record["error"] = sentence_of(error)
        record["seconds"] = round(time.perf_counter() - start, 3)
        summary = record.pop("summary", None)
        if record["error"] is not None:
            complain(f"clrface: {job.source}: {record['error']}")
        elif not (args.quiet or args.json):
            say(f"{job.source} -> {job.target}: {summary} ({record['seconds']:.1f} s)")
        records.append(record)


def _one(
    args: argparse.Namespace,
    job: Job,
    settings: tuple[Any, Any, Any],
    encoding: Encoding,
    restorer: Restorer,
    references: References | None,
    made_with: dict[str, Any],
) -> dict[str, Any]:
    from ..video.restore import find_tracks, restore_video
    from ..video.writing import note_in

    if job.target is None:
        raise CLRFaceError(job.problem or "Expected a video, got none.")
    if job.target.exists() and note_in(job.target) is None and not args.overwrite:
        raise CLRFaceError(
            f"Expected a free name for the result, but {job.target} is there and clrface did not write it: "
            "add --overwrite, or change -o."
        )
    with _Bar(job.source.name, args.quiet) as bar:
        tracks = _tracks(args.tracks, lambda: find_tracks(restorer, job.source, settings[1], callback=bar))
        note = _made_from(job.source, args.tracks, made_with, encoding)
        if args.resume and job.target.exists() and note_in(job.target) == note:
            return {"output": str(job.target), "skipped": True, "summary": "done before"}
        result = restore_video(
            restorer, job.source, job.target, *settings,
            tracks=tracks, references=references, encoding=encoding, note=note, callback=bar,
        )  # fmt: skip
    return {"output": str(job.target), **_described(result)}


def _tracks(file: Path | None, find: Callable[[], Tracks]) -> Tracks | None:
    """Those of the file; where it is not there they are found first, and written to it."""
    from ..video.tracks import Tracks

    if file is None:
        return None
    if not file.exists():
        find().save(file)
    return Tracks.load(file)


class _Bar:
    """Progress on standard error, where that is a terminal."""

    def __init__(self, name: str, quiet: bool) -> None:
        from tqdm import tqdm

        shows = not quiet and sys.stderr is not None and sys.stderr.isatty()
        self._bar = tqdm(unit="frame", disable=not shows, file=sys.stderr if shows else io.StringIO(), desc=name)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *rest: object) -> None:
        self._bar.close()

    def __call__(self, event: dict[str, Any]) -> None:
        self._bar.total = event["frames"] or None
        self._bar.n = event["frame"] + 1
        self._bar.set_postfix_str(event["stage"])


def _described(result: VideoRestoration) -> dict[str, Any]:
    """What the report says of a video."""
    tracks = [
        {
            "id": track.id,
            "first": track.first,
            "last": track.last,
            "seen": int((track.scores > 0).sum()),
            "size": round(track.size, 1),
            "severity": None if track.severity is None else round(track.severity, 4),
            "restored": track.id in result.chosen and track.id not in result.left_alone,
            **({"left_alone": result.left_alone[track.id]} if track.id in result.left_alone else {}),
        }
        for track in result.tracks.tracks
    ]
    count = sum(bool(track["restored"]) for track in tracks)
    summary = f"{result.frames} frames, {count} of {len(tracks)} tracks restored"
    for track_id, reason in result.left_alone.items():
        summary += f", track {track_id} left alone ({reason})"
    return {"frames": result.frames, "cuts": list(result.tracks.cuts), "tracks": tracks, "summary": summary}


def _made_from(source: Path, tracks: Path | None, made_with: dict[str, Any], encoding: Encoding) -> str:
    """What the result is made from, as one number: the input's content and name, tracks, settings, model, program."""
    edited = tracks.read_bytes() if tracks is not None and tracks.exists() else b""
    parts = [source.name, hashlib.sha256(edited).hexdigest(), asdict(encoding), made_with]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode())
    with open(source, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
