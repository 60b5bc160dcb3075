"""Measure how steady videos come out, picture by picture and along tracks, on clips whose motion is known."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...degrade import Degradation, DegradeConfig, draw
from ...faces.align import align_faces
from ...faces.detect import Face
from ...faces.paste import paste_faces
from ...faces.select import Detection, find_faces
from ...pipeline import Restorer
from ...video.along import restore_clip
from . import measures
from .clips import Clip
from .filters import FILTERS, filtered

DEGRADED = DegradeConfig(
    sigma=(1.2, 1.2), reduction=(1.6, 1.6), noise=(3.0, 3.0), quality=(85, 85), anisotropic=0.0, grey=0.0
)
"""What the clips go through: a small, slightly noisy video that was compressed with care."""
CROP = 192
"""Side of the crops that tell who a face is."""

APART, STEADY = "picture by picture", "along tracks"
"""Of the ways in which a clip is restored; FFmpeg's filters are tried on what the first gives."""

Pictures = list[Tensor]
Way = Callable[[Pictures], Iterable[Tensor]]
"""Pictures in, as many pictures out."""


@dataclass(frozen=True)
class Steadiness:
    """One row: see `measures` for what the numbers are. seconds: of processor time a picture."""

    flicker: float
    fine_flicker: float
    warping_error: float
    identity_jitter: float
    landmark_jitter: float
    psnr: float
    identity: float
    seconds: float


def degradation(seed: int = 0) -> Degradation:
    """What a clip goes through."""
    return draw(DEGRADED, seed)


def ways(restorer: Restorer) -> dict[str, Way]:
    """The restorations that are compared."""
    largest = Detection(faces="largest")
    return {
        "input": lambda pictures: pictures,
        APART: lambda pictures: (each.image for each in restorer.restore_photos(pictures, detection=largest)),
        STEADY: lambda pictures: (each.image for each in restore_clip(restorer, pictures, detection=largest)),
    }


def measure(clip: Clip, restorer: Restorer, compared: dict[str, Way]) -> dict[str, Steadiness]:
    """A row for each way, of the largest face of the clip."""
    pictures = [clip.frame(number) for number in range(clip.frames)]
    truths = [clip.truth(number) for number in range(clip.frames)]
    face = find_faces(truths[0], restorer.detector, Detection())[0]
    rows = {}
    for name, way in compared.items():
        start = time.process_time()
        results = [each.clone() for each in way(pictures)]
        seconds = (time.process_time() - start) / clip.frames
        rows[name] = _row(clip, restorer, results, truths, face, seconds)
        for added, options in FILTERS.items() if name == APART else ():
            after = filtered(results, added, options)
            rows[f"{name}, then FFmpeg's {added}"] = _row(clip, restorer, after, truths, face, seconds)
    return rows


def _row(clip: Clip, restorer: Restorer, results: Pictures, truths: Pictures, face: Face, seconds: float) -> Steadiness:
    assert len(results) == clip.frames
    steps = [clip.between(number, number + 1) for number in range(clip.frames - 1)]
    mask = _face_mask(truths[0], face)
    masks = [measures.region(mask, clip.map(number)) for number in range(clip.frames)]
    pairs = list(zip(results[:-1], results[1:], steps, masks[:-1], strict=True))

    def mean(measure: Callable[[Tensor, Tensor, Tensor, Tensor], float]) -> float:
        return float(np.mean([measure(*pair) for pair in pairs]))

    points = [face.landmarks @ at[:, :2].numpy().T + at[:, 2].numpy() for at in map(clip.map, range(clip.frames))]
    who, whose = (_people(restorer, each, points) for each in (results, truths))
    seen = _points(restorer, results, face)
    return Steadiness(
        mean(measures.flicker),
        mean(measures.fine_flicker),
        mean(measures.warping_error),
        measures.identity_jitter(who),
        measures.landmark_jitter(seen, steps) if seen else float("nan"),
        float(np.mean([measures.psnr(*each) for each in zip(results, truths, masks, strict=True)])),
        float(np.mean([float(a @ b) for a, b in zip(who, whose, strict=True)])),
        seconds,
    )


def _face_mask(truth: Tensor, face: Face) -> Tensor:
    """(H,W): where a restored face is put in, more than half of it."""
    crops, alignment = align_faces(truth, [face], CROP)
    return (paste_faces(truth, crops, alignment)[1][0] > 0.5).float()


@torch.no_grad()
def _people(restorer: Restorer, pictures: Pictures, points: Sequence[np.ndarray]) -> list[Tensor]:
    """Who the face is in each picture, looked at in its true place."""
    crops = [align_faces(each, [at], CROP)[0] for each, at in zip(pictures, points, strict=True)]
    assert restorer.faces.identity_net is not None
    return [restorer.faces.identity_net(crop)[0].float().cpu() for crop in crops]


def _points(restorer: Restorer, pictures: Pictures, face: Face) -> list[np.ndarray]:
    """Where the detector sees the face's points, picture by picture; nothing where it cannot follow."""
    detector: Any = restorer.detector
    found = []
    for picture in pictures if hasattr(detector, "follow") else []:
        face = detector.follow(picture, face)
        found.append(face.landmarks.astype(np.float64))
    return found


def mean_of(rows: Sequence[dict[str, Steadiness]]) -> dict[str, Steadiness]:
    """The means over several clips, way by way."""
    names = [each.name for each in fields(Steadiness)]
    return {
        way: Steadiness(*(float(np.mean([getattr(clip[way], name) for clip in rows])) for name in names))
        for way in (rows[0] if rows else {})
    }


def table(rows: dict[str, Steadiness]) -> str:
    """The rows as Markdown."""
    names = [each.name for each in fields(Steadiness)]
    lines = ["| | " + " | ".join(name.replace("_", " ") for name in names) + " |", "| --- |" + " --: |" * len(names)]
    lines += [
        f"| {name} | " + " | ".join(f"{value:.4g}" for value in asdict(row).values()) + " |"
        for name, row in rows.items()
    ]
    return "\n".join(lines)
