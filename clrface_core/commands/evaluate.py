"""`clrface evaluate`: measure a model on held-out faces and write the report."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import options

if TYPE_CHECKING:
    from torch import Tensor

    from ..pipeline import Restorer


def add_parser(commands: Any) -> None:
    """Declare the sub-command."""
    parser = commands.add_parser(
        "evaluate", help="measure a model and write a report", allow_abbrev=False,
        description="Degrade held-out faces, restore them, write report.md, report.json and contact.png.",
    )  # fmt: skip
    parser.set_defaults(run=run)
    parser.add_argument(
        "--data", nargs="+", required=True, type=Path, metavar="SHARD|DIR",
        help="clean aligned faces: tar shards, or folders of pictures or shards",
    )  # fmt: skip
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="folder of the report")
    parser.add_argument("--model", type=Path, metavar="FILE", help="bundle in place of the one that came along")
    parser.add_argument(
        "--steps", nargs="+", type=options.whole(1), default=[1, 4], metavar="N", help="numbers of steps (1 4)"
    )
    parser.add_argument(
        "--identity", nargs="+", type=options.number(0), default=[0.0], metavar="X", help="identity strengths (0)"
    )
    parser.add_argument("--solver", choices=options.SOLVERS, default="ddim", help="solver (ddim)")
    parser.add_argument("--preset", choices=options.PRESETS, default="standard", help="degradation (standard)")
    parser.add_argument("--seed", type=options.whole(0), default=0, metavar="N", help="of degradation and noise (0)")
    parser.add_argument("--limit", type=options.whole(1), metavar="N", help="faces of each set (default: all)")
    parser.add_argument("--metric-weights", type=Path, metavar="DIR", help="folder with the weights of LPIPS")
    options.add_device(parser)
    parser.add_argument("--dtype", choices=options.DTYPES, help="of the networks (default: the fastest)")
    parser.add_argument("--batch-size", type=options.whole(1), default=4, metavar="N", help="faces at once (4)")
    options.add_report(parser)


def run(args: argparse.Namespace) -> int:
    """Write the report; 1 if pictures had to be left out."""
    from ..evaluation.quality import evaluate
    from ..pipeline import Restorer
    from .files import check_place

    check_place(args.output / "report.md")
    restorer = Restorer(args.model, device=args.device, dtype=args.dtype, batch_size=args.batch_size)
    restorers = _variants(restorer, args)
    args.output.mkdir(parents=True, exist_ok=True)
    report = evaluate(
        restorers,
        args.data,
        degradation=args.preset,
        seed=args.seed,
        limit=args.limit,
        batch=args.batch_size,
        weights=args.metric_weights,
        device=restorer.device,
        sheet=args.output / "contact.png",
        progress=not args.quiet and sys.stderr.isatty(),
    )
    dtype = str(restorer.dtype).removeprefix("torch.")
    report.settings |= {"model": restorer.bundle.name, "solver": args.solver, "dtype": dtype}
    (args.output / "report.json").write_text(report.json(), encoding="utf-8")
    (args.output / "report.md").write_text(report.markdown(), encoding="utf-8")
    if args.json:
        print(json.dumps({"settings": report.settings, "rows": report.rows, "skipped": report.skipped}, indent=2))
    elif not args.quiet:
        print(report.markdown(), end="")
    for reason in report.skipped:
        print(f"clrface: {reason}", file=sys.stderr)
    return 1 if report.skipped else 0


def _variants(restorer: Restorer, args: argparse.Namespace) -> dict[str, Callable[[Tensor], Tensor]]:
    """What is compared, by the name that the report gives it: the estimate alone, then each steps and strength."""
    variants: dict[str, Callable[[Tensor], Tensor]] = {"IRN alone": restorer.estimate_crops}
    for steps in dict.fromkeys(args.steps):
        for identity in dict.fromkeys(args.identity):
            name = f"{steps} step{'' if steps == 1 else 's'}" + (f", identity {identity:g}" if identity else "")
            settings = {"steps": steps, "identity": identity, "solver": args.solver, "seed": args.seed}
            variants[name] = partial(restorer.restore_crops, **settings)
    return variants
