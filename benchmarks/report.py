"""The measured numbers as Markdown tables: all of them in docs/benchmarks.md, the few that matter in the README."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.marked import table, write

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "benchmarks.json"
PLOT = "docs/pictures/scaling.png"

UNITS = {"faces": "faces in the picture", "megapixels": "megapixels", "frames": "frames", "steps": "steps"}


def full(results: dict[str, Any]) -> str:
    """What docs/benchmarks.md shows, of what was measured."""
    machine = results["machine"]
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    parts = [
        f"On {machine['cpu']}{gpu}, {_threads(machine)}, torch {machine['torch']}; {_clock(results)}; "
        f"medians of up to {results['repeats']} runs that took turns. The others are timed for their forward pass "
        "at 512 px (Real-ESRGAN: 128 to 512 px); ours is one aligned face, and end to end where it says so: "
        "detect, align, restore, paste.",
        "**float32**",
        _weighed(results["float32"]),
    ]
    if "bfloat16" in results:
        parts += [f"**bfloat16** (CLR-Face by itself chooses {results['chosen']} here)", _timed(results)]
    if "stages" in results:
        parts += ["Where the time of one face goes (float32):", _stages(results["stages"])]
    if "scaling" in results:
        parts += [_growth(results), f"![Time and memory over faces, pixels, frames and steps]({PLOT[5:]})"]
    return "\n\n".join(parts)


def _growth(results: dict[str, Any]) -> str:
    start, faces = results["beginning"], results["scaling"]["faces"]
    further = (faces[-1]["seconds"] - faces[0]["seconds"]) / (faces[-1]["at"] - faces[0]["at"]) / faces[0]["seconds"]
    weights = ", ".join(f"{peak:.2f} GB with {count}" for count, peak in results["crowd"].items()) + " faces"
    return (
        "How it grows, at one step. In a picture of 12 megapixels with one face, each further one adds "
        f"{further:.2f} of the time. A picture of 24 megapixels takes {weights} in it.\n\n"
        f"After the start: {start['import']:.2f} s for the imports where torch is there already, {start['load']:.2f} s "
        f"to load, and the first restoration takes {start['first'] / start['next']:.1f} times as long as the next."
    )


def _threads(machine: dict[str, Any]) -> str:
    return f"{machine['threads']} thread{'s' * (machine['threads'] != 1)}"


def _clock(results: dict[str, Any]) -> str:
    busy = results.get("clock") == "processor"
    return "seconds of the processor" if busy else "seconds by the clock"


SHOWN = (
    "s, 1 step, end to end",
    "s, 4 steps, end to end",
    "s, 4 steps, guided, end to end",
    "GFPGAN",
    "CodeFormer",
    "RestoreFormer",
)
"""The rows of the README's table, in its order."""


def short(results: dict[str, Any]) -> str:
    """What the README shows: one face of one photo, ours from file to file, the others' forward pass alone."""
    rows = {row["name"]: row for row in results["float32"]}
    cells = [
        [
            _named(name),
            f"{rows[name]['seconds']:.2f}",
            f"{rows[name]['of']['CodeFormer']:.2f}",
            f"{rows[name]['parameters'] / 1e6:.0f}",
            f"{rows[name]['peak_gb']:.1f}",
        ]
        for name in SHOWN
        if name in rows
    ]
    machine = results["machine"]
    return "\n\n".join(
        [
            table(["one face, float32", "seconds", "of CodeFormer", "M parameters", "peak GB"], cells),
            f"On {machine['cpu']}, {_threads(machine)}, no GPU; {_clock(results)}. CLR-Face from photo to "
            "photo, the others one forward pass at 512 px, all on the same machine, taking turns: more in "
            "[docs/benchmarks.md](docs/benchmarks.md).",
        ]
    )


def _named(name: str) -> str:
    return f"**CLR-Face**, {name[3:].removesuffix(', end to end')}" if name.startswith("s, ") else name


def _titled(name: str) -> str:
    """`s` is the bundled model."""
    return f"CLR-Face, {name[3:]}" if name.startswith("s, ") else name


PEERS = ("CodeFormer", "RestoreFormer", "GFPGAN")


def _ratios(row: dict[str, Any]) -> list[str]:
    return [f"{row['of'][peer]:.2f}" for peer in PEERS]


def _weighed(rows: Sequence[dict[str, Any]]) -> str:
    cells = [
        [
            _titled(row["name"]),
            f"{row['seconds']:.2f}",
            *_ratios(row),
            f"{row['gmac']:.0f}",
            f"{row['parameters'] / 1e6:.1f}",
            f"{row['peak_gb']:.2f}",
        ]
        for row in rows
    ]
    header = ["", "seconds", *(f"of {peer}" for peer in PEERS), "GMAC", "M parameters", "peak GB"]
    return table(header, cells)


def _timed(results: dict[str, Any]) -> str:
    """The peers and our whole way in bfloat16, and ours in float32 against the peers in bfloat16."""
    rows = [row for row in results["bfloat16"] if row["name"] in row["of"] or "end to end" in row["name"]]
    theirs = {row["name"]: row["seconds"] for row in rows}
    for row in results["float32"]:
        if row["name"] in theirs and row["name"] not in row["of"]:
            of = {peer: row["seconds"] / theirs[peer] for peer in PEERS}
            rows.append({**row, "name": f"{row['name']}, in float32", "of": of})
    cells = [[_titled(row["name"]), f"{row['seconds']:.2f}", *_ratios(row)] for row in rows]
    return table(["", "seconds", *(f"of {peer}" for peer in PEERS)], cells)


def _stages(stages: dict[str, dict[str, Any]]) -> str:
    cells = [
        [name, f"{stage['ms']:.0f}", *_ratios(stage), f"{stage['gmac']:.1f}", f"{stage['parameters'] / 1e6:.2f}"]
        for name, stage in stages.items()
    ]
    return table(["stage", "ms", *(f"of {peer}" for peer in PEERS), "GMAC", "M parameters"], cells)


def plot(scales: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Seconds and peak memory along each scale, one panel each."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 2.6), layout="constrained")
    panels = figure.subplots(1, len(scales), squeeze=False)
    for axes, (name, points) in zip(panels[0], scales.items(), strict=True):
        at = [point["at"] for point in points]
        axes.plot(at, [point["seconds"] for point in points], "o-", color="tab:blue")
        axes.set(xlabel=UNITS[name], ylim=0)
        axes.set_ylabel("seconds", color="tab:blue")
        memory = axes.twinx()
        memory.plot(at, [point["peak_gb"] for point in points], "s--", color="tab:orange", markersize=4)
        memory.set(ylim=(0, 2.5))
        memory.set_ylabel("peak GB", color="tab:orange")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("results", type=Path, nargs="?", default=RESULTS, help="JSON that `python -m benchmarks` wrote")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of README.md and docs/benchmarks.md")
    args = parser.parse_args()
    results = json.loads(args.results.read_text(encoding="utf-8"))
    page, readme, picture = (args.root / name for name in ("docs/benchmarks.md", "README.md", PLOT))
    write(page, "benchmarks", full(results))
    write(readme, "speed", short(results))
    if "scaling" in results:
        picture.parent.mkdir(parents=True, exist_ok=True)
        plot(results["scaling"], picture)


if __name__ == "__main__":
    main()
