"""What may happen to a batch, made to happen: `python -m tools.faults` prints what became of it.

`clrface restore --aligned`, with a tiny model, is killed again and again, runs out of disk and memory, loses inputs,
gets an output that cannot be written and a model whose results are not finite. Nothing may be lost: after `--resume`
the results are those of an undisturbed run, to the byte. Nothing may be faked: what lies in the output folder is such
a result, and what is not there was reported. For Linux; a full disk and a read-only one need the right to mount.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from clrface_core.cli import main as clrface
from clrface_core.models.bundle import build, save_bundle

PICTURES = 24


class Skipped(Exception):
    """A fault that cannot be made here, and why."""


class Ended(NamedTuple):
    """How a run ended: exit status (negative: the signal), what it said, and the names of the results in its output."""

    status: int
    said: str
    results: frozenset[str]


class Bench:
    """Inputs, a model, and the results of an undisturbed run."""

    def __init__(self, folder: Path, pictures: int = PICTURES) -> None:
        self.folder, self.inputs, self.model = folder, folder / "in", folder / "tiny.safetensors"
        self.inputs.mkdir()
        torch.manual_seed(0)
        save_bundle(self.model, build("tiny"), torch.float32)
        generator = np.random.default_rng(0)
        for number in range(pictures):
            picture = generator.integers(0, 256, (96, 96, 3), dtype=np.uint8)
            Image.fromarray(picture).save(self.inputs / f"{number:03}.png")
        with contextlib.redirect_stdout(io.StringIO()):  # what is imported now need not be by each of the processes
            clrface(self._words(self.inputs / "000.png", folder / "warm.png", self.model))
        start = time.monotonic()
        ended = self.run(folder / "undisturbed")
        self.seconds = time.monotonic() - start
        assert ended.status == 0, ended.said
        self.expected = {path.name: path.read_bytes() for path in (folder / "undisturbed").iterdir()}
        assert len(self.expected) == pictures

    def copied_inputs(self, name: str) -> Path:
        """The same inputs in a folder of that name, to do harm to."""
        return shutil.copytree(self.inputs, self.folder / name)

    def run(
        self,
        output: Path,
        *options: str,
        model: Path | None = None,
        inputs: Path | None = None,
        meanwhile: Callable[[int], None] | None = None,
        before: Callable[[], None] | None = None,
    ) -> Ended:
        """`clrface restore`, in a process of its own, to which `meanwhile` may do what it likes."""
        log = self.folder / "log"
        process = os.fork()
        if not process:
            self._child(log, [*self._words(inputs or self.inputs, output, model or self.model), *options], before)
        if meanwhile:
            meanwhile(process)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        found = frozenset(path.name for path in output.iterdir()) if output.is_dir() else frozenset()
        return Ended(status, log.read_text(), found)

    @staticmethod
    def _words(inputs: Path, output: Path, model: Path) -> list[str]:
        fixed = ["--aligned", "--strength", "1", "--device", "cpu", "--dtype", "float32", "--model", str(model)]
        return ["restore", str(inputs), "-o", str(output), *fixed]

    def _child(self, log: Path, words: list[str], before: Callable[[], None] | None) -> None:
        """What the process does; it never comes back."""
        status = 1
        try:
            file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, 1)
            os.dup2(file, 2)
            if before:
                before()
            status = clrface(words)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except BaseException:  # a traceback is what must not be: it is seen in the log
            import traceback

            traceback.print_exc()
            status = 70
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def check(self, output: Path, ended: Ended) -> None:
        """Nothing faked: each result is the undisturbed run's, and no picture is missing without a word."""
        results = {name for name in ended.results if not name.startswith(".clrface-")}
        for name in results:
            assert (output / name).read_bytes() == self.expected[name], f"{name} is not the undisturbed run's"
        assert "Traceback" not in ended.said, ended.said
        if ended.status >= 0:
            assert results == ended.results, f"left over: {sorted(ended.results - results)}"
            lines = [line for line in ended.said.splitlines() if line.startswith("clrface: ")]
            for name in set(self.expected) - results:
                assert any(name in line and "Expected" in line for line in lines), f"{name} is missing without a word"
            assert (ended.status == 0) == (results == set(self.expected)), ended

    def resume(self, output: Path) -> None:
        """Nothing lost: once the fault is over, `--resume` completes what was begun."""
        ended = self.run(output, "--resume")
        assert ended.status == 0 and ended.results == set(self.expected), ended
        self.check(output, ended)


def killed(bench: Bench, kills: int) -> str:
    """SIGKILL at random moments, `--resume` each time."""
    draw, output, landed = random.Random(0), bench.folder / "killed", 0
    for _ in range(kills):
        done = len(list(output.glob("*.png")))
        if done == len(bench.expected):  # so that there is always something left to do
            for path in output.glob("*.png"):
                path.unlink()
            done = 0
        wanted = draw.randrange(done, len(bench.expected))

        def kill(process: int, wanted: int = wanted) -> None:
            _wait_for_results(output, wanted)
            time.sleep(draw.uniform(0, bench.seconds / len(bench.expected)))
            os.kill(process, signal.SIGKILL)

        ended = bench.run(output, "--resume", meanwhile=kill)
        landed += ended.status == -signal.SIGKILL
        bench.check(output, ended)
    bench.resume(output)
    return f"killed {landed} times of {kills} while at work"


def interrupted(bench: Bench) -> str:
    """SIGTERM and Ctrl-C in the middle."""
    for number in (signal.SIGTERM, signal.SIGINT):
        output = bench.folder / f"interrupted {number}"

        def end(process: int, output: Path = output, number: int = number) -> None:
            _wait_for_results(output, 3)
            os.kill(process, number)

        ended = bench.run(output, meanwhile=end)
        assert ended.status in (0, 128 + number), ended
        assert not any(name.startswith(".") for name in ended.results), ended.results
        bench.resume(output)
    return "exit status 143 and 130, no leftovers"


def disk_full(bench: Bench) -> str:
    """An output that holds a third of the results."""
    room = sum(map(len, bench.expected.values())) // 3
    with _Mount(bench.folder / "small", f"size={room // 4096 * 4096 + 8192}") as output:
        ended = bench.run(output)
        bench.check(output, ended)
        assert ended.status == 1 and 0 < len(ended.results) < len(bench.expected), ended
        subprocess.run(["mount", "-o", "remount,size=64m", str(output)], check=True)
        bench.resume(output)
    return f"{len(ended.results)} of {len(bench.expected)} results fitted, the others were reported"


def read_only(bench: Bench) -> str:
    """An output that cannot be written."""
    with _Mount(bench.folder / "read-only", "ro") as output:
        ended = bench.run(output)
    assert ended.status == 1 and "clrface: Expected an output that can be written" in ended.said, ended
    return "one sentence, before any work"


def vanishing(bench: Bench) -> str:
    """Inputs that are deleted while the first ones are done."""
    inputs, output = bench.copied_inputs("vanishing in"), bench.folder / "vanishing"
    last = sorted(inputs.iterdir())[-3:]

    def delete(process: int) -> None:
        _wait_for_results(output, 1)
        os.kill(process, signal.SIGSTOP)  # so that it is not done before
        for path in last:
            path.unlink()
        os.kill(process, signal.SIGCONT)

    ended = bench.run(output, inputs=inputs, meanwhile=delete)
    bench.check(output, ended)
    assert ended.status == 1, ended
    bench.resume(output)
    return f"{len(bench.expected) - len(ended.results)} reported, the others done"


def not_finite(bench: Bench) -> str:
    """A model whose weights are numbers and whose results are not."""
    torch.manual_seed(0)
    bundle = build("tiny")
    with torch.no_grad():
        for parameter in bundle.vq.decoder.parameters():
            parameter.fill_(1e30)
    save_bundle(bench.folder / "endless.safetensors", bundle, torch.float32)
    output = bench.folder / "not finite"
    ended = bench.run(output, model=bench.folder / "endless.safetensors")
    bench.check(output, ended)
    assert ended.status == 1 and not ended.results, ended
    return "every picture reported, none written"


def out_of_memory(bench: Bench) -> str:
    """One picture too large for what memory is left."""
    inputs, output = bench.copied_inputs("large in"), bench.folder / "large"
    large = np.random.default_rng(0).integers(0, 256, (3500, 3500, 3), dtype=np.uint8)
    Image.fromarray(large).save(inputs / "large.png", compress_level=0)

    def limit() -> None:
        held = int(Path("/proc/self/status").read_text().partition("VmSize:")[2].split()[0]) * 1024
        resource.setrlimit(resource.RLIMIT_AS, (held + 150 * 2**20,) * 2)

    ended = bench.run(output, inputs=inputs, before=limit)
    bench.check(output, Ended(0, ended.said, ended.results))
    assert ended.status == 1 and ended.results == set(bench.expected), ended
    assert "large.png: Expected it to fit into memory" in ended.said, ended.said
    return "the large one reported, the others done"


def _wait_for_results(output: Path, count: int) -> None:
    end = time.monotonic() + 300
    while time.monotonic() < end and len(list(output.glob("*.png"))) < count:
        time.sleep(0.002)


class _Mount:
    """A file system in memory at a folder; `Skipped` without the right to mount."""

    def __init__(self, place: Path, options: str) -> None:
        self.place, self.options = place, options

    def __enter__(self) -> Path:
        self.place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", self.options, "tmpfs", str(self.place)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise Skipped(f"no mount: {error.strerror}") from error
        if done.returncode:
            raise Skipped(done.stderr.strip() or "mount failed")
        return self.place

    def __exit__(self, *error: object) -> None:
        subprocess.run(["umount", str(self.place)], check=True)


FAULTS: dict[str, Callable[[Bench], str]] = {
    "Ctrl-C and SIGTERM": interrupted,
    "disk full": disk_full,
    "read-only output": read_only,
    "inputs that vanish": vanishing,
    "results that are not finite": not_finite,
    "memory limit": out_of_memory,
}


def main() -> int:
    """The table on standard output; 1 where something was lost or faked."""
    parser = argparse.ArgumentParser(prog="python -m tools.faults", description=__doc__, allow_abbrev=False)
    parser.add_argument("--kills", type=int, default=20, help="SIGKILLs at random moments (20)")
    parser.add_argument("--pictures", type=int, default=PICTURES, help=f"in a batch ({PICTURES})")
    args = parser.parse_args()
    torch.set_num_threads(1)  # a process that is forked has none of the others
    faults: dict[str, Callable[[Bench], str]] = {
        f"kill -9 at {args.kills} random moments": lambda bench: killed(bench, args.kills),
        **FAULTS,
    }
    failed = False
    print("| fault | nothing lost, nothing faked | what happened |\n| --- | --- | --- |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), args.pictures)
        for name, fault in faults.items():
            try:
                verdict, told = "yes", fault(bench)
            except Skipped as skipped:
                verdict, told = "not tried", str(skipped)
            except AssertionError as error:
                verdict, told, failed = "NO", str(error), True
            print(f"| {name} | {verdict} | {told} |", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
