"""`clrface evaluate --video`: how steady videos come out, on clips made of stills."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

MOTIONS = ("still", "pan", "zoom", "turn", "hand")
"""Of `evaluation.video.clips.MOTIONS`, repeated so that --help need not load it (a test compares them)."""
SIDE, AROUND = 256, 600
"""Of the clips' pictures, and of the part of an aligned face's 512 px and its mirrored surroundings that they show."""


def add_options(parser: Any) -> None:
    """--video and --video-frames."""
    group = parser.add_argument_group("videos", "In place of the report on photos: video.md and video.json.")
    group.add_argument(
        "--video", nargs="*", choices=MOTIONS, metavar="MOTION",
        help=f"how steady videos come out: clips of the faces that move so ({', '.join(MOTIONS)}; default: pan hand)",
    )  # fmt: skip
    group.add_argument("--video-frames", type=int, default=24, metavar="N", help="pictures of each clip (24)")


def run(args: argparse.Namespace) -> int:
    """Write the tables."""
    from ..evaluation.cases import choose_faces, load
    from ..evaluation.video.clips import Clip, fitted
    from ..evaluation.video.run import degradation, mean_of, measure, table, ways
    from ..pipeline import Restorer
    from .console import report, say

    restorer = Restorer.load(args.model, device=args.device, dtype=args.dtype)
    faces = choose_faces(args.data, args.limit, [])
    tables, results = [], {}
    for motion in args.video or ["pan", "hand"]:
        rows = []
        for face in faces:
            picture = load(face)
            scale = picture.shape[-1] / 512
            still = fitted(picture, SIDE, (picture.shape[-1] / 2 - 0.5, picture.shape[-2] / 2 - 0.5, AROUND * scale))
            clip = Clip(still, motion, args.video_frames, degradation(args.seed))
            rows.append(measure(clip, restorer, ways(restorer)))
        mean = mean_of(rows)
        tables.append(f"## {motion}\n\n{table(mean)}\n")
        results[motion] = {name: asdict(row) for name, row in mean.items()}
    head = f"# Steadiness\n\nMeans over {len(faces)} clips of {args.video_frames} pictures each, with known motion.\n"
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "video.md").write_text("\n".join([head, *tables]), encoding="utf-8")
    (args.output / "video.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    if args.json:
        return 0 if report(results) else 1
    say("\n".join(tables))
    return 0
