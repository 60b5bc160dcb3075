"""`clrface restore`: photos in, the same photos with their faces restored out."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import options

if TYPE_CHECKING:
    from torch import Tensor
    from tqdm import tqdm

    from ..photo import Photo
    from ..pipeline import Restorer
    from .files import Job

DETECTORS = ("yunet", "retinaface_mobile0.25", "retinaface_resnet50")
ORDERS = ("area", "left-right", "top-bottom", "score")


def add_parser(commands: Any) -> None:
    """Declare the sub-command."""
    parser = commands.add_parser(
        "restore", help="restore the faces of photos", allow_abbrev=False,
        description="Find the faces of photos, restore them, and write the photos as PNG; the rest stays as it is.",
    )  # fmt: skip
    parser.set_defaults(run=run, parser=parser)
    options.add_files(parser)
    parser.add_argument(
        "--aligned", action="store_true",
        help="inputs are aligned square faces: no detection, 512 px results",
    )  # fmt: skip
    _add_sampling(parser)
    _add_faces(parser)
    options.add_device(parser)
    parser.add_argument("--dtype", choices=options.DTYPES, help="of the networks (default: the fastest)")
    parser.add_argument("--batch-size", type=options.whole(1), default=4, metavar="N", help="faces at once (4)")
    parser.add_argument("--model", type=Path, metavar="FILE", help="bundle in place of the one that came along")
    options.add_report(parser)


def _add_sampling(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("restoration")
    group.add_argument("--steps", type=options.whole(1), default=1, metavar="N", help="steps of the solver (1)")
    group.add_argument("--solver", choices=options.SOLVERS, default="ddim", help="solver of the reverse process (ddim)")
    group.add_argument(
        "--t0", type=options.number(0, 1, above=True), metavar="T",
        help="where the process starts, above 0 and at most 1 (default: what the model was trained for)",
    )  # fmt: skip
    group.add_argument(
        "--identity", type=options.number(0), default=0.0, metavar="X", help="strength of identity guidance (0: off)"
    )
    group.add_argument(
        "--identity-net", choices=("sface", "arcface"), default="sface", help="network that guides (sface)"
    )
    group.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise (0)")


def _add_faces(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("faces")
    group.add_argument("--detector", choices=DETECTORS, default="yunet", help="face detector (yunet)")
    group.add_argument("--detector-weights", type=Path, metavar="FILE", help="weights in place of the detector's own")
    group.add_argument(
        "--score-threshold", type=options.number(0, 1, above=True), default=0.8, metavar="S",
        help="lowest score of a face, in (0, 1): lower finds more, and more that is none (0.8)",
    )  # fmt: skip
    group.add_argument(
        "--faces", type=options.faces, default="all", metavar="all|largest|I,J", help="which faces to restore (all)"
    )
    group.add_argument("--order", choices=ORDERS, default="area", help="in which faces are counted, from 0 (area)")
    group.add_argument(
        "--feather",
        type=options.number(0, 0.45),
        default=0.1,
        metavar="F",
        help="soft edge, as a share of the face (0.1)",
    )
    group.add_argument("--color-match", action="store_true", help="take colour and shading from the photo")
    group.add_argument("--blend", type=options.number(0, 1), default=1.0, metavar="B", help="1 replaces faces (1)")
    group.add_argument(
        "--detail", type=options.number(0, 1), default=0.0, metavar="D",
        help="share of the photo's detail to keep in faces larger than 512 px (0)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Restore every input; 1 if any failed."""
    from ..errors import CLRFaceError
    from ..models.bundle import default_bundle_path
    from .batch import Batch, run_jobs
    from .console import report
    from .files import check_place, plan

    try:
        output = options.output(args)
        jobs = plan(args.inputs, args.output, recursive=args.recursive, output=output)
    except CLRFaceError as error:
        args.parser.error(str(error))
    check_place(args.output)
    restorer = _restorer(args)
    if any(job.target for job in jobs):
        _load(restorer, args)

    restore = _restore_aligned if args.aligned else _restore_photo

    def work(photo: Photo, job: Job, bar: tqdm) -> tuple[Photo | Tensor, dict[str, Any]]:
        return restore(restorer, photo, job.source, args, bar)

    made_with = _settings(args) | {"model": checksum(args.model or default_bundle_path())}
    batch = Batch("restoring", output, made_with, quiet=args.quiet, chatty=not (args.quiet or args.json))
    records = run_jobs(jobs, work, batch)
    if args.json and not report(_report(args, restorer, records)):
        return 1
    return 1 if any(record["error"] for record in records) else 0


def _restorer(args: argparse.Namespace) -> Restorer:
    from ..pipeline import Restorer

    return Restorer(
        args.model,
        device=args.device,
        dtype=args.dtype,
        detector=args.detector,
        detector_weights=args.detector_weights,
        score_threshold=args.score_threshold,
        identity_net=args.identity_net,
        batch_size=args.batch_size,
    )


def _load(restorer: Restorer, args: argparse.Namespace) -> None:
    """Load what every picture needs, so that a missing file is one error and not one per picture."""
    _ = restorer.bundle
    if not args.aligned:
        _ = restorer.detector
    if args.identity > 0:
        _ = restorer.identity_net


def _sampling(args: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(args, name) for name in ("steps", "solver", "t0", "identity", "seed")}


def _restore_photo(
    restorer: Restorer, photo: Photo, source: Path, args: argparse.Namespace, bar: tqdm
) -> tuple[Photo | Tensor, dict[str, Any]]:
    def progress(state: dict[str, Any]) -> None:
        faces = state["faces"]
        bar.set_postfix_str(
            f"{source.name}, face {faces[0]} of {state['count']}, step {state['i'] + 1}/{state['total']}"
        )

    result = restorer.restore(
        photo,
        **_sampling(args),
        faces=args.faces,
        order=args.order,
        feather=args.feather,
        color_match=args.color_match,
        blend=args.blend,
        detail=args.detail,
        callback=progress,
    )
    faces = [
        {
            "number": number,
            "restored": number in result.chosen,
            "score": round(float(face.score), 4),
            "box": [round(float(v), 2) for v in face.box],
            "landmarks": [[round(float(v), 2) for v in point] for point in face.landmarks],
        }
        for number, face in enumerate(result.faces)
    ]
    count = len(result.chosen)
    summary = f"{count} face{'' if count == 1 else 's'} restored" if faces else "no face found, picture unchanged"
    return result.photo, {"faces": faces, "summary": summary}


def _restore_aligned(
    restorer: Restorer, photo: Photo, source: Path, args: argparse.Namespace, bar: tqdm
) -> tuple[Photo | Tensor, dict[str, Any]]:
    from ..pipeline import aligned_crop

    restored = restorer.restore_crops(aligned_crop(photo)[None], **_sampling(args))
    return restored[0], {"faces": None, "summary": "aligned face restored"}


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """All that decides what a result is, besides input, model and device."""
    names = (
        "aligned",
        "steps",
        "solver",
        "t0",
        "identity",
        "identity_net",
        "seed",
        "detector",
        "score_threshold",
        "faces",
        "order",
    )
    return {name: getattr(args, name) for name in (*names, "feather", "color_match", "blend", "detail")}


def checksum(path: Path) -> str | None:
    """Of a file; None where it cannot be read (which loading it will say)."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _report(args: argparse.Namespace, restorer: Restorer, records: list[dict[str, Any]]) -> dict[str, Any]:
    from .. import __version__

    ran = any(record["output"] for record in records)
    settings = _settings(args)
    if ran and settings["t0"] is None and restorer.bundle.refiner is not None:
        settings["t0"] = restorer.bundle.refiner.config.t0
    return {
        "clrface": __version__,
        "model": restorer.bundle.name if ran else None,
        "device": str(restorer.device),
        "dtype": str(restorer.dtype).removeprefix("torch.") if ran else None,
        "settings": settings,
        "results": records,
    }
