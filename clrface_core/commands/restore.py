"""`clrface restore`: photos in, the same photos with their faces restored out."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from . import options

if TYPE_CHECKING:
    from tqdm import tqdm

    from ..diffusion.refine import Sampling
    from ..faces.paste import Blending
    from ..faces.select import Detection
    from ..pipeline import Restoration, Restorer
    from .batch import Item, Outcome

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
    parser.add_argument("--batch-size", type=options.whole(1), metavar="N", help="faces at once (4, and 1 on a CPU)")
    parser.add_argument("--model", type=Path, metavar="FILE", help="bundle in place of the one that came along")
    options.add_report(parser)


def _add_sampling(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("restoration")
    group.add_argument("--steps", type=int, default=1, metavar="N", help="steps of the solver (1)")
    group.add_argument("--solver", choices=options.SOLVERS, default="ddim", help="solver of the reverse process (ddim)")
    group.add_argument(
        "--denoise", type=float, metavar="T",
        help="where the diffusion starts, above 0 and at most 1 (default: where the model was trained to start)",
    )  # fmt: skip
    group.add_argument(
        "--guidance-scale", type=float, default=0.0, metavar="X", help="strength of identity guidance (0: off)"
    )
    group.add_argument(
        "--identity-net", choices=("sface", "arcface"), default="sface", help="network that guides (sface)"
    )
    group.add_argument(
        "--fidelity", type=float, default=0.8, metavar="F",
        help="how much of the faithful estimate is kept: 0 is the sharpest, 1 the closest to the photo (0.8)",
    )  # fmt: skip
    group.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise (0)")


def _add_faces(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("faces")
    group.add_argument("--detector", choices=DETECTORS, default="yunet", help="face detector (yunet)")
    group.add_argument("--detector-weights", type=Path, metavar="FILE", help="weights in place of the detector's own")
    group.add_argument(
        "--score-threshold", type=float, default=0.8, metavar="S",
        help="lowest score of a face, in (0, 1): lower finds more, and more that is none (0.8)",
    )  # fmt: skip
    group.add_argument("--order", choices=ORDERS, default="area", help="in which faces are numbered, from 0 (area)")
    group.add_argument(
        "--faces", default="all", metavar="all|largest|I,J-K", help="which faces to restore, by number (all)"
    )
    group.add_argument("--min-size", type=int, default=0, metavar="PX", help="leave smaller faces as they are (0)")
    group.add_argument(
        "--at-most", type=int, default=0, metavar="N", help="faces per picture, the first in the order; 0 is all (0)"
    )
    group.add_argument(
        "--feather", type=float, default=0.1, metavar="F", help="soft edge, as a share of the face (0.1)"
    )
    group.add_argument("--color-match", action="store_true", help="take colour and shading from the photo")
    group.add_argument("--blend", type=float, default=1.0, metavar="B", help="1 replaces faces, 0 leaves them (1)")
    group.add_argument(
        "--detail", type=float, default=0.0, metavar="D",
        help="share of the photo's detail to keep in faces larger than the crops of 512 px (0)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Restore every input; 1 if any failed."""
    from ..errors import CLRFaceError
    from .batch import Batch, run_jobs
    from .console import report
    from .files import check_place, plan

    try:
        settings, output = _settings(args), options.output(args)
        jobs = plan(args.inputs, args.output, recursive=args.recursive, output=output)
    except CLRFaceError as error:
        args.parser.error(str(error))
    check_place(args.output)
    restorer = _restorer(args, settings)
    made_with = _made_with(args, settings, restorer)
    batch = Batch("restoring", output, made_with, quiet=args.quiet, chatty=not (args.quiet or args.json))
    work = partial(_restore_aligned if args.aligned else _restore_photos, restorer, settings)
    records = run_jobs(jobs, work, batch)
    if args.json and not report(made_with | {"results": records}):
        return 1
    return 1 if any(record["error"] for record in records) else 0


class Settings(NamedTuple):
    """How the library is asked to do it."""

    sampling: Sampling
    detection: Detection
    blending: Blending


def _settings(args: argparse.Namespace) -> Settings:
    """The options as the library takes them; CLRFaceError for those that make no sense."""
    from ..diffusion.refine import Sampling
    from ..faces.paste import Blending
    from ..faces.select import Detection

    def made(kind: Any) -> Any:
        return kind(**{field.name: getattr(args, field.name) for field in fields(kind)})

    return Settings(made(Sampling), made(Detection), made(Blending))


def _restorer(args: argparse.Namespace, settings: Settings) -> Restorer:
    """All that the pictures need, loaded: a missing file is one error and not one per picture."""
    from ..pipeline import Restorer

    return Restorer.load(
        args.model,
        device=args.device,
        dtype=args.dtype,
        detector=args.detector,
        detector_weights=args.detector_weights,
        identity_net=args.identity_net if settings.sampling.guidance_scale > 0 else None,
        batch_size=args.batch_size,
    )


def _restore_photos(restorer: Restorer, settings: Settings, items: Iterable[Item], bar: tqdm) -> Iterator[Outcome]:
    """What became of one photo after the other."""

    def progress(state: dict[str, Any]) -> None:
        bar.set_postfix_str(f"step {state['i'] + 1}/{state['total']} of {len(state['faces'])} faces")

    for result in restorer.attempt_photos((photo for _, photo in items), *settings, callback=progress):
        yield result if isinstance(result, Exception) else (result.photo, _described(result))


def _described(result: Restoration) -> dict[str, Any]:
    """What the report says of a photo's faces."""
    faces = [
        {
            "id": face_id,
            "restored": face_id in result.chosen,
            "score": round(float(face.score), 4),
            "box": [round(float(v), 2) for v in face.box],
            "landmarks": [[round(float(v), 2) for v in point] for point in face.landmarks],
        }
        for face_id, face in enumerate(result.faces)
    ]
    count = len(result.chosen)
    summary = f"{count} face{'' if count == 1 else 's'} restored" if faces else "no face found, picture unchanged"
    return {"faces": faces, "summary": summary}


def _restore_aligned(restorer: Restorer, settings: Settings, items: Iterable[Item], bar: tqdm) -> Iterator[Outcome]:
    """Aligned faces, one after the other."""
    from ..photo import keep_tone
    from ..pipeline import aligned_crop, is_the_photos

    for _, photo in items:
        if isinstance(photo, Exception):
            yield photo
            continue
        try:
            crop = aligned_crop(photo, restorer.faces.bundle.size)
            [restored] = restorer.faces.restore_crops(crop[None], settings.sampling)
            result = replace(photo, rgb=keep_tone(crop, restored), alpha=None)
            yield result, {"faces": None, "summary": "aligned face restored"}
        except Exception as error:
            if not is_the_photos(error):
                raise
            yield error


def _made_with(args: argparse.Namespace, settings: Settings, restorer: Restorer) -> dict[str, Any]:
    """What decides the results, besides the inputs and how they are written: it heads the report."""
    from .. import __version__
    from ..models.bundle import default_bundle_path

    used = {name: value for part in settings for name, value in asdict(part).items()}
    used |= {"aligned": args.aligned, "detector": args.detector, "identity_net": args.identity_net}
    faces = restorer.faces
    if used["denoise"] is None:
        used["denoise"] = faces.bundle.refiner.config.t0
    return {
        "clrface": __version__,
        "model": faces.bundle.name,
        "sha256": hashlib.sha256((args.model or default_bundle_path()).read_bytes()).hexdigest(),
        "device": str(faces.device),
        "dtype": str(faces.dtype).removeprefix("torch."),
        "settings": used,
    }
