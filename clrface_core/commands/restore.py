"""`clrface restore`: photos and videos in, the same with their faces restored out."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..storage import is_remote
from . import options, video

if TYPE_CHECKING:
    from tqdm import tqdm

    from ..diffusion.refine import Sampling
    from ..faces.paste import Blending
    from ..faces.select import Detection
    from ..pipeline import Restoration, Restorer
    from ..references import Match, References
    from .batch import Item, Outcome, Work

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
    _add_references(parser)
    _add_faces(parser)
    video.add_options(parser)
    options.add_device(parser)
    parser.add_argument("--dtype", choices=options.DTYPES, help="of the networks (default: the fastest)")
    parser.add_argument("--batch-size", type=options.whole(1), metavar="N", help="faces at once (4, and 1 on a CPU)")
    parser.add_argument("--model", type=Path, metavar="FILE", help="model file instead of the bundled one")
    options.add_report(parser)
    _add_archive(parser)


def _add_archive(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("archives", "Many photos over several workers; see docs/archives.md.")
    group.add_argument(
        "--ray", nargs="?", const=True, type=options.cluster, metavar="ADDRESS",
        help="work on a Ray cluster: the one at HOST:PORT; without an address the one that runs, or a new one here",
    )  # fmt: skip
    group.add_argument(
        "--workers", type=options.whole(1), metavar="N",
        help="at most so many workers (as many as the cluster has room for; without Ray: 2 threads)",
    )  # fmt: skip
    group.add_argument(
        "--worker-cpus", type=options.whole(1), default=1, metavar="N", help="CPUs that a worker on Ray has (1)"
    )
    group.add_argument(
        "--worker-gpus", type=options.number(0), metavar="X",
        help="GPUs that a worker on Ray has, or the part of one (1 where the cluster has any)",
    )  # fmt: skip
    group.add_argument(
        "--report", type=options.path, metavar="FILE",
        help="Parquet file with a row per photo (on Ray: clrface-report.parquet beside the results)",
    )  # fmt: skip


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


def _add_references(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "references", "Other photos of the people. A face that matches none of them is restored as without them."
    )
    group.add_argument(
        "--reference", action="append", default=[], type=options.path, metavar="PHOTO|FOLDER",
        help="another photo of a person, or a folder of them; may be given several times",
    )  # fmt: skip
    group.add_argument(
        "--reference-threshold", type=options.number(-1, 1), metavar="C",
        help=f"cosine from which a reference is taken for the same person, -1 to 1 ({options.REFERENCE_THRESHOLD})",
    )  # fmt: skip
    group.add_argument(
        "--reference-scale", type=options.number(0), default=options.REFERENCE_SCALE, metavar="X",
        help=f"strength of the pull towards them ({options.REFERENCE_SCALE:g})",
    )  # fmt: skip


def _add_faces(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("faces")
    group.add_argument("--detector", choices=DETECTORS, default="yunet", help="face detector (yunet)")
    group.add_argument("--detector-weights", type=Path, metavar="FILE", help="weights instead of the detector's own")
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
        "--region", choices=options.REGIONS, default="crop",
        help="what of each face is put back: nearly all of its crop, or an oval without hair, hat and hands (crop)",
    )  # fmt: skip
    group.add_argument(
        "--feather", type=float, default=0.1, metavar="F", help="soft edge, as a share of the face (0.1)"
    )
    group.add_argument("--color-match", action="store_true", help="take colour and shading from the photo")
    group.add_argument("--blend", type=float, default=1.0, metavar="B", help="1 replaces faces, 0 leaves them (1)")
    group.add_argument(
        "--detail", type=float, default=1.0, metavar="D",
        help="share of the photo's detail to keep in faces larger than the crops of 512 px (1)",
    )  # fmt: skip
    group.add_argument(
        "--grain", type=float, default=1.0, metavar="G",
        help="share of the photo's grain that faces get back where the photo has any (1)",
    )  # fmt: skip
    group.add_argument(
        "--strength", type=options.automatic, default="auto", metavar="auto|S",
        help="how much of the restored faces shows, 0 to 1; auto: as much as each is degraded (auto)",
    )  # fmt: skip
    group.add_argument(
        "--skip-blurred", action="store_true", help="leave blurred faces alone in photos with a larger sharp one"
    )


def run(args: argparse.Namespace) -> int:
    """Restore every input; 1 if any failed."""
    from ..errors import CLRFaceError
    from ..video.writing import Encoding
    from .batch import Batch, run_jobs
    from .console import report, reported_if_interrupted
    from .files import check_place, plan

    videos, pictures = video.split(args.inputs, recursive=args.recursive)
    try:
        settings, output = _settings(args), options.output(args)
        clips = video.plan_videos(videos, args.output, alone=len(videos) == 1 and not pictures) if videos else []
        jobs = plan(pictures, args.output, recursive=args.recursive, output=output) if pictures else []
        _check_video_options(args, len(videos))
    except CLRFaceError as error:
        args.parser.error(str(error))
    check_place(args.output)
    if _is_archive(args):
        from ..archive.run import run as run_archive

        return run_archive(args, jobs, output)
    loaded = load(args, videos=bool(clips))
    made_with = loaded.made_with
    batch = Batch("restoring", output, made_with, quiet=args.quiet, chatty=not (args.quiet or args.json))
    with reported_if_interrupted(made_with if args.json else None) as records:
        if jobs:
            run_jobs(jobs, loaded.work, batch, records)
        if clips:
            encoding = Encoding(args.codec, args.crf)
            given = args, clips, settings, encoding, loaded.restorer, loaded.references, made_with
            video.run_videos(*given, records)
    if args.json and not report(made_with | {"results": records}):
        return 1
    failed = any(record["error"] for record in records) or (loaded.references and loaded.references.problems)
    return 1 if failed else 0


def _is_archive(args: argparse.Namespace) -> bool:
    """Whether the work is for several workers: then `archive` does it."""
    asked = any(each is not None for each in (args.ray, args.report, args.workers))
    return asked or any(is_remote(each) for each in (*args.inputs, args.output))


class Loaded(NamedTuple):
    """All that the pictures need, and what decides their results."""

    restorer: Restorer
    references: References | None
    work: Work
    made_with: dict[str, Any]


def load(args: argparse.Namespace, *, videos: bool = False) -> Loaded:
    """Everything that the arguments name: a missing file is one error and not one per picture."""
    settings = _settings(args)
    restorer = _restorer(args, settings, videos)
    references = _references(args, restorer)
    work = partial(_restore_aligned if args.aligned else _restore_photos, restorer, settings, references)
    return Loaded(restorer, references, work, _made_with(args, settings, restorer, references))


def _check_video_options(args: argparse.Namespace, videos: int) -> None:
    """CLRFaceError for options of videos that make no sense."""
    from ..errors import CLRFaceError
    from ..video.writing import Encoding

    Encoding(args.codec, args.crf)
    if args.tracks is not None and videos != 1:
        raise CLRFaceError(f"Expected one video for --tracks, got {videos}: name one, or leave --tracks out.")
    if videos and _is_archive(args):
        raise CLRFaceError("Expected photos for an archive, got a video: restore videos in a run of their own.")
    if videos and args.aligned:
        raise CLRFaceError("Expected aligned faces as pictures, got a video: leave --aligned out.")


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


def _restorer(args: argparse.Namespace, settings: Settings, videos: bool = False) -> Restorer:
    from ..pipeline import Restorer

    return Restorer.load(
        args.model,
        device=args.device,
        dtype=args.dtype,
        detector=args.detector,
        detector_weights=args.detector_weights,
        identity_net=args.identity_net if settings.sampling.guidance_scale > 0 or args.reference or videos else None,
        batch_size=args.batch_size,
    )


def _references(args: argparse.Namespace, restorer: Restorer) -> References | None:
    """The faces of the reference photos; what is odd about some of them is said."""
    from ..faces.select import Detection
    from .console import complain
    from .files import reference_photos

    if not args.reference:
        return None
    photos = reference_photos(args.reference, args.output, recursive=args.recursive)
    found = restorer.reference_faces(
        [str(photo) if is_remote(photo) else photo for photo in photos],
        Detection(score_threshold=args.score_threshold),
        threshold=args.reference_threshold,
        scale=args.reference_scale,
    )
    for sentence in found.problems if args.quiet else (*found.notes, *found.problems):
        complain(f"clrface: {sentence}")
    return found


def _told_of(references: References) -> dict[str, Any]:
    """What the report says of the references themselves, and what tells them from others."""
    return {
        "threshold": references.threshold,
        "scale": references.scale,
        "faces": [
            {
                "source": face.source,
                "quality": round(face.quality, 3),
                "sha256": hashlib.sha256(face.embedding.numpy().tobytes()).hexdigest(),
            }
            for face in references.faces
        ],
        "notes": list(references.notes),
        "problems": list(references.problems),
    }


def _restore_photos(
    restorer: Restorer, settings: Settings, references: References | None, items: Iterable[Item], bar: tqdm
) -> Iterator[Outcome]:
    """What became of one photo after the other."""

    def progress(state: dict[str, Any]) -> None:
        bar.set_postfix_str(f"step {state['i'] + 1}/{state['total']} of {len(state['faces'])} faces")

    photos = (photo for _, photo in items)
    for result in restorer.attempt_photos(photos, *settings, references=references, callback=progress):
        yield result if isinstance(result, Exception) else (result.photo, _described(result))


def _described(result: Restoration) -> dict[str, Any]:
    """What the report says of a photo's faces."""
    matches = dict(zip(result.chosen, result.matches, strict=True))
    faces = [
        {
            "id": face_id,
            "restored": face_id in result.chosen and face_id not in result.left_alone,
            **_verdict(result, face_id),
            "score": round(float(face.score), 4),
            "box": [round(float(v), 2) for v in face.box],
            "landmarks": [[round(float(v), 2) for v in point] for point in face.landmarks],
            **_match_of(matches.get(face_id)),
        }
        for face_id, face in enumerate(result.faces)
    ]
    count = len(result.chosen) - len(result.left_alone)
    summary = f"{count} face{'' if count == 1 else 's'} restored" if faces else "no face found, picture unchanged"
    for face_id, reason in result.left_alone.items():
        summary += f", face {face_id} left alone ({reason})"
    told = "; ".join(f"face {face_id}: {match}" for face_id, match in matches.items() if match.cosines)
    return {"faces": faces, "summary": f"{summary}; {told}" if told else summary}


def _match_of(match: Match | None) -> dict[str, Any]:
    """What the report says of a face's references, if there are any."""
    if match is None or match.cosine is None:
        return {}
    cosines = {source: round(cosine, 4) for source, cosine in zip(match.sources, match.cosines, strict=True)}
    used = [match.sources[place] for place in match.used]
    return {"match": {"verdict": match.verdict, "cosine": round(match.cosine, 4), "used": used, "cosines": cosines}}


def _verdict(result: Restoration, face_id: int) -> dict[str, Any]:
    """What the report says of a chosen face."""
    if face_id not in result.chosen:
        return {}
    place = result.chosen.index(face_id)
    numbers = {"severity": result.severities[place], "strength": result.strengths[place]}
    said: dict[str, Any] = {name: round(value, 4) for name, value in numbers.items()}
    return said | ({"left_alone": result.left_alone[face_id]} if face_id in result.left_alone else {})


def _restore_aligned(
    restorer: Restorer, settings: Settings, references: References | None, items: Iterable[Item], bar: tqdm
) -> Iterator[Outcome]:
    """Aligned faces, one after the other."""
    from ..photo import keep_tone
    from ..pipeline import aligned_crop, is_the_photos
    from ..severity import show
    from ..verdict import judge

    for _, photo in items:
        if isinstance(photo, Exception):
            yield photo
            continue
        try:
            crop = aligned_crop(photo, restorer.faces.bundle.size)
            restored, [match], degraded = restorer.faces.restore_matched(crop[None], references, settings.sampling)
            [verdict] = judge(degraded[:, 0].tolist(), [0.0], [False], settings.blending)
            [shown] = show(crop[None], restored, [verdict.strength])
            result = replace(photo, rgb=keep_tone(crop, shown), alpha=None)
            told = f"; {match}" if match.cosines else ""
            yield result, {"faces": None, **_match_of(match), "summary": f"aligned face restored{told}"}
        except Exception as error:
            if not is_the_photos(error):
                raise
            yield error


def _made_with(
    args: argparse.Namespace, settings: Settings, restorer: Restorer, references: References | None
) -> dict[str, Any]:
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
        "references": None if references is None else _told_of(references),
    }
