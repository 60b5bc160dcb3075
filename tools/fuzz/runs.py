"""Run cases in a process of their own, which may hang or die, and count what became of them."""

from __future__ import annotations

import multiprocessing
import random
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

HANG = 20.0
"""Seconds after which a case counts as hanging; the slowest good ones take one."""


@dataclass
class Tally:
    """What became of the cases of an entrance."""

    cases: int = 0
    refused: int = 0
    tracebacks: int = 0
    hangs: int = 0
    wrong: int = 0
    memory: int = 0
    slowest: float = 0.0
    faults: list[str] = field(default_factory=list)


def run_cases(name: str, seed: int, first: int, last: int, answers: Connection) -> None:
    """Cases `first` to `last` of an entrance, in this process: (number, outcome, bytes, seconds) of each is sent."""
    from .entrances import ENTRANCES, Wrong

    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        case = ENTRANCES[name](Path(folder))
        for number in range(first, last):
            before, start = _reset_peak(), time.perf_counter()
            try:
                outcome = case(random.Random(f"{seed}/{name}/{number}"))
            except Wrong as wrong:
                outcome = f"wrong: {wrong}"
            except BaseException as error:
                place = traceback.extract_tb(error.__traceback__)[-1]
                outcome = f"traceback: {type(error).__name__}: {str(error)[:150]} ({place.filename}:{place.lineno})"
            answers.send((number, outcome, max(_peak() - before, 0), time.perf_counter() - start))
    answers.send(None)


def _reset_peak() -> int:
    """Bytes that this process holds now, from where the peak counts anew."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return sys.maxsize
    return _peak()


def _peak() -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) * 1024


def try_entrance(name: str, seed: int, first: int, cases: int, limit: float = HANG) -> Tally:
    """All cases of an entrance, whatever they do to the process that tries them."""
    tally, number, last = Tally(), first, first + cases
    context = multiprocessing.get_context("spawn")
    while number < last:
        here, there = context.Pipe(False)
        process = context.Process(target=run_cases, args=(name, seed, number, last, there), daemon=True)
        process.start()
        there.close()
        patience = 120.0  # the imports, and the samples
        try:
            while here.poll(patience) and (answer := here.recv()) is not None:
                number, patience = answer[0] + 1, limit
                _count(tally, *answer)
            if number < last:
                _count(tally, number, "hang", 0, limit)
                number += 1
        except EOFError:  # the process is gone: a crash
            _count(tally, number, "traceback: the process ended", 0, 0.0)
            number += 1
        process.kill()
        process.join()
    return tally


def _count(tally: Tally, number: int, outcome: str, memory: int, seconds: float) -> None:
    tally.cases += 1
    tally.refused += outcome == "refused"
    tally.tracebacks += outcome.startswith("traceback")
    tally.hangs += outcome == "hang"
    tally.wrong += outcome.startswith("wrong")
    tally.memory, tally.slowest = max(tally.memory, memory), max(tally.slowest, seconds)
    if outcome not in ("taken", "refused"):
        tally.faults.append(f"{number}: {outcome}")
