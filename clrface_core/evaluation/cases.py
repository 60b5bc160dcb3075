"""What is measured on: faces whose truth is known, degraded from a seed, in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from ..degrade import PRESETS, Degradation, DegradeConfig, draw
from ..errors import CLRFaceError
from .samples import Sample

SIDE = 512


@dataclass(frozen=True)
class Case:
    """A face to measure on: the truth (3,S,S) at its own size (at most 512) and degraded at 512 (3,512,512)."""

    sample: Sample
    truth: Tensor
    degraded: Tensor
    degradation: Degradation


def make_case(sample: Sample, config: DegradeConfig, seed: int) -> Case:
    """Load and degrade; the degradation depends on `config`, `seed` and the sample's key alone."""
    truth = sample.load()
    if truth.shape[1] > SIDE:
        truth = shrink(truth, SIDE)
    degradation = draw(config, (seed, sample.seed))
    return Case(sample, degradation.target(truth), degradation.apply(enlarge(truth)), degradation)


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
        return [case.sample.seed for case in self.cases]


def batches(
    samples: Sequence[Sample],
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
    for sample in samples:
        try:
            cases.append(make_case(sample, config, seed))
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


def enlarge(image: Tensor) -> Tensor:
    """(3,S,S) of at most 512 px to (3,512,512) in [0,1], bicubically."""
    if image.shape[1] < SIDE:
        image = functional.interpolate(image[None], (SIDE, SIDE), mode="bicubic", align_corners=False)[0]
    return image.clamp(0, 1)
