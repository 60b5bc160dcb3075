"""Degrade faces whose ground truth is known, restore them, and measure what came back."""

from __future__ import annotations

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..degrade import DegradeConfig
from ..errors import CLRFaceError
from ..shards import StoredFace
from .cases import Batch, Case, batches, choose_faces, degradation_config, shrink
from .compared.outputs import Output
from .metrics.metric import Metric
from .report.sheet import save_sheet
from .report.tables import INPUT, Report
from .report.tones import typology_angle

TRUTH = "ground truth"

Embeddings = dict[tuple[str, str, str], Tensor]
"""(name of a metric, output or TRUTH, key of a face) to an embedding (1,D)."""


@dataclass(frozen=True)
class Sheet:
    """A contact sheet to write: the first `faces` of each set, one column for each of `columns`, and the truth.

    columns: title to what it shows; None for the outputs that are measured.
    """

    path: Path
    columns: Mapping[str, Callable[[Batch], Tensor]] | None = None
    faces: int = 4


@dataclass
class Costs:
    """Where the time went: seconds and number of pictures, by output and by metric. Not part of a report, which is
    to be the same every time."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    pictures: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def of(self, name: str, pictures: int) -> Iterator[None]:
        """Count the time of a `with` block."""
        start = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - start
        self.pictures[name] += pictures

    def lines(self) -> list[str]:
        """One line each, the dearest first."""
        order = sorted(self.seconds, key=lambda name: -self.seconds[name])
        return [
            f"{name}: {self.seconds[name]:.1f} s, {self.seconds[name] / self.pictures[name]:.3f} s a picture"
            for name in order
        ]


def evaluate(
    outputs: Mapping[str, Output],
    data: Path | str | Sequence[Path | str],
    metrics: Sequence[Metric],
    *,
    degradation: str | DegradeConfig = "standard",
    seed: int = 0,
    limit: int | None = None,
    batch: int = 4,
    device: torch.device | str = "cpu",
    sheet: Sheet | None = None,
    progress: bool = True,
    costs: Costs | None = None,
    kept: Embeddings | None = None,
    only: Collection[str] | None = None,
) -> Report:
    """Measure `outputs` and the input itself by `metrics` (see `catalogue.find_metrics`).

    data: aligned faces, see `shards.find_faces`; `limit` counts per set. A truth under 512 px is degraded enlarged,
    and outputs are area-reduced to its size before they are compared. All are compared as 8 bits would show
    them. A picture that cannot be read is named in the report; bad arguments raise CLRFaceError.
    costs: filled with where the time went. kept: filled with the embeddings of the metrics that recognise people.
    only: the keys of the faces to measure on, all by default.
    """
    config = degradation_config(degradation)
    if INPUT in outputs or batch < 1:
        raise CLRFaceError(f'Expected a batch of at least 1 and no output called "{INPUT}": change that.')
    columns = [column for metric in metrics for column in metric.columns]
    traits = {INPUT: {}, **{name: output.traits for name, output in outputs.items()}}
    report = Report(columns, traits, settings={"degradation": config.to_dict(), "seed": seed})
    chosen = [face for face in choose_faces(data, limit, report.skipped) if only is None or face.key in only]
    measuring = Measuring(metrics, device, costs or Costs(), kept)
    shown: dict[str, list[list[Tensor]]] = {}
    with tqdm(total=len(chosen), desc="evaluating", unit="face", disable=not progress) as bar:
        for faces in batches(chosen, config, seed=seed, size=batch, device=device, skipped=report.skipped, bar=bar):
            pictures = run(outputs, faces, measuring.costs)
            if sheet is not None:
                _show(sheet, faces, pictures, shown)
            for index, case in enumerate(faces.cases):
                report.faces.append(measuring.face(case, {name: each[index] for name, each in pictures.items()}))
                bar.update()
    if not report.faces:
        raise CLRFaceError(f"Expected at least one readable aligned face, got none: {report.skipped[0]}")
    report.sets, report.gaps = measuring.sets(), measuring.gap_lines()
    report.columns = [column for column in columns if column.name not in measuring.unused]
    read = {face["key"] for face in report.faces}
    report.settings["faces"] = _digest([face.content for face in chosen if face.key in read])
    if sheet is not None:
        titles = [*(report.outputs if sheet.columns is None else sheet.columns), TRUTH]
        save_sheet(sheet.path, titles, [row for name in sorted(shown) for row in shown[name]])
    return report


def run(outputs: Mapping[str, Output], batch: Batch, costs: Costs) -> dict[str, Tensor]:
    """The input and every output (B,3,512,512), rounded to 8 bits; CLRFaceError for one that cannot be measured."""
    pictures = {INPUT: batch.degraded}
    for name, output in outputs.items():
        with torch.no_grad(), costs.of(name, len(batch.cases)):
            restored = output.restore(batch)
        if restored.shape != batch.degraded.shape:
            raise CLRFaceError(
                f"Expected the restorer {name} to return {tuple(batch.degraded.shape)}, got {tuple(restored.shape)}: "
                "return the faces in the size they came in."
            )
        if not torch.isfinite(restored).all():
            raise CLRFaceError(f"Expected numbers from the restorer {name}, got NaN or infinity: mend the model.")
        pictures[name] = restored.float()
    return {name: (picture.clamp(0, 1) * 255).round() / 255 for name, picture in pictures.items()}


class Measuring:
    """Applies metrics to faces, one by one, and keeps what numbers of whole sets need."""

    def __init__(
        self, metrics: Sequence[Metric], device: torch.device | str, costs: Costs, kept: Embeddings | None = None
    ) -> None:
        self.metrics, self.device, self.costs, self.embeddings = metrics, device, costs, kept
        self.unused: set[str] = set()
        self._kept: dict[tuple[str, str, str], list[Tensor]] = defaultdict(list)
        self._outputs: list[str] = []
        self._gaps: Counter[tuple[str, str]] = Counter()

    def face(self, case: Case, pictures: Mapping[str, Tensor]) -> dict[str, Any]:
        """The record of one face in a report."""
        self._outputs = list(pictures)
        shown = {name: shrink(picture, case.truth.shape[1])[None] for name, picture in pictures.items()}
        truth = case.truth[None].to(self.device)
        numbers: dict[str, dict[str, float | None]] = {name: {} for name in shown}
        for metric in self.metrics:
            with self.costs.of(metric.name, len(shown) + 1):
                self._apply(metric, case.face, shown, truth, numbers)
        drawn = case.degradation
        return {
            "key": case.face.key,
            "set": case.face.set_name,
            "tone": typology_angle(case.truth),
            "degradation": {
                "sigma": drawn.sigma, "reduction": drawn.reduction, "noise": drawn.noise, "quality": drawn.quality
            },
            "outputs": numbers,
        }  # fmt: skip

    def _apply(
        self, metric: Metric, face: StoredFace, pictures: Mapping[str, Tensor], truth: Tensor, numbers: dict[str, Any]
    ) -> None:
        known = metric.describe(truth)
        self._keep(metric, face, TRUTH, known)
        done: list[tuple[Tensor, Any]] = []
        for name, picture in pictures.items():
            described = next((known for other, known in done if torch.equal(other, picture)), None)
            if described is None:  # what another way gave to the bit is not described anew
                described = metric.describe(picture)
                done.append((picture, described))
            self._keep(metric, face, name, described)
            for score in metric.scores:
                try:
                    numbers[name][score.column.name] = score.of(described, known)
                except CLRFaceError as error:
                    numbers[name][score.column.name] = None
                    self._gaps[score.column.name, str(error)] += 1

    def _keep(self, metric: Metric, face: StoredFace, name: str, described: Any) -> None:
        """What is needed when all faces are through."""
        if metric.set_scores:
            self._kept[metric.name, face.set_name, name].append(described)
        if metric.recognises and self.embeddings is not None:
            self.embeddings[metric.name, name, face.key] = described

    def sets(self) -> list[dict[str, Any]]:
        """The numbers of each set and output, None where a set is too small; columns no set can have are `unused`."""
        records: dict[tuple[str, str], dict[str, Any]] = {}
        for metric in self.metrics:
            for score in metric.set_scores:
                had = False
                for set_name in sorted({kept[1] for kept in self._kept}):
                    truths = torch.cat(self._kept[metric.name, set_name, TRUTH])
                    fits = score.least <= len(truths) < score.below
                    had |= fits
                    for name in self._outputs:
                        record = records.setdefault((set_name, name), {"set": set_name, "output": name})
                        described = torch.cat(self._kept[metric.name, set_name, name])
                        record[score.column.name] = score.of(described, truths) if fits else None
                if not had:
                    self.unused.add(score.column.name)
        return list(records.values())

    def gap_lines(self) -> list[str]:
        """What could not be had, and how often."""
        return [f"{column} of {count} pictures. {reason}" for (column, reason), count in self._gaps.items()]


def _show(sheet: Sheet, batch: Batch, pictures: Mapping[str, Tensor], shown: dict[str, list[list[Tensor]]]) -> None:
    """Add the batch's faces to the rows of the sheet, as long as their set has too few."""
    wanted = []
    for index, case in enumerate(batch.cases):
        rows = shown.setdefault(case.face.set_name, [])
        if len(rows) < sheet.faces:
            rows.append([])
            wanted.append((index, case, rows[-1]))
    if not wanted:
        return
    columns = pictures if sheet.columns is None else {name: make(batch) for name, make in sheet.columns.items()}
    for index, case, row in wanted:
        row += [*(column[index].cpu() for column in columns.values()), case.truth]


def _digest(contents: Sequence[bytes]) -> str:
    """The number of pictures, and the SHA-256 of their files' SHA-256s in order."""
    whole = hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents))
    return f"{len(contents)}, SHA-256 {whole.hexdigest()}"
