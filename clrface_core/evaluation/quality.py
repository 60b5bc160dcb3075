"""Degrade faces whose ground truth is known, restore them, and measure what came back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from ..degrade import PRESETS, Degradation, DegradeConfig, draw
from ..errors import CLRFaceError
from ..models.identity import identity_similarity, load_identity
from .identity import DlibIdentity
from .metrics import load_lpips, lpips, psnr, ssim
from .report import INPUT, Column, Report
from .samples import Sample, find_samples
from .sheet import save_sheet

SIDE = 512

Restore = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Metric:
    """`compare` takes candidates (N,3,S,S) and their ground truth (1,3,S,S) and gives (N,) numbers."""

    column: Column
    compare: Callable[[Tensor, Tensor], Tensor]


def find_metrics(weights: Path | str | None, device: torch.device | str = "cpu") -> tuple[list[Metric], dict[str, str]]:
    """All metrics that can be computed here, and for each other one the reason why not.

    weights: folder of the LPIPS files (metrics.LPIPS_FILES). The SFace cosine is of the network that may have
    guided; the dlib cosine is of one that never does, and is missing where the extra `evaluation` is not installed.
    """
    metrics = [
        Metric(Column("PSNR", higher_is_better=True, digits=2), psnr),
        Metric(Column("SSIM", higher_is_better=True), ssim),
    ]
    missing = {}
    for net, name in (("vgg", "LPIPS-VGG"), ("alex", "LPIPS-Alex")):
        if weights is None:
            missing[name] = "no folder of metric weights was given."
            continue
        try:
            network = load_lpips(weights, net).to(device)
        except CLRFaceError as error:
            missing[name] = str(error)
        else:
            column = Column(name, higher_is_better=False, ratio=True)
            metrics.append(Metric(column, lambda a, b, network=network: lpips(a, b, network)))  # type: ignore[misc]
    sface = load_identity("sface", device=device)
    column = Column("SFace cosine", higher_is_better=True)
    metrics.append(Metric(column, torch.no_grad()(lambda a, b: identity_similarity(sface(a), sface(b)))))
    try:
        dlib = DlibIdentity()
    except CLRFaceError as error:
        missing["dlib cosine"] = str(error)
    else:
        column = Column("dlib cosine", higher_is_better=True)
        metrics.append(Metric(column, lambda a, b: identity_similarity(dlib(a), dlib(b))))
    return metrics, missing


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
        truth = _shrink(truth, SIDE)
    enlarged = truth
    if truth.shape[1] < SIDE:
        enlarged = functional.interpolate(truth[None], (SIDE, SIDE), mode="bicubic", align_corners=False)[0]
    degradation = draw(config, (seed, sample.seed))
    return Case(sample, degradation.target(truth), degradation.apply(enlarged.clamp(0, 1)), degradation)


def evaluate(
    restorers: Mapping[str, Restore],
    data: Path | str | Sequence[Path | str],
    *,
    degradation: str | DegradeConfig = "standard",
    seed: int = 0,
    limit: int | None = None,
    batch: int = 4,
    weights: Path | str | None = None,
    metrics: Sequence[Metric] | None = None,
    device: torch.device | str = "cpu",
    sheet: Path | None = None,
    sheet_faces: int = 4,
    progress: bool = True,
) -> Report:
    """Measure `restorers`, each from degraded faces (B,3,512,512) in [0,1] on `device` to restored ones alike.

    data: aligned faces, see `find_samples`; `limit` counts per set. A truth under 512 px is degraded enlarged,
    and outputs are area-reduced to its size before they are compared. All are compared as 8 bits would show
    them. metrics: in place of `find_metrics(weights)`. sheet: a PNG of the first `sheet_faces` of each set.
    A picture that cannot be read is named in the report; bad arguments raise CLRFaceError.
    """
    config = _config(degradation)
    if INPUT in restorers or batch < 1:
        raise CLRFaceError(f'Expected a batch of at least 1 and no restorer called "{INPUT}": change that.')
    samples = find_samples(data, limit)
    found, missing = find_metrics(weights, device) if metrics is None else (list(metrics), {})
    settings = {"degradation": config.to_dict(), "seed": seed}
    report = Report([m.column for m in found], [INPUT, *restorers], settings=settings, missing=missing)
    shown: dict[str, list[list[Tensor]]] = {}
    with tqdm(total=len(samples), desc="evaluating", unit="face", disable=not progress) as bar:
        for cases in _batches(samples, config, seed, batch, report.skipped, bar):
            outputs = _run(restorers, torch.stack([case.degraded for case in cases]).to(device))
            for index, case in enumerate(cases):
                pictures = torch.stack([output[index] for output in outputs.values()])
                report.faces.append(_measure(case, dict(zip(outputs, pictures, strict=True)), found, device))
                rows = shown.setdefault(case.sample.set_name, [])
                if sheet is not None and len(rows) < sheet_faces:
                    rows.append([*pictures.cpu(), case.truth])
                bar.update()
    if not report.faces:
        raise CLRFaceError(f"Expected at least one readable aligned face, got none: {report.skipped[0]}")
    if sheet is not None:
        save_sheet(sheet, [*report.outputs, "ground truth"], [row for rows in shown.values() for row in rows])
    return report


def _config(degradation: str | DegradeConfig) -> DegradeConfig:
    if isinstance(degradation, DegradeConfig):
        return degradation
    if degradation not in PRESETS:
        raise CLRFaceError(f"Expected a degradation among {', '.join(PRESETS)}, got {degradation!r}: use one of them.")
    return PRESETS[degradation]


def _batches(
    samples: Sequence[Sample], config: DegradeConfig, seed: int, size: int, skipped: list[str], bar: tqdm
) -> Iterator[list[Case]]:
    """Cases in batches; a picture that cannot be read is named in `skipped`."""
    cases: list[Case] = []
    for sample in samples:
        try:
            cases.append(make_case(sample, config, seed))
        except CLRFaceError as error:
            skipped.append(str(error))
            bar.update()
        if len(cases) == size:
            yield cases
            cases = []
    if cases:
        yield cases


def _run(restorers: Mapping[str, Restore], degraded: Tensor) -> dict[str, Tensor]:
    outputs = {INPUT: degraded}
    for name, restore in restorers.items():
        with torch.no_grad():
            restored = restore(degraded)
        if restored.shape != degraded.shape:
            raise CLRFaceError(
                f"Expected the restorer {name} to return {tuple(degraded.shape)}, got {tuple(restored.shape)}: "
                "return the faces in the size they came in."
            )
        if not torch.isfinite(restored).all():
            raise CLRFaceError(f"Expected numbers from the restorer {name}, got NaN or infinity: mend the model.")
        outputs[name] = restored.float()
    return {name: (output.clamp(0, 1) * 255).round() / 255 for name, output in outputs.items()}


def _measure(
    case: Case, outputs: Mapping[str, Tensor], metrics: Sequence[Metric], device: torch.device | str
) -> dict[str, object]:
    """The record of one face in a report."""
    candidates = torch.stack([_shrink(output, case.truth.shape[1]) for output in outputs.values()])
    truth = case.truth[None].to(device)
    numbers = {metric.column.name: metric.compare(candidates, truth).tolist() for metric in metrics}
    return {
        "key": case.sample.key,
        "set": case.sample.set_name,
        "degradation": {"sigma": case.degradation.sigma, "reduction": case.degradation.reduction,
                        "noise": case.degradation.noise, "quality": case.degradation.quality},
        "outputs": {name: {metric: values[i] for metric, values in numbers.items()} for i, name in enumerate(outputs)},
    }  # fmt: skip


def _shrink(image: Tensor, side: int) -> Tensor:
    """(3,S,S) area-reduced to (3,side,side)."""
    return image if image.shape[1] == side else functional.interpolate(image[None], (side, side), mode="area")[0]
