"""A long batch: `python -m tools.soak --photos 1000` restores so many small photos in one command.

They are made from the sample pictures: pieces with a face, reduced, turned over, of other brightness. Prints how the
memory of the process grew with the number of results, and whether some of them, chosen at random, are to the byte what
`clrface restore` makes of that photo alone. For Linux.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps

from clrface_core.cli import main as clrface

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
MOST = 5.0
"""Megabytes per 1,000 photos by which memory may grow."""
WARM = 0.1
"""Share of the results after which memory is watched: libraries take theirs with the first ones."""


def make_photos(folder: Path, count: int, side: int) -> None:
    """JPEG photos of `side` pixels, each of another content."""
    folder.mkdir()
    sources = [Image.open(path).convert("RGB") for path in sorted(SAMPLES.glob("*.jpg"))]
    for number in range(count):
        draw = random.Random(number)
        picture = draw.choice(sources)
        edge = min(picture.size) * draw.uniform(0.8, 1)
        left, top = ((extent - edge) * draw.random() for extent in picture.size)
        piece = picture.resize((side, side), Image.Resampling.BICUBIC, (left, top, left + edge, top + edge))
        piece = ImageEnhance.Brightness(piece).enhance(draw.uniform(0.7, 1.2))
        piece = ImageOps.mirror(piece) if draw.random() < 0.5 else piece
        piece.save(folder / f"{number:05}.jpg", quality=draw.randrange(40, 90))


def started(inputs: Path, output: Path, options: list[str]) -> int:
    """`clrface restore` in a process of its own; its number."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            status = clrface(["restore", str(inputs), "-o", str(output), *options])
    finally:
        os._exit(status)


def watched(process: int, output: Path) -> tuple[int, list[tuple[int, float]]]:
    """The exit status of a process, and its memory in MB by how many results there were."""
    seen: list[tuple[int, float]] = []
    while True:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), seen
        with contextlib.suppress(OSError, IndexError):
            held = int(Path(f"/proc/{process}/status").read_text().partition("VmRSS:")[2].split()[0]) / 1024
            seen.append((len(list(output.glob("*.png"))), held))
        time.sleep(0.5)


def slope(seen: list[tuple[int, float]], count: int) -> float:
    """Megabytes per 1,000 results, by least squares over what came after the first of them."""
    points = np.array([(done, held) for done, held in seen if done >= WARM * count])
    if len({done for done, _ in points.tolist()}) < 3:
        return float("nan")
    return float(np.polyfit(points[:, 0], points[:, 1], 1)[0]) * 1000


def main() -> int:
    """The figures on standard output; 1 where memory grows, or a result is another than alone."""
    parser = argparse.ArgumentParser(prog="python -m tools.soak", description=__doc__, allow_abbrev=False)
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--side", type=int, default=128, help="of the photos, in pixels (128)")
    parser.add_argument("--check", type=int, default=20, help="results to compare with single runs (20)")
    parser.add_argument("--model", help="a bundle in place of the one that is included")
    args = parser.parse_args()
    torch.set_num_threads(1)  # a process that is forked has none of the others
    options = ["--device", "cpu", "--dtype", "float32", *(["--model", args.model] if args.model else [])]
    with tempfile.TemporaryDirectory() as folder:
        inputs, output, alone = (Path(folder) / name for name in ("in", "out", "alone"))
        make_photos(inputs, args.photos, args.side)
        output.mkdir()
        start = time.monotonic()
        status, seen = watched(started(inputs, output, options), output)
        grown, results = slope(seen, args.photos), len(list(output.glob("*.png")))
        print(f"{results} results of {args.photos} in {time.monotonic() - start:.0f} s, exit status {status}")
        print(f"memory: {max(held for _, held in seen):.0f} MB at most, {grown:+.2f} MB per 1,000 photos", flush=True)
        names = random.Random(0).sample(sorted(path.stem for path in inputs.iterdir()), min(args.check, args.photos))
        equal = 0
        for name in names:
            os.waitpid(started(inputs / f"{name}.jpg", alone, options), 0)
            equal += (alone / f"{name}.png").read_bytes() == (output / f"{name}.png").read_bytes()
        print(f"equal to single runs: {equal} of {len(names)}")
    return int(not (status == 0 and results == args.photos and grown < MOST and equal == len(names)))


if __name__ == "__main__":
    sys.exit(main())
