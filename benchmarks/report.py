"""The measured numbers as Markdown tables, in the README, and as plots."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

START, END = "<!-- benchmarks -->", "<!-- end of benchmarks -->"
UNITS = {"faces": "faces in the picture", "megapixels": "megapixels", "frames": "frames", "steps": "steps"}


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first hold numbers."""
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def markdown(results: dict[str, Any]) -> str:
    """What the README shows."""
    machine = results["machine"]
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    start, faces = results["beginning"], results["scaling"]["faces"]
    further = (faces[-1]["seconds"] - faces[0]["seconds"]) / (faces[-1]["at"] - faces[0]["at"]) / faces[0]["seconds"]
    weights = ", ".join(f"{peak:.2f} GB with {count}" for count, peak in results["crowd"].items()) + " faces"
    return "\n\n".join(
        [
            f"On {machine['cpu']}{gpu}, {machine['threads']} threads, torch {machine['torch']}; medians of up to "
            f"{results['repeats']} runs that took turns. Peers have random weights and are timed for their forward "
            "pass at 512 px (Real-ESRGAN: 128 to 512 px); ours is one aligned face, and end to end where it says so: "
            "detect, align, restore, paste. Peak is that of a process with nothing else in it, torch included.",
            "**float32**",
            _weighed(results["float32"]),
            f"**bfloat16** (of its own accord CLR-Face runs in {results['chosen']} here)",
            _timed(results),
            "Where the time of one face goes (float32):",
            _stages(results["stages"]),
            "How it grows, at one step. In a picture of 12 megapixels with one face, each further one adds "
            f"{further:.2f} of the time. A picture of 24 megapixels takes {weights} in it.",
            f"After the start: {start['import']:.2f} s for the imports where torch is there already, "
            f"{start['load']:.2f} s to load, and the first restoration takes {start['first'] / start['next']:.1f} "
            "times as long as the next.",
        ]
    )


PEERS = ("CodeFormer", "RestoreFormer", "GFPGAN")


def _ratios(row: dict[str, Any]) -> list[str]:
    return [f"{row['of'][peer]:.2f}" for peer in PEERS]


def _weighed(rows: Sequence[dict[str, Any]]) -> str:
    cells = [
        [
            row["name"],
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
    cells = [[row["name"], f"{row['seconds']:.2f}", *_ratios(row)] for row in rows]
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


def replace(text: str, part: str) -> str:
    """`text` with `part` between its two marks."""
    before, mark, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise SystemExit(f"Expected {START} and {END} in the README, found none: put them where the table belongs.")
    return f"{before}{START}\n{part}\n{END}{after}"


def main() -> None:
    root = Path(__file__).parent.parent
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("results", type=Path, help="JSON that `python -m benchmarks` wrote")
    parser.add_argument("--readme", type=Path, default=root / "README.md", help="file whose table is replaced")
    parser.add_argument("--plot", type=Path, default=root / "docs" / "scaling.png", help="where the plots go")
    args = parser.parse_args()
    results = json.loads(args.results.read_text())
    part = markdown(results)
    args.plot.parent.mkdir(parents=True, exist_ok=True)
    plot(results["scaling"], args.plot)
    part += f"\n\n![Time and memory along the four scales]({os.path.relpath(args.plot, args.readme.parent)})"
    args.readme.write_text(replace(args.readme.read_text(), part))


if __name__ == "__main__":
    main()
