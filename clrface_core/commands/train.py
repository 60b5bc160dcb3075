"""`clrface train`: one stage of training, or the export of a finished run as a bundle."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from . import options

STAGES = {
    "vq": "the autoencoder: L1, LPIPS, codebook, and a patch discriminator after a warm-up",
    "irn": "the Identity Recovery Network: PSNR or L1, identity and a light LPIPS",
    "refiner": "the conditional denoiser: latent and decoded losses (needs vq and irn)",
    "mask": "the latent mask: a guided step, judged against the truth (needs the other three)",
}


def add_parser(commands: Any) -> None:
    """Declare the sub-command and its stages."""
    parser = commands.add_parser(
        "train", help="train a model, stage by stage", allow_abbrev=False,
        description="Train the stages in order into one run folder, then export the bundle. A stage resumes.",
    )  # fmt: skip
    stages = parser.add_subparsers(dest="stage", metavar="STAGE", required=True)
    for name, text in STAGES.items():
        _add_stage(stages.add_parser(name, help=text, description=text, allow_abbrev=False))
    text = "join a run's stages to one bundle file"
    export = stages.add_parser("export", help=text, description=text, allow_abbrev=False)
    export.set_defaults(run=run_export)
    export.add_argument("--run", dest="folder", required=True, type=Path, metavar="DIR", help="the run folder")
    export.add_argument(
        "-o", "--output", required=True, type=Path, metavar="FILE", help="the bundle to write (.safetensors)"
    )
    _add_config(export)
    export.add_argument("--init", type=Path, metavar="FILE", help="a bundle for the stages that the run lacks")
    export.add_argument(
        "--average", nargs="+", default=[], type=_share, metavar="NETWORK=SHARE",
        help="with --init: networks to average with its own, and how much of the run's to take, say irn=0.6",
    )  # fmt: skip
    export.add_argument("--notes", type=Path, metavar="FILE", help="JSON to keep in the bundle's header: data, figures")


def _share(text: str) -> tuple[str, float]:
    name, _, share = text.partition("=")
    if name not in STAGES:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(STAGES)} before '=', got {text!r}")
    return name, options.number(0, 1)(share)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", default="s", metavar="NAME|FILE", help="training config: a name or a .json file (s)"
    )


def _add_stage(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=run_stage)
    parser.add_argument(
        "--data", nargs="+", required=True, type=options.path, metavar="SHARD", help="tar shards of aligned faces"
    )
    parser.add_argument(
        "--val", nargs="+", default=[], type=options.path, metavar="SHARD", help="shards held out, for the curves"
    )
    parser.add_argument("--run", dest="folder", required=True, type=Path, metavar="DIR", help="the run folder")
    _add_config(parser)
    parser.add_argument("--init", type=Path, metavar="FILE", help="a bundle to go on from (default: random weights)")
    parser.add_argument("--fresh", action="store_true", help="with --init: this stage starts from random weights still")
    parser.add_argument("--minutes", type=options.number(0, above=True), metavar="M", help="stop after so long")
    parser.add_argument(
        "--steps", type=options.whole(1), metavar="N", help="steps of the schedule (default: the config's)"
    )
    options.add_device(parser)
    parser.add_argument("--perceptual", type=Path, metavar="FILE", help="LPIPS weights, for stages with that term")
    parser.add_argument(
        "--seed", type=options.whole(0), default=0, metavar="N", help="of weights, samples and noise (0)"
    )
    parser.add_argument(
        "--workers", type=options.whole(0), default=1, metavar="N", help="processes that decode samples (1)"
    )
    parser.add_argument(
        "--set", nargs="+", default=[], dest="overrides", metavar="KEY=JSON", help="settings instead of the config's"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run_stage(args: argparse.Namespace) -> int:
    """Train (or resume) the stage."""
    from ..precision import choose_device
    from ..training.loop import TrainOptions, train

    trainer = train(
        TrainOptions(
            stage=args.stage,
            data=args.data,
            run=args.folder,
            config=args.config,
            minutes=args.minutes,
            steps=args.steps,
            device=str(choose_device(args.device)),
            perceptual=args.perceptual,
            init=args.init,
            fresh=args.fresh,
            seed=args.seed,
            workers=args.workers,
            val=args.val,
            overrides=args.overrides,
            progress=not args.quiet,
        )
    )
    if not args.quiet:
        print(f"{args.stage}: {trainer.step} steps done, {args.folder / args.stage}.safetensors written")
    return 0


def run_export(args: argparse.Namespace) -> int:
    """Write the bundle."""
    from ..errors import CLRFaceError
    from ..training.assemble import export

    notes: dict[str, Any] | None = None
    if args.notes is not None:
        try:
            notes = json.loads(args.notes.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CLRFaceError(f"Expected notes as JSON in {args.notes}, but {error}: correct the file.") from error
    export(args.folder, args.output, args.config, notes, args.init, dict(args.average))
    print(f"{args.output} written")
    return 0
