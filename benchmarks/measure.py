"""Clock, arithmetic and memory of a piece of work."""

from __future__ import annotations

import multiprocessing
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

Work = Callable[[], object]


def medians(works: Mapping[str, Work], repeats: int) -> dict[str, float]:
    """Median seconds of each after one run to warm up.

    The works take turns, so that a slow minute of the machine falls on all of them and ratios stay fair.
    """
    for work in works.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            _wait()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def gmac(work: Work) -> float:
    """Multiply-accumulates of matrix products and convolutions, in 1e9."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 2e9


def parameters(*networks: nn.Module | None) -> int:
    """Weights of all of them together."""
    return sum(p.numel() for network in networks if network is not None for p in network.parameters())


def peak_memory(make: Callable[..., Work], *arguments: Any) -> float:
    """Peak resident memory in GB of a fresh process that makes the work and does it once."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_run_and_weigh, (make, arguments, torch.get_num_threads()))


def _run_and_weigh(make: Callable[..., Work], arguments: tuple[Any, ...], threads: int) -> float:
    torch.set_num_threads(threads)
    make(*arguments)()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # Linux counts in kB


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
