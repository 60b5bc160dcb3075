"""Measure, and write the numbers as JSON."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from clrface_core.models.bundle import build, load_bundle
from clrface_core.precision import choose_device, choose_dtype

from . import measure, ours, peers
from .report import SHOWN

STEPS = (1, 2, 4)
SCALES: dict[str, tuple[Callable[..., ours.Work], tuple[float, ...]]] = {
    "faces": (ours.faces, (1, 2, 5, 10, 20, 40)),
    "megapixels": (ours.megapixels, (0.25, 1, 4, 12, 24)),
    "frames": (ours.frames, (1, 10, 100, 300)),
    "steps": (ours.steps, (1, 2, 4, 8, 16)),
}
Makers = dict[str, Callable[[], ours.Work]]


def peer_makers(dtype: torch.dtype) -> Makers:
    """Other restorers, by the name under which the report shows them."""
    return {name: partial(peers.forward, name, dtype) for name in peers.NAMES}


def our_makers(dtype: torch.dtype, guided: bool) -> Makers:
    """Our restorations of one face."""
    found: Makers = {}
    for steps in STEPS:
        for identity in (0.0, 1.0) if guided else (0.0,):
            name = f"s, {steps} step{'s' * (steps > 1)}" + (", guided" if identity else "")
            found[f"{name}, end to end"] = partial(ours.end_to_end, steps, identity, dtype)
            found[name] = partial(ours.crop, steps, identity, dtype)
    return found


def restorers(makers: Makers, repeats: int, weighed: bool) -> list[dict[str, Any]]:
    """One row per restorer: seconds and ratio to every peer of the same run; GMAC, parameters, peak if `weighed`."""
    works = {name: make() for name, make in tqdm(makers.items(), desc="build")}
    seconds = measure.medians(works, repeats)
    rows: list[dict[str, Any]] = []
    for name, work in tqdm(works.items(), desc="weigh", disable=not weighed):
        of = {peer: seconds[name] / seconds[peer] for peer in peers.NAMES if peer in seconds}
        row = {"name": name, "seconds": seconds[name], "of": of}
        if weighed:
            row["gmac"] = measure.gmac(work)
            row["parameters"] = _parameters(name)
            row["peak_gb"] = measure.alone(makers[name]).peak_gb
        rows.append(row)
    return rows


def _parameters(name: str) -> int:
    if name in peers.NAMES:
        return measure.parameters(peers.build(name, torch.float32)[0])
    bundle = build("base") if name.startswith("base") else load_bundle()
    return measure.parameters(*bundle.networks().values())


def stages(repeats: int, yardsticks: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Milliseconds, GMAC, parameters of each stage, and its ratio to the peers among `yardsticks`."""
    works = ours.stages(torch.float32)
    seconds = measure.medians(works, repeats)
    whole = {row["name"]: row["seconds"] for row in yardsticks if row["name"] in peers.NAMES}
    return {
        name: {
            "ms": 1000 * seconds[name],
            "of": {peer: seconds[name] / theirs for peer, theirs in whole.items()},
            "gmac": measure.gmac(work),
            "parameters": ours.stage_parameters(name),
        }
        for name, work in works.items()
    }


def scaling(repeats: int, quick: bool) -> dict[str, list[dict[str, float]]]:
    """Seconds and peak memory along each scale, every point in a process of its own."""
    result: dict[str, list[dict[str, float]]] = {}
    for scale, (make, values) in SCALES.items():
        points = []
        for value in tqdm(values[:2] if quick else values, desc=scale):
            at = value if scale == "megapixels" else int(value)
            found = measure.alone(make, at, torch.float32, repeats=repeats)
            points.append({"at": at, "seconds": found.warm, "peak_gb": found.peak_gb})
        result[scale] = points
    return result


IMPORT = """
import time, torch
start = time.perf_counter()
import clrface_core.pipeline, clrface_core.faces.select, clrface_core.faces.preview
print(time.perf_counter() - start)
"""


def beginning() -> dict[str, float]:
    """Seconds of what comes before a first restoration in a fresh process (torch is there), of it, and of the next."""
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
    restoration = measure.alone(ours.warm_start, torch.float32, repeats=5)
    return {
        "import": float(done.stdout),
        "load": measure.alone(ours.load, torch.float32).first,
        "first": restoration.first,
        "next": restoration.warm,
    }


def crowd(quick: bool) -> dict[str, float]:
    """Peak memory in GB of a picture of 24 megapixels, by the number of its faces."""
    counts = (4,) if quick else (1, 4, 20, 40)
    return {str(count): measure.alone(ours.megapixels, 24, torch.float32, count).peak_gb for count in counts}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="JSON with the numbers")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="timings of each, of which the median (5)")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (torch's choice)")
    parser.add_argument("--quick", action="store_true", help="every part, but once, on short scales, without `base`")
    parser.add_argument("--short", action="store_true", help="only what the README shows")
    parser.add_argument(
        "--busy", action="store_true", help="count the processor's seconds: for a machine that does other work too"
    )
    args = parser.parse_args()
    if args.busy:
        os.environ[measure.BUSY] = "1"
    if args.threads:
        torch.set_num_threads(args.threads)
    repeats = 1 if args.quick else args.repeats

    results: dict[str, Any] = {
        "machine": measure.machine(),
        "repeats": repeats,
        "clock": "processor" if args.busy else "wall",
        "chosen": str(choose_dtype(choose_device())).removeprefix("torch."),
    }

    def keep(name: str, part: Any) -> None:
        results[name] = part
        args.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")

    makers = peer_makers(torch.float32) | our_makers(torch.float32, guided=True)
    if args.short:
        keep("float32", restorers({name: makers[name] for name in SHOWN}, repeats, weighed=True))
        return
    if not args.quick:
        makers["base, 4 steps"] = partial(ours.crop, 4, 0.0, torch.float32, "base")
    keep("float32", restorers(makers, repeats, weighed=True))
    makers = peer_makers(torch.bfloat16) | our_makers(torch.bfloat16, guided=False)
    keep("bfloat16", restorers(makers, repeats, weighed=False))
    keep("stages", stages(2 * repeats, results["float32"]))
    keep("beginning", beginning())
    keep("crowd", crowd(args.quick))
    keep("scaling", scaling(repeats, args.quick))


if __name__ == "__main__":
    main()
