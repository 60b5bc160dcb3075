"""`clrface evaluate`: measure a model on held-out faces, beside baselines and ablations, and write the report."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import evaluate_video, options

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from ..evaluation.cases import Batch
    from ..evaluation.compared.outputs import Autoencoder, ModelOutputs, Output, Variant
    from ..evaluation.compared.plan import Others
    from ..evaluation.measure import Sheet
    from ..evaluation.metrics.metric import Metric
    from ..evaluation.report.tables import Report
    from ..restorer import FaceRestorer
    from ..training.parts import Parts

METRICS = ("psnr", "ssim", "lpips-vgg", "lpips-alex", "kid", "sface", "dlib", "arcface", "lmd")
"""The names in `metrics.catalogue.METRICS`, repeated so that --help need not load it (a test compares them)."""
ABLATIONS = ("irn", "steps", "guidance", "mask", "quantise", "fidelity", "f", "codebook", "condition")
"""Of `compared.plan.ABLATIONS`, likewise."""


def add_parser(commands: Any) -> None:
    """Declare the sub-command."""
    parser = commands.add_parser(
        "evaluate", help="measure a model and write a report", allow_abbrev=False,
        description="Degrade held-out faces, restore them, and write report.md, report.json, plots and contact.png.",
    )  # fmt: skip
    parser.set_defaults(run=run)
    parser.add_argument(
        "--data", nargs="+", required=True, type=options.path, metavar="SHARD|DIR",
        help="clean aligned faces: tar shards, or folders of pictures or shards",
    )  # fmt: skip
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="folder of the report")
    parser.add_argument("--model", type=Path, metavar="FILE", help="model file instead of the bundled one")
    _add_compared(parser)
    _add_references(parser)
    _add_measured(parser)
    evaluate_video.add_options(parser)
    parser.add_argument("--solver", choices=options.SOLVERS, default="ddim", help="solver (ddim)")
    parser.add_argument("--preset", choices=options.PRESETS, default="standard", help="degradation (standard)")
    parser.add_argument("--seed", type=options.whole(0), default=0, metavar="N", help="of degradation and noise (0)")
    parser.add_argument("--limit", type=options.whole(1), metavar="N", help="faces of each set (default: all)")
    options.add_device(parser)
    parser.add_argument(
        "--dtype", choices=options.DTYPES, default="float32",
        help="of the networks (float32, and not the fastest, so that numbers are the same on every machine of a kind)",
    )  # fmt: skip
    parser.add_argument("--batch-size", type=options.whole(1), default=4, metavar="N", help="faces at once (4)")
    options.add_report(parser)


def _add_compared(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is compared")
    group.add_argument(
        "--steps", nargs="+", type=options.whole(1), default=[1, 4], metavar="N", help="numbers of steps (1 4)"
    )
    group.add_argument(
        "--guidance-scale",
        nargs="+",
        type=options.number(0),
        default=[0.0],
        metavar="X",
        help="scales of identity guidance (0)",
    )
    group.add_argument(
        "--baselines", type=names, default=["irn"], metavar="NAME,...",
        help="bicubic, irn, realesrgan, or TITLE=FILE for a network that spandrel knows (irn)",
    )  # fmt: skip
    group.add_argument(
        "--ablate", type=names, default=[], metavar="NAME,...",
        help=f"parts of the method to change: {', '.join(ABLATIONS)} (f, codebook and condition: with --against)",
    )  # fmt: skip
    group.add_argument(
        "--against", nargs="+", type=titled, default=[], metavar="TITLE=FILE", help="other models to compare with"
    )


def _add_references(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("references")
    group.add_argument(
        "--references", action="store_true",
        help="restore the first photo of each person, also with the others and with a stranger's; keys of the data: "
        "SET-PERSON-PHOTO",
    )  # fmt: skip
    group.add_argument(
        "--reference-counts", nargs="+", type=options.whole(1), default=[1], metavar="N",
        help="numbers of the person's other photos (1)",
    )  # fmt: skip
    group.add_argument(
        "--reference-scale", nargs="+", type=options.number(0), default=[options.REFERENCE_SCALE], metavar="X",
        help=f"strengths of the pull towards them ({options.REFERENCE_SCALE:g})",
    )  # fmt: skip
    group.add_argument(
        "--reference-times", type=options.whole(0), default=0, metavar="N",
        help="also the CPU time of one face with a reference over that without, of so many rounds (0: leave it out)",
    )  # fmt: skip


def _add_measured(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is measured")
    group.add_argument(
        "--metrics", type=names, metavar="NAME,...", help=f"out of {', '.join(METRICS)} (default: all there are)"
    )
    group.add_argument("--metric-weights", type=Path, metavar="DIR", help="folder of weights of metrics and baselines")
    group.add_argument(
        "--verify", metavar="PAIRS", help="also face verification: a CSV file of gallery,probe,same; or: self"
    )


def names(text: str) -> list[str]:
    """An argument type: names apart by commas, each once."""
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def titled(text: str) -> tuple[str, Path]:
    """An argument type: TITLE=FILE."""
    title, given, file = text.partition("=")
    if not (title and given and file):
        raise argparse.ArgumentTypeError(f"expected TITLE=FILE, got {text!r}")
    return title, Path(file)


def run(args: argparse.Namespace) -> int:
    """Write the report; 1 if pictures had to be left out."""
    if args.video is not None:
        return evaluate_video.run(args)
    from ..evaluation.cases import choose_faces
    from ..evaluation.compared.outputs import ModelOutputs, Variant
    from ..evaluation.measure import Costs, Embeddings, evaluate
    from ..evaluation.metrics.catalogue import find_metrics
    from ..evaluation.people import Album
    from ..restorer import FaceRestorer
    from ..training.parts import Parts
    from .files import check_place

    check_place(args.output / "report.md")
    run_as = {"solver": args.solver, "seed": args.seed}
    faces = FaceRestorer.load(args.model, device=args.device, dtype=args.dtype, batch_size=args.batch_size)
    album = Album(choose_faces(args.data, None, [])) if args.references else None
    ours, device = ModelOutputs(faces, **run_as, album=album), faces.device
    others = {name: _other(Parts.load(path, device), faces, run_as) for name, path in args.against}
    metrics, missing = find_metrics(args.metric_weights, device, args.metrics)
    base = Variant(steps=args.steps[0], guidance_scale=args.guidance_scale[0])
    outputs, absent, files = _compared(args, ours, others, base)
    truths = None if album is None else album.truths(args.limit)
    args.output.mkdir(parents=True, exist_ok=True)
    costs, embeddings = Costs(), Embeddings()
    report = evaluate(
        outputs, args.data, metrics, degradation=args.preset, seed=args.seed,
        limit=None if args.references else args.limit, batch=args.batch_size, device=device,
        sheet=_sheet(args, ours, base), costs=costs, kept=embeddings, progress=_shows_progress(args), only=truths,
    )  # fmt: skip
    report.missing = {f"metric {name}": reason for name, reason in missing.items()} | absent
    report.settings |= _settings(args, ours)
    report.files = _hashes(args, metrics, files)
    if album is not None:
        _refer(args, report, ours, metrics, embeddings)
    if args.verify is not None:
        _verify(args, report, outputs, metrics, embeddings, device)
    _write(args, report)
    _say(args, report, costs)
    return 1 if report.skipped else 0


def _other(parts: Parts, ours: FaceRestorer, run_as: dict[str, Any]) -> ModelOutputs | Autoencoder:
    """A model to compare with: whole, or only an autoencoder."""
    import torch

    from ..evaluation.compared.outputs import Autoencoder, ModelOutputs
    from ..restorer import FaceRestorer

    if parts.networks.keys() == {"vq"}:
        return Autoencoder(parts.networks["vq"])
    bundle = parts.complete().to(ours.device, ours.dtype).to(memory_format=torch.channels_last)
    return ModelOutputs(FaceRestorer(bundle, ours.identity_net, batch_size=ours.batch_size), **run_as)


def _shows_progress(args: argparse.Namespace) -> bool:
    return not args.quiet and sys.stderr.isatty()


def _compared(
    args: argparse.Namespace, ours: ModelOutputs, others: Others, base: Variant
) -> tuple[dict[str, Output], dict[str, str], dict[str, Path]]:
    """All outputs in the order of the table, baselines that cannot be had, and the files of the others."""
    from ..evaluation.compared import plan

    outputs, missing, files = plan.baselines(args.baselines, ours, args.metric_weights, ours.faces.device)
    absent = {f"baseline {name}": reason for name, reason in missing.items()}
    outputs |= plan.refined(ours, args.steps, args.guidance_scale)
    if args.references:
        referred, missing = plan.referred(ours, args.steps, args.reference_scale, args.reference_counts)
        outputs, absent = outputs | referred, absent | missing
    outputs |= plan.ablations(args.ablate, ours, others, base)
    return outputs | plan.against(others, base), absent, files


def _sheet(args: argparse.Namespace, ours: ModelOutputs, base: Variant) -> Sheet:
    """Input, estimate, refined, guided, and the mask of the guidance; what is measured too is not computed again."""
    from dataclasses import replace
    from functools import partial

    from ..evaluation.compared.outputs import Variant
    from ..evaluation.compared.plan import IRN_ALONE, title
    from ..evaluation.measure import Sheet
    from ..evaluation.people import OWN

    refined, guided = replace(base, guidance_scale=0.0), replace(base, guidance_scale=max(args.guidance_scale) or 1.0)
    columns: dict[str, Callable[[Batch], Tensor]] = {
        "input": lambda batch: batch.degraded,
        IRN_ALONE: ours.estimate,
        title(refined): partial(ours.restore, variant=refined),
        title(guided): partial(ours.restore, variant=guided),
        "mask: white 1, black 0": ours.mask_picture,
    }
    if ours.album is not None:
        own = Variant(base.steps, references=OWN, reference_scale=args.reference_scale[0])
        columns = {
            "input": columns["input"],
            title(refined): columns[title(refined)],
            title(own): partial(ours.restore, variant=own),
            "reference": ours.album.pictures,
        }
    return Sheet(args.output / "contact.png", columns, faces=4 if ours.album is None else 16)


def _refer(
    args: argparse.Namespace, report: Report, ours: ModelOutputs, metrics: list[Metric], embeddings: Any
) -> None:
    """What the report says of references besides."""
    from ..evaluation.cases import choose_faces, degradation_config, make_case
    from ..evaluation.matching import describe_strangers, reference_tables, seconds_with_references
    from ..references import References

    assert ours.album is not None
    keys = [face["key"] for face in report.faces]
    describe_strangers(ours.album, keys, metrics, embeddings)
    report.references = reference_tables(ours.album, ours.matches, embeddings, report)
    if args.reference_times:
        [face] = [face for face in choose_faces(args.data, None, []) if face.key == keys[0]]
        crop = make_case(face, degradation_config(args.preset), args.seed).degraded
        own = References(ours.album.references(ours.faces, keys[0], own=True, count=1), -1.0, args.reference_scale[0])
        times = seconds_with_references(ours.faces, crop, own, args.steps, args.reference_times)
        report.references["seconds"] = times


def _settings(args: argparse.Namespace, ours: ModelOutputs) -> dict[str, Any]:
    """What decides on the numbers; folders do not, and are left out."""
    import torch

    from .. import __version__

    return {
        "model": ours.faces.bundle.name,
        "steps": args.steps,
        "guidance_scale": args.guidance_scale,
        "references": args.references,
        "reference_scale": args.reference_scale,
        "reference_counts": args.reference_counts,
        "baselines": [name.partition("=")[0] for name in args.baselines],
        "ablations": args.ablate,
        "solver": args.solver,
        "preset": args.preset,
        "limit": args.limit,
        "dtype": args.dtype,
        "device": ours.faces.device.type,
        "threads": torch.get_num_threads(),
        "versions": {"clrface": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }


def _hashes(args: argparse.Namespace, metrics: list[Metric], files: dict[str, Path]) -> dict[str, str]:
    """SHA-256 of all weights in play, by file name or title."""
    from ..evaluation.weights import sha256
    from ..models.bundle import default_bundle_path

    model = args.model or default_bundle_path()
    paths = {model.name: model, **dict(args.against), **files}
    paths |= {path.name: path for metric in metrics for path in metric.files}
    return {name: sha256(path) for name, path in paths.items()}


def _verify(
    args: argparse.Namespace,
    report: Report,
    outputs: dict[str, Output],
    metrics: list[Metric],
    embeddings: Any,
    device: Any,
) -> None:
    from ..evaluation.cases import choose_faces
    from ..evaluation.verify import SELF, verify_pairs, verify_self

    recognition = [metric for metric in metrics if metric.recognises]
    if args.verify == SELF:
        found, skipped = verify_self(choose_faces(args.data, args.limit, []), embeddings, recognition, device)
    else:
        found, skipped = verify_pairs(
            Path(args.verify), outputs, recognition, degradation=args.preset, seed=args.seed, batch=args.batch_size,
            device=device, progress=_shows_progress(args),
        )  # fmt: skip
    report.verification = found
    report.skipped += [reason for reason in skipped if reason not in report.skipped]


def _write(args: argparse.Namespace, report: Report) -> None:
    from ..errors import CLRFaceError
    from ..evaluation.report.plots import save_plots

    try:
        report.pictures = save_plots(report, args.output)
    except CLRFaceError as error:
        report.missing["plots"] = str(error)
    (args.output / "report.json").write_text(report.json(), encoding="utf-8")
    (args.output / "report.md").write_text(report.markdown(), encoding="utf-8")


def _say(args: argparse.Namespace, report: Report, costs: Any) -> None:
    """The report on standard output; where the time went and what was left out on standard error."""
    if args.json:
        print(json.dumps({"settings": report.settings, "rows": report.rows, "skipped": report.skipped}, indent=2))
    elif not args.quiet:
        print(report.markdown(), end="")
    if not args.quiet:
        for line in costs.lines():
            print(f"clrface: {line}", file=sys.stderr)
    for reason in report.skipped:
        print(f"clrface: {reason}", file=sys.stderr)
