"""Measure, and write the numbers as JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from clrface_core.models.bundle import build, load_bundle

from . import measure, ours, peers

STEPS = (1, 2, 4)
SCALES: dict[str, tuple[Callable[..., ours.Work], tuple[float, ...]]] = {
    "faces": (ours.faces, (1, 2, 5, 10, 20, 40)),
    "megapixels": (ours.megapixels, (0.25, 1, 4, 12, 24)),
    "frames": (ours.frames, (1, 10, 100, 300)),
    "steps": (lambda steps, dtype: ours.crop(steps, 0.0, dtype), (1, 2, 4, 8, 16)),
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def makers(dtype: torch.dtype) -> dict[str, Callable[[], ours.Work]]:
    """Everything that restores one face, by the name under which the report shows it."""
    found: dict[str, Callable[[], ours.Work]] = {name: partial(peers.forward, name, dtype) for name in peers.NAMES}
    for steps in STEPS:
        for identity in (0.0, 1.0):
            name = f"s, {steps} step{'s' * (steps > 1)}" + (", guided" if identity else "")
            found[f"{name}, end to end"] = partial(ours.end_to_end, steps, identity, dtype)
            found[name] = partial(ours.crop, steps, identity, dtype)
    found["base, 4 steps"] = partial(ours.crop, 4, 0.0, dtype, "base")
    return found


def restorers(dtype: torch.dtype, repeats: int, progress: bool) -> list[dict[str, Any]]:
    """One row per restorer: seconds, ratio to CodeFormer and GFPGAN of the same run, GMAC, peak memory."""
    found = makers(dtype)
    works = {name: make() for name, make in tqdm(found.items(), desc="build", disable=not progress)}
    seconds = measure.medians(works, repeats)
    return [
        {
            "name": name,
            "seconds": seconds[name],
            "of": {peer: seconds[name] / seconds[peer] for peer in peers.NAMES},
            "gmac": measure.gmac(work),
            "parameters": _parameters(name, dtype),
            "peak_gb": measure.peak_memory(found[name]),
        }
        for name, work in tqdm(works.items(), desc="weigh", disable=not progress)
    ]


def _parameters(name: str, dtype: torch.dtype) -> int:
    if name in peers.NAMES:
        return measure.parameters(peers.build(name, dtype)[0])
    bundle = build("base") if name.startswith("base") else load_bundle()
    return measure.parameters(*bundle.networks().values())


def scaling(dtype: torch.dtype, repeats: int, progress: bool) -> dict[str, list[dict[str, float]]]:
    """Seconds and peak memory along each scale."""
    result: dict[str, list[dict[str, float]]] = {}
    for scale, (make, values) in SCALES.items():
        bar = tqdm(values, desc=scale, disable=not progress)
        result[scale] = [
            {
                "at": value,
                "seconds": measure.medians({"": make(value, dtype)}, 1 if value >= 100 else repeats)[""],
                "peak_gb": measure.peak_memory(make, value, dtype),
            }
            for value in (int(v) if scale != "megapixels" else v for v in bar)
        ]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="JSON with the numbers")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="timings of each, of which the median (5)")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (torch's choice)")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES), help="of the networks (both)")
    parser.add_argument("--no-scaling", action="store_true", help="leave the four scales out")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    results: dict[str, Any] = {"machine": measure.machine(), "repeats": args.repeats}
    for name in args.dtypes:
        dtype = DTYPES[name]
        results[name] = {
            "stages": measure.medians(ours.stages(dtype), 2 * args.repeats),
            "restorers": restorers(dtype, args.repeats, True),
        }
        args.output.write_text(json.dumps(results, indent=1))
    if not args.no_scaling:
        results["scaling"] = scaling(DTYPES[args.dtypes[0]], args.repeats, True)
    args.output.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
