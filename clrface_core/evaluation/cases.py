"""What is measured on: faces whose truth is known, degraded from a seed, in batches."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from ..degrade import PRESETS, Degradation, DegradeConfig, draw
from ..errors import CLRFaceError
from ..picture import FACE_SIZE
from ..shards import StoredFace, find_faces

SIDE = FACE_SIZE


@dataclass(frozen=True)
class Case:
    """A face to measure on: the truth (3,S,S) at its own size (at most 512) and degraded at 512 (3,512,512)."""

    face: StoredFace
    truth: Tensor
    degraded: Tensor
    degradation: Degradation


def choose_faces(
    data: Path | str | Sequence[Path | str], limit: int | None = None, skipped: list[str] | None = None
) -> list[StoredFace]:
    """The faces of `data` (see `shards.find_faces`) by key, at most `limit` of each set.

    skipped: takes a sentence for each that cannot be measured, as its header tells; without it that is an error.
    """
    taken: Counter[str] = Counter()
    chosen = []
    for face in sorted(find_faces(data), key=lambda face: face.key):
        taken[face.set_name] += 1
        if limit is not None and taken[face.set_name] > limit:
            continue
        try:
            face.check()
            chosen.append(face)
        except CLRFaceError as error:
            if skipped is None:
                raise
            skipped.append(str(error))
    return chosen


def load(face: StoredFace) -> Tensor:
    """(3,S,S) float32 RGB in [0,1]."""
    return face.pixels().float() / 255


def seed_of(key: str) -> int:
    """A number that depends on a face's key alone, the same on every machine."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")


def make_case(face: StoredFace, config: DegradeConfig, seed: int) -> Case:
    """Load and degrade; the degradation depends on `config`, `seed` and the face's key alone."""
    truth = load(face)
    if truth.shape[1] > SIDE:
        truth = shrink(truth, SIDE)
    degradation = draw(config, (seed, seed_of(face.key)))
    return Case(face, degradation.target(truth), degradation.apply(enlarge(truth)), degradation)


@dataclass(frozen=True, eq=False)
class Batch:
    """Cases that go through the restorers together, on `device`."""

    cases: Sequence[Case]
    device: torch.device | str = "cpu"

    @cached_property
    def degraded(self) -> Tensor:
        """(B,3,512,512) float32 in [0,1]."""
        return torch.stack([case.degraded for case in self.cases]).to(self.device)

    @cached_property
    def truth(self) -> Tensor:
        """(B,3,512,512): the truths, smaller ones enlarged."""
        return torch.stack([enlarge(case.truth) for case in self.cases]).to(self.device)

    @property
    def numbers(self) -> list[int]:
        """A number of each face that its noise may depend on: the same in any batch."""
        return [seed_of(case.face.key) for case in self.cases]


def batches(
    faces: Sequence[StoredFace],
    config: DegradeConfig,
    *,
    seed: int = 0,
    size: int = 4,
    device: torch.device | str = "cpu",
    skipped: list[str],
    bar: tqdm,
) -> Iterator[Batch]:
    """Batches of at most `size` cases; a picture that cannot be read is named in `skipped`, and `bar` moves on."""
    cases: list[Case] = []
    for face in faces:
        try:
            cases.append(make_case(face, config, seed))
        except CLRFaceError as error:
            skipped.append(str(error))
            bar.update()
        if len(cases) == size:
            yield Batch(cases, device)
            cases = []
    if cases:
        yield Batch(cases, device)


def degradation_config(degradation: str | DegradeConfig) -> DegradeConfig:
    """The preset of that name, or the config as it is; CLRFaceError for an unknown name."""
    if isinstance(degradation, DegradeConfig):
        return degradation
    if degradation not in PRESETS:
        raise CLRFaceError(f"Expected a degradation among {', '.join(PRESETS)}, got {degradation!r}: use one of them.")
    return PRESETS[degradation]


def shrink(image: Tensor, side: int) -> Tensor:
    """(3,S,S) area-reduced to (3,side,side)."""
    return image if image.shape[1] == side else functional.interpolate(image[None], (side, side), mode="area")[0]


def fit(image: Tensor) -> Tensor:
    """(3,S,S) of any size to (3,512,512) in [0,1]."""
    return enlarge(shrink(image, SIDE) if image.shape[1] > SIDE else image)


def enlarge(image: Tensor) -> Tensor:
    """(3,S,S) of at most 512 px to (3,512,512) in [0,1], bicubically."""
    if image.shape[1] < SIDE:
        image = functional.interpolate(image[None], (SIDE, SIDE), mode="bicubic", align_corners=False)[0]
    return image.clamp(0, 1)
