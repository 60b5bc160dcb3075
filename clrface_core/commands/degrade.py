"""`clrface degrade`: make test material, clean pictures in and seeded degraded ones out."""

from __future__ import annotations

import argparse
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import options

if TYPE_CHECKING:
    from tqdm import tqdm

    from ..degrade import DegradeConfig
    from .batch import Item, Outcome


def add_parser(commands: Any) -> None:
    """Declare the sub-command."""
    parser = commands.add_parser(
        "degrade", help="degrade pictures, to have something to restore", allow_abbrev=False,
        description="Blur, reduce, add noise and compress, each drawn from a range by the seed and the picture's name.",
    )  # fmt: skip
    parser.set_defaults(run=run, parser=parser)
    options.add_files(parser)
    ranges = parser.add_mutually_exclusive_group()
    ranges.add_argument("--preset", choices=options.PRESETS, default="standard", help="ranges to draw from (standard)")
    ranges.add_argument(
        "--config", type=Path, metavar="FILE",
        help='JSON with ranges of your own, such as {"sigma": [1, 4], "reduction": [2, 4], "quality": [40, 60]}',
    )  # fmt: skip
    parser.add_argument("--seed", type=options.whole(0), default=0, metavar="N", help="of all that is drawn (0)")
    options.add_report(parser)


def run(args: argparse.Namespace) -> int:
    """Degrade every input; 1 if any failed."""
    from ..degrade import PRESETS, draw
    from ..errors import CLRFaceError
    from .batch import Batch, run_jobs
    from .console import report, reported_if_interrupted
    from .files import check_place, plan

    config = PRESETS[args.preset] if args.config is None else read_config(args.config)
    try:
        output = options.output(args)
        jobs = plan(args.inputs, args.output, recursive=args.recursive, output=output)
    except CLRFaceError as error:
        args.parser.error(str(error))

    check_place(args.output)

    def work(items: Iterable[Item], bar: tqdm) -> Iterator[Outcome]:
        for job, photo in items:
            if isinstance(photo, Exception):
                yield photo
                continue
            drawn = draw(config, (args.seed, zlib.crc32(os.fsencode(job.source.name))))
            summary = f"reduced {drawn.reduction:.1f} times, quality {drawn.quality}"
            yield photo.with_rgb(drawn.apply(photo.rgb)), {"degradation": asdict(drawn), "summary": summary}

    settings = {"seed": args.seed, "config": config.to_dict()}
    batch = Batch("degrading", output, settings, quiet=args.quiet, chatty=not (args.quiet or args.json))
    with reported_if_interrupted({"settings": settings} if args.json else None) as records:
        run_jobs(jobs, work, batch, records)
    if args.json and not report({"settings": settings, "results": records}):
        return 1
    return 1 if any(record["error"] for record in records) else 0


def read_config(path: Path) -> DegradeConfig:
    """The ranges in a JSON file; CLRFaceError where it cannot be read or makes no sense."""
    from ..degrade import DegradeConfig
    from ..errors import CLRFaceError

    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CLRFaceError(f"Expected degradation ranges as JSON in {path}, but {error}: correct it.") from error
    if not isinstance(values, dict):
        raise CLRFaceError(
            f"Expected a JSON object of ranges in {path}, got {type(values).__name__}: see clrface degrade --help."
        )
    return DegradeConfig.from_dict(values)
