"""Clock, arithmetic and memory of a piece of work."""

from __future__ import annotations

import multiprocessing
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

Work = Callable[[], object]


PATIENCE = 20.0
"""Seconds after which a work is not repeated any more, once there is one timing of it after the first."""


def medians(works: Mapping[str, Work], repeats: int, patience: float = PATIENCE) -> dict[str, float]:
    """Median seconds of each after one run to warm up; slow ones are repeated less often.

    The works take turns, so that a slow minute of the machine falls on all of them and ratios stay fair.
    """
    for work in works.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            if sum(seconds[name]) < patience:
                seconds[name].append(_clock(work))
    return {name: statistics.median(values) for name, values in seconds.items()}


BUSY = "CLRFACE_BENCHMARK_BUSY"
"""Set in the environment, so that processes started here see it too: count the processor's seconds, not the clock's."""


def _clock(work: Work) -> float:
    now = time.process_time if os.environ.get(BUSY) else time.perf_counter
    start = now()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return now() - start


def gmac(work: Work) -> float:
    """Multiply-accumulates of matrix products and convolutions, in 1e9."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 2e9


def parameters(*networks: nn.Module | None) -> int:
    """Weights of all of them together."""
    return sum(p.numel() for network in networks if network is not None for p in network.parameters())


class Alone(NamedTuple):
    """A work in a process of its own: its peak resident memory in GB, and the seconds of its first run and of those
    after it (their median; the first again where there was no time for another)."""

    peak_gb: float
    first: float
    warm: float


def alone(make: Callable[..., Work], *arguments: Any, repeats: int = 0) -> Alone:
    """Make the work in a fresh process and do it once, and if that is quick up to `repeats` times more."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_alone, (make, arguments, repeats, torch.get_num_threads()))


def _alone(make: Callable[..., Work], arguments: tuple[Any, ...], repeats: int, threads: int) -> Alone:
    torch.set_num_threads(threads)
    work = make(*arguments)
    first = _clock(work)
    again: list[float] = []
    while len(again) < repeats and first + sum(again) < PATIENCE / 3:
        again.append(_clock(work))
    return Alone(_peak_gb(), first, statistics.median(again) if again else first)


def _peak_gb() -> float:
    """The most memory that this process has had resident.

    Linux keeps the parent's peak in ru_maxrss when a process starts another program, but not in VmHWM.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / 1e6


def machine() -> dict[str, Any]:
    """What the numbers were taken on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = {line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")}
    except OSError:
        names = {platform.processor()}
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": ", ".join(sorted(names)), "threads": torch.get_num_threads(), "gpu": gpu,
        "torch": torch.__version__, "python": platform.python_version(),
    }  # fmt: skip
