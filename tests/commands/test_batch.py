"""A batch always ends well: names, closed streams, leftovers, resume, foreign files, signals.

`clrface degrade` stands for all commands: it goes through the same files and batch, and needs no model.
"""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageSequence

from clrface_core.cli import main
from clrface_core.commands import batch as batch_module
from clrface_core.commands.batch import Batch, run_jobs
from clrface_core.commands.files import Output, plan
from clrface_core.errors import CLRFaceError
from clrface_core.photo import read_note, read_photo
from clrface_core.photo.replace_file import HOST, remove_leftovers
from clrface_core.precision import ran_out_of_memory
from tests.tiny import files_in, picture

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUNBUFFERED": ""}
"""Of other processes: they run this checkout, and may have lines left to write when they end."""


def degrade(*arguments: object) -> int:
    return main(["degrade", *map(str, arguments), "--quiet"])


def shell(*arguments: object, **options: Any) -> subprocess.Popen:
    """`clrface degrade` in a process of its own: for what only the end of a process shows, as PyTorch takes seconds."""
    command = [sys.executable, "-m", "clrface_core", "degrade", *map(str, arguments)]
    return subprocess.Popen(command, env=ENVIRONMENT, **options)


@pytest.mark.parametrize("order", [1, -1])
def test_same_stems_get_names_of_their_own_whatever_the_order_on_disk(tmp_path: Path, order: int) -> None:
    for name in ["photo.jpg", "photo.png", "PHOTO.bmp", "photo.png.png", "other.png"][::order]:
        picture(tmp_path / "in" / name)
    jobs = {job.source.name: job.target for job in plan([tmp_path / "in"], tmp_path / "out")}
    assert {source: target.name for source, target in jobs.items() if target} == {
        "PHOTO.bmp": "PHOTO.png",
        "other.png": "other.png",
        "photo.jpg": "photo.jpg.png",
        "photo.png": "photo.png-1.png",
        "photo.png.png": "photo.png.png",
    }


def test_results_inside_the_input_folder_are_no_input(tmp_path: Path) -> None:
    picture(tmp_path / "album/a.jpg")
    for _ in range(2):
        assert degrade(tmp_path / "album", "-o", tmp_path / "album/out", "--recursive") == 0
    assert files_in(tmp_path / "album") == ["a.jpg", "out/a.png"]
    for _ in range(2):
        assert degrade(tmp_path / "album", "-o", tmp_path / "album") == 0
    assert files_in(tmp_path / "album") == ["a.jpg", "a.png", "out/a.png"]


def test_whatever_is_named_as_a_picture_counts(tmp_path: Path, capsys: Any) -> None:
    picture(tmp_path / "in/a.jpg")
    (tmp_path / "in/b.psd").write_bytes(b"8BPS")
    os.mkfifo(tmp_path / "in/c.png")
    (tmp_path / "in/d.webp").symlink_to(tmp_path / "nowhere")
    (tmp_path / "in/e.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (tmp_path / "in/notes.txt").write_text("no picture")
    assert degrade(tmp_path / "in", "-o", tmp_path / "out") == 1
    lines = capsys.readouterr().err.splitlines()
    assert [Path(line.split(": ")[1]).name for line in lines] == ["b.psd", "c.png", "d.webp", "e.heic"]
    assert files_in(tmp_path / "out") == ["a.png"]


@pytest.mark.parametrize("name", ["x" * 5000, "a/" * 3000])
def test_names_too_long_are_one_sentence(tmp_path: Path, capsys: Any, name: str) -> None:
    assert degrade(tmp_path / name, picture(tmp_path / "a.png"), "-o", tmp_path / "out") == 1
    assert len(capsys.readouterr().err) < 900 and files_in(tmp_path / "out") == ["a.png"]
    with pytest.raises(SystemExit):
        degrade(tmp_path / "a.png", "-o", tmp_path / name)


def test_pipes_and_devices_are_refused(tmp_path: Path, capsys: Any) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert degrade(tmp_path / "pipe.png", "/dev/zero", "-o", tmp_path / "out") == 1
    assert capsys.readouterr().err.count("a pipe or device") == 2


def test_names_that_standard_output_cannot_say_end_nothing(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = ["a.png", "中文.png", os.fsdecode(b"b\xe9.png"), "new\nline.png"]
    for name in odd:
        picture(tmp_path / "in/a.png").rename(tmp_path / "in" / name)
    picture(tmp_path / "in/a.png")
    poor = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", poor)
        assert main(["degrade", str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == 0
    assert not capsys.readouterr().err
    assert {*os.listdir(tmp_path / "out")} == {*odd} and len(poor.buffer.getvalue().splitlines()) == 4
    assert main(["degrade", str(tmp_path / "in"), "-o", str(tmp_path / "again"), "--json"]) == 0
    assert {Path(record["input"]).name for record in json.loads(capsys.readouterr().out)["results"]} == {*odd}


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """A folder of three pictures."""
    for number in range(3):
        picture(tmp_path / f"in/{number}.png")
    return tmp_path / "in"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_standard_output_ends_nothing(three: Path, tmp_path: Path) -> None:
    """Nor does Python fail on what is still to be written when the process ends."""
    with open("/dev/full", "w") as full:
        process = shell(three, "-o", tmp_path / "full", stdout=full, stderr=subprocess.PIPE)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0 and len(files_in(tmp_path / "full")) == 3 and not errors


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_report_that_cannot_be_printed_is_said(
    three: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open("/dev/full", "w") as full, monkeypatch.context() as patched:  # to close it writes what is left, or fails
        patched.setattr(sys, "stdout", full)
        assert main(["degrade", str(three), "-o", str(tmp_path / "json"), "--json"]) == 1
    assert len(files_in(tmp_path / "json")) == 3 and "Expected to print" in capsys.readouterr().err


def test_a_reader_that_has_gone_ends_nothing(
    three: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    os.close(reading)  # as `| head` does
    with open(writing, "w") as head, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", head)
        assert main(["degrade", str(three), "-o", str(tmp_path / "head")]) == 0
    assert len(files_in(tmp_path / "head")) == 3 and not capsys.readouterr().err


def test_closed_streams_end_nothing(three: Path, tmp_path: Path) -> None:
    """Whose numbers then go to the next files opened: a result must not be taken for a stream."""
    close = f"exec {sys.executable} -m clrface_core degrade {three} none.png -o {tmp_path / 'closed'} >&- 2>&-"
    done = subprocess.run(["sh", "-c", close], env=ENVIRONMENT, check=False)
    assert done.returncode == 1 and len(files_in(tmp_path / "closed")) == 3


def test_foreign_files_are_spared_unless_asked(tmp_path: Path, capsys: Any) -> None:
    source, target = picture(tmp_path / "a.jpg"), picture(tmp_path / "out/a.png", seed=7)
    before = target.read_bytes()
    for option in ([], ["--resume"]):
        assert degrade(source, "-o", tmp_path / "out", *option) == 1
        assert "--overwrite" in capsys.readouterr().err and target.read_bytes() == before
    assert degrade(source, "-o", tmp_path / "out", "--overwrite") == 0
    assert target.read_bytes() != before
    assert degrade(source, "-o", tmp_path / "out") == 0  # its own results it may replace


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tif"])
def test_resume_skips_what_is_done_and_whole_and_unchanged(tmp_path: Path, kind: str) -> None:
    source, out = picture(tmp_path / "in/a.jpg"), tmp_path / f"out/a.{kind}"

    def run(*options: str) -> str:
        """What became of the picture: it was skipped or done."""
        stamp = out.stat().st_mtime_ns if out.exists() else None
        assert degrade(tmp_path / "in", "-o", tmp_path / "out", "--resume", "--format", kind, *options) == 0
        return "skipped" if out.stat().st_mtime_ns == stamp else "done"

    assert run() == "done"
    whole = out.read_bytes()
    assert run() == "skipped"
    assert run("--seed", "3") == "done" and out.read_bytes() != whole  # other settings
    assert run() == "done" and out.read_bytes() == whole
    out.write_bytes(whole[: len(whole) // 2])  # cut short
    assert run() == "done" and out.read_bytes() == whole
    for place in (40, len(whole) - (16 if kind == "png" else 1)):
        flipped = bytearray(whole)
        flipped[place] ^= 1
        out.write_bytes(flipped)
        assert run() == "done" and out.read_bytes() == whole
    picture(source, seed=1)  # other content under the same name
    assert run() == "done" and out.read_bytes() != whole
    assert run() == "skipped"
    assert files_in(tmp_path / "out") == [f"a.{kind}"]  # nothing lies beside the results


def test_the_note_is_no_metadata(tmp_path: Path) -> None:
    source = picture(tmp_path / "a.jpg")
    assert degrade(source, "-o", tmp_path / "a.png", "--strip-metadata") == 0
    note = read_note(tmp_path / "a.png")
    assert note is not None and note[1] and len(note[0]) == 64
    with Image.open(tmp_path / "a.png") as image:
        image.load()
        assert not image.info
    assert read_note(source) is None and read_note(tmp_path / "absent") is None


def test_leftovers_of_killed_runs_are_removed_but_not_those_of_the_living(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    mine = tmp_path / f".clrface-{HOST}-{os.getpid()}-00ff.tmp"
    dead = tmp_path / f".clrface-{HOST}-{ended.pid}-00ff.tmp"
    elsewhere = tmp_path / f".clrface-{'0' * 8}-{ended.pid}-00ff.tmp"
    other = tmp_path / ".clrface-notes.tmp"
    for path in (mine, dead, elsewhere, other):
        path.write_bytes(b"half")
    remove_leftovers(tmp_path)
    assert {*tmp_path.iterdir()} == {mine, elsewhere, other}
    remove_leftovers(tmp_path / "absent")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signals_leave_nothing_half_written_and_resume_completes(tmp_path: Path, number: signal.Signals) -> None:
    for index in range(25):
        picture(tmp_path / f"in/{index:02}.png", seed=index, size=(300, 300))
    arguments = [tmp_path / "in", "-o", tmp_path / "out", "--resume"]
    process = shell(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while process.poll() is None and len(list((tmp_path / "out").glob("*.png"))) < 3:
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    if number != signal.SIGKILL:
        assert errors.decode().splitlines() == ["clrface: interrupted"]
        assert not list((tmp_path / "out").glob(".clrface*"))
    done = list((tmp_path / "out").glob("*.png"))
    assert 3 <= len(done) < 25
    for path in done:
        read_photo(path)
    stamps = {path: path.stat().st_mtime_ns for path in done}
    assert degrade(*arguments) == 0
    assert degrade(tmp_path / "in", "-o", tmp_path / "undisturbed") == 0
    assert files_in(tmp_path / "out") == files_in(tmp_path / "undisturbed")
    for path in (tmp_path / "undisturbed").iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())


TWINS = """
import os, sys
import clrface_core.commands.batch, clrface_core.degrade
from clrface_core.cli import main
child = os.fork()
status = main(sys.argv[1:])
sys.exit(status or (child and os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
"""
"""Two processes that load PyTorch once, and so begin their work at the same moment."""


def test_two_processes_on_one_folder_do_not_disturb_each_other(tmp_path: Path) -> None:
    for index in range(12):
        picture(tmp_path / f"in/{index:02}.png", seed=index, size=(200, 200))
    command = [sys.executable, "-c", TWINS, "degrade", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    done = subprocess.run([*command, "--resume", "--quiet"], env=ENVIRONMENT, check=False, timeout=120)
    assert done.returncode == 0
    assert degrade(tmp_path / "in", "-o", tmp_path / "alone") == 0
    assert files_in(tmp_path / "out") == files_in(tmp_path / "alone")
    for name in files_in(tmp_path / "alone"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


def test_frames_are_said_to_be_left_out_or_all_done(tmp_path: Path, capsys: Any) -> None:
    frames = [Image.new("RGB", (24, 24), colour) for colour in ("red", "lime", "blue")]
    (tmp_path / "in").mkdir()
    frames[0].save(tmp_path / "in/a.gif", save_all=True, append_images=frames[1:], duration=50)
    picture(tmp_path / "in/b.jpg")
    assert main(["degrade", str(tmp_path / "in"), "-o", str(tmp_path / "first")]) == 0
    assert "2 more frames or pages were left out" in capsys.readouterr().err
    assert degrade(tmp_path / "in", "-o", tmp_path / "all", "--frames", "all") == 0
    assert files_in(tmp_path / "all") == ["a.gif", "b.png"]
    with Image.open(tmp_path / "all/a.gif") as image:
        assert len(list(ImageSequence.Iterator(image))) == 3 and image.info["duration"] == 50
    assert degrade(tmp_path / "in", "-o", tmp_path / "all", "--frames", "all", "--resume") == 0


def test_a_reader_that_fails_in_any_way_ends_one_job_and_a_bug_ends_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reader(name: str, data: bytes) -> Any:
        if str(name).endswith("large.png"):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 147000000 bytes")
        raise ZeroDivisionError("in a decoder")

    def broken(items: Any, bar: Any) -> Any:
        return ((photo.no_such_thing, {}) for _, photo in items)

    def same(items: Any, bar: Any) -> Any:
        return (photo if isinstance(photo, Exception) else (photo, {}) for _, photo in items)

    jobs = plan([picture(tmp_path / "a.png"), tmp_path / "none.png", picture(tmp_path / "large.png")], tmp_path / "out")
    work = Batch("testing", Output(), {}, quiet=True, chatty=False)
    with pytest.raises(AttributeError):
        run_jobs(jobs, broken, work)
    monkeypatch.setattr(batch_module, "photo_of_file", reader)
    records = run_jobs(jobs, same, work)
    assert "ZeroDivisionError" in records[0]["error"] and "found nothing" in records[1]["error"]
    assert "fit into memory" in records[2]["error"], "which is no damage"


def test_memory_has_many_words() -> None:
    for said in ("CUDA out of memory", "DefaultCPUAllocator: can't allocate memory", "could not create a primitive"):
        assert ran_out_of_memory(RuntimeError(said))
    assert ran_out_of_memory(MemoryError())
    assert not ran_out_of_memory(RuntimeError("shapes differ"))


def test_outputs_out_of_range_are_refused() -> None:
    for wrong in ({"format": "gif"}, {"quality": 0}, {"frames": "some"}):
        with pytest.raises(CLRFaceError, match=r"^Expected"):
            Output(**wrong)


def test_frames_are_read_when_their_turn_comes_and_one_that_is_broken_ends_the_job_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = [Image.new("RGB", (24, 24), (50 * number, 0, 0)) for number in range(5)]
    (tmp_path / "in").mkdir()
    for name in ("a.tif", "b.tif"):
        pages[0].save(tmp_path / "in" / name, save_all=True, append_images=pages[1:])
    picture(tmp_path / "in/c.png")
    told: list[str] = []
    frames_of_file = batch_module.frames_of_file

    def reader(name: str, data: bytes) -> Any:
        for number, photo in enumerate(frames_of_file(name, data)):
            told.append("read")
            if name.endswith("b.tif") and number == 2:
                raise ZeroDivisionError("in a decoder")
            yield photo

    def same(items: Any, bar: Any) -> Any:
        for _, photo in items:
            told.append("done")
            yield photo if isinstance(photo, Exception) else (photo, {})

    monkeypatch.setattr(batch_module, "frames_of_file", reader)
    output = Output(frames="all")
    jobs = plan([tmp_path / "in"], tmp_path / "out", output=output)
    records = run_jobs(jobs, same, Batch("testing", output, {}, quiet=True, chatty=False))
    assert [bool(record["error"]) for record in records] == [False, True, False]
    assert "ZeroDivisionError" in records[1]["error"] and files_in(tmp_path / "out") == ["a.tif", "c.png"]
    assert told[:10] == ["read", "done"] * 5


def test_an_interrupted_run_reports_what_it_has_done(
    three: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = batch_module.write_photo

    def interrupted(path: Path, *given: Any, **options: Any) -> None:
        if path.stem == "2":
            raise KeyboardInterrupt
        write(path, *given, **options)

    monkeypatch.setattr(batch_module, "write_photo", interrupted)
    assert main(["degrade", str(three), "-o", str(tmp_path / "out"), "--json"]) == 130
    told = json.loads(capsys.readouterr().out)
    assert told["interrupted"] and [Path(each["output"]).name for each in told["results"]] == ["0.png", "1.png"]
