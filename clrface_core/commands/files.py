"""What the user names becomes jobs: which pictures, and where the result of each goes."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import CLRFaceError
from ..photo import FOREIGN_SUFFIXES, FRAMED, SUFFIXES, WRITTEN, count_frames_of, read_note
from ..photo.opening import shown
from ..storage import is_remote, list_files, plain_errors

NONE_INSIDE = "Expected pictures in this folder, found none: name another{deeper}."
DEEPER = ", or add --recursive for those in sub-folders"


@dataclass(frozen=True)
class Output:
    """How results are written.

    format: an ending such as "jpg" (see `photo.WRITTEN`); None: that of -o, or PNG. quality: see `write_photo`.
    strip_metadata: leave out EXIF and the like. overwrite: replace files that clrface did not write.
    resume: skip what is done, whole and of the same input and settings. frames: "first" or "all" of an animation.
    """

    format: str | None = None
    quality: int | None = None
    strip_metadata: bool = False
    overwrite: bool = False
    resume: bool = False
    frames: str = "first"

    def __post_init__(self) -> None:
        if self.format is not None and f".{self.format}" not in WRITTEN:
            endings = ", ".join(ending[1:] for ending in WRITTEN)
            raise CLRFaceError(f"Expected a format among {endings}, got {self.format!r}: choose one.")
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise CLRFaceError(f"Expected a quality from 1 to 100, got {self.quality}: choose within.")
        if self.frames not in ("first", "all"):
            raise CLRFaceError(f'Expected frames "first" or "all", got {self.frames!r}: choose one.')


@dataclass(frozen=True)
class Job:
    """One input and where its result goes, or why there will be none."""

    source: Path
    target: Path | None = None
    problem: str | None = None


def plan(inputs: Sequence[Path], place: Path, *, recursive: bool = False, output: Output | None = None) -> list[Job]:
    """One job per picture, in the order given; a folder's pictures are sorted by name.

    place: a file for one picture, else a folder. What lies in it is no input, even inside a folder that is.
    CLRFaceError where `place` cannot be the output of these inputs at all.
    """
    output = output or Output()
    to_file = _is_for_one_file(place, output)
    if to_file and (len(inputs) > 1 or _status(inputs[0]) == "folder"):
        raise CLRFaceError(
            f"Expected a folder as the output of several pictures, got {shown(place)}: drop the ending {place.suffix}."
        )
    found = _once(list(_pictures(inputs, place, recursive)))
    sources = {_identity(source): source for source, _ in found}
    jobs = []
    for source, below in found:
        if isinstance(below, str):
            jobs.append(Job(source, problem=below))
        else:
            target = place if to_file else place / (below / f"{source.stem}{_ending(source, output)}").as_posix()
            jobs.append(_sparing(Job(source, target), sources))
    return [_sparing(job, sources) for job in _distinct(jobs)]


def reference_photos(inputs: Sequence[Path], place: Path, *, recursive: bool = False) -> list[Path | CLRFaceError]:
    """The pictures of files and folders, in the order of `plan`; what is none, as the error that says so."""
    found = _once(list(_pictures(inputs, place, recursive)))
    return [CLRFaceError(f"{shown(path)}: {below}") if isinstance(below, str) else path for path, below in found]


def check_place(output: Path) -> None:
    """CLRFaceError unless something can be written at `output`, so that this is known before the work is done."""
    _refuse_impossible(output)
    if is_remote(output):  # what may be written there is known when it is
        return
    place = output.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if place.is_file() and place != output.absolute():
        raise CLRFaceError(f"Expected a folder for the output, but {place} is a file: change -o.")
    if not os.access(place, os.W_OK):
        raise CLRFaceError(f"Expected an output that can be written, but {place} is not yours to write: change -o.")


def _is_for_one_file(place: Path, output: Output) -> bool:
    """Whether `place` names a file; CLRFaceError where it can be neither a file of ours nor a folder."""
    _refuse_impossible(place)
    ending, status = place.suffix.lower(), _status(place)
    kinds = {**WRITTEN, **(FRAMED if output.frames == "all" else {})}
    endings = ", ".join(WRITTEN)
    if status == "folder":
        return False
    if ending in kinds:
        if output.format is not None and kinds[ending] != WRITTEN[f".{output.format}"]:
            raise CLRFaceError(
                f"Expected one format, got {output.format} and the name {shown(place)}: drop --format or rename."
            )
        if status not in ("file", "nothing"):
            raise CLRFaceError(f"Expected a file or folder as the output, got {shown(place)}, {status}: change -o.")
        return True
    if ending in SUFFIXES or ending in FOREIGN_SUFFIXES:
        raise CLRFaceError(f"Expected a folder or one of {endings} as the output, got {shown(place)}: change -o.")
    if status != "nothing":
        raise CLRFaceError(
            f"Expected a folder or one of {endings} as the output, but {shown(place)} is another file: rename it."
        )
    return False


def _refuse_impossible(place: Path) -> None:
    try:
        with plain_errors(place):
            place.stat()
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        reason = error.strerror or error if isinstance(error, OSError) else error
        if not isinstance(error, (NotADirectoryError, PermissionError)):  # `check_place` has words for these
            raise CLRFaceError(
                f"Expected an output that can exist, got {shown(place)} ({reason}): change -o."
            ) from error


def _status(path: Path) -> str:
    """ "file", "folder" or "nothing"; else words for what it is."""
    try:
        with plain_errors(path):
            mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "nothing"
    except OSError as error:
        return f"a path that cannot be read ({error.strerror or error})"
    except ValueError:
        return "a path that no file can have"
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "a pipe or device"


def _pictures(inputs: Sequence[Path], place: Path, recursive: bool) -> Iterator[tuple[Path, Path | str]]:
    """Each picture with the folder it takes below the output, or with the problem."""
    for path in inputs:
        status = _status(path)
        if status == "nothing":
            yield path, "Expected a picture or a folder, found nothing there: check the path."
        elif status == "folder":
            yield from (_inside_remote if is_remote(path) else _inside)(path, place, recursive)
        elif status != "file":
            yield path, f"Expected a picture or a folder, got {status}: check the path."
        elif path.suffix.lower() in FOREIGN_SUFFIXES:
            yield path, _foreign(path)
        else:
            yield path, Path()


def _foreign(path: Path) -> str:
    return f"Expected a kind of picture that can be read, got one ending in {path.suffix}: export it as JPEG or PNG."


def _inside(folder: Path, place: Path, recursive: bool) -> Iterator[tuple[Path, Path | str]]:
    """The pictures of a folder, sorted; whatever is named as a picture counts, so that none is left out in silence."""
    results = place.resolve()
    same = results == folder.resolve()
    files, problems = [], []

    def unreadable(error: OSError) -> None:
        problems.append((Path(os.fsdecode(error.filename)), f"Expected a readable folder, got {error.strerror}."))

    for root, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = [name for name in folders if recursive and (same or Path(root, name).resolve() != results)]
        files += [Path(root, name) for name in names if _is_named_picture(name)]
    if same:  # what an earlier run has put beside its inputs is none
        files = [file for file in files if read_note(file) is None]
    yield from sorted(problems)
    if not files and not problems:
        yield folder, NONE_INSIDE.format(deeper="" if recursive else DEEPER)
    for file in sorted(files):
        if file.suffix.lower() in FOREIGN_SUFFIXES:
            yield file, _foreign(file)
        elif (status := _status(file)) != "file":
            yield file, f"Expected a picture, got {status}: check it."
        else:
            yield file, file.parent.relative_to(folder)


def _inside_remote(folder: Path, place: Path, recursive: bool) -> Iterator[tuple[Path, Path | str]]:
    """`_inside` of a folder that is listed at once: to ask about each of a million files would take hours."""
    try:
        names = list_files(folder, recursive=recursive)
    except OSError as error:
        yield folder, f"Expected a readable folder, got {error.strerror or error}."
        return
    results, inside = str(place), f"{folder}/"
    names = [name for name in names if _is_named_picture(PurePosixPath(name).name)]
    if results.startswith(inside):
        names = [name for name in names if not name.startswith(f"{results.removeprefix(inside)}/")]
    elif results == str(folder):
        names = [name for name in names if read_note(folder / name) is None]
    if not names:
        yield folder, NONE_INSIDE.format(deeper="" if recursive else DEEPER)
    for name in names:
        file = folder / name
        yield file, _foreign(file) if file.suffix.lower() in FOREIGN_SUFFIXES else Path(name).parent


def _is_named_picture(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in (*SUFFIXES, *FOREIGN_SUFFIXES)


def _once(found: list[tuple[Path, Path | str]]) -> list[tuple[Path, Path | str]]:
    """Without the pictures that were named before, for the same place."""
    kept: dict[tuple[Path, Path | str], tuple[Path, Path | str]] = {}
    for source, below in found:
        kept.setdefault((source if isinstance(below, str) else source.resolve(), below), (source, below))
    return list(kept.values())


def _ending(source: Path, output: Output) -> str:
    """The ending of a result: of several frames, that of the source."""
    if output.format is not None:
        return f".{output.format}"
    own = source.suffix.lower()
    if output.frames == "all" and own in FRAMED and _status(source) == "file" and count_frames_of(source) > 1:
        return own
    return ".png"


def _distinct(jobs: list[Job]) -> list[Job]:
    """The jobs with targets no two the same, whatever the file system makes of letters' case.

    The first of those that share a stem has it; the others keep their own ending too (photo.jpg.png), and a number
    where that is taken. This depends on the order of the inputs alone.
    """
    owners: dict[str, int] = {}
    for index, job in enumerate(jobs):
        if job.target is not None:
            owners.setdefault(_folded(job.target), index)
    distinct = []
    for index, job in enumerate(jobs):
        target = job.target
        if target is not None and owners[_folded(target)] != index:
            numbers = ("", *(f"-{number}" for number in range(1, len(jobs) + 1)))
            names = (target.with_name(f"{job.source.name}{number}{target.suffix}") for number in numbers)
            target = next(name for name in names if _folded(name) not in owners)
            owners[_folded(target)] = index
        distinct.append(Job(job.source, target, job.problem))
    return distinct


def _folded(path: Path) -> str:
    return unicodedata.normalize("NFC", str(path)).casefold()


def _sparing(job: Job, sources: dict[tuple[int, int] | Path, Path]) -> Job:
    """The job, unless its result would replace an input."""
    replaced = None if job.target is None else sources.get(_identity(job.target))
    if replaced is None or _status(replaced) == "nothing":
        return job
    problem = f"Expected another output than {job.target}, which would replace the input {replaced}: change -o."
    return Job(job.source, problem=problem)


def _identity(path: Path) -> tuple[int, int] | Path:
    """What makes two paths the same file, also where names ignore case."""
    if is_remote(path):
        return path
    try:
        status = path.stat()
    except (OSError, ValueError):
        return path
    return status.st_dev, status.st_ino
