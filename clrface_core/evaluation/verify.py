"""Downstream face recognition: is a person still accepted, and a stranger still refused, once faces are restored?

A pair is a clean picture, the gallery, and another one, the probe, which is shown to the recognition network degraded,
and then restored. The true-accept rate (TAR) is the share of genuine pairs above the similarity that lets a given
share of impostor pairs (the false-accept rate, FAR) through.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..degrade import DegradeConfig
from ..errors import CLRFaceError
from ..photo import is_picture
from ..shards import StoredFace
from .cases import batches, degradation_config, load, shrink
from .compared.outputs import Output
from .measure import TRUTH, Costs, Embeddings, run
from .metrics.metric import Metric

RATES = (0.1, 0.01, 0.001)
SELF = "self"
PAIRS_NOTE = "Gallery: the first picture of a pair, clean. Probe: the second, degraded and restored."
SELF_NOTE = (
    "Self-pairs: the gallery is the probe's own clean photograph, mirrored. This says how much of a face's identity "
    "survives, not how well a person is recognised on another photograph; where a set shows one person under "
    "several names, such pairs count as impostors, and all rates are too low."
)


@dataclass(frozen=True)
class Pair:
    """Gallery and probe, and whether they show one person."""

    gallery: StoredFace
    probe: StoredFace
    same: bool


def read_pairs(path: Path) -> tuple[list[Pair], list[str]]:
    """Pairs of a CSV file, and a sentence for each that has to be left out because a picture is missing.

    One pair a line: gallery,probe,same. Paths are relative to the file's folder, pictures are aligned faces; `same` is
    1 or 0. Empty lines, lines that begin with "#", and a first line that names the columns do not count.
    CLRFaceError where the file cannot be read, or a line is of another form.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CLRFaceError(f"Expected a CSV file of pairs at {path}, could not read it: {error}.") from error
    pairs, skipped = [], []
    for number, line in enumerate(lines, 1):
        cells = [cell.strip() for cell in next(csv.reader([line]), [])]
        if not cells or line.lstrip().startswith("#") or (number == 1 and cells[-1] == "same"):
            continue
        if len(cells) != 3 or cells[2] not in ("0", "1"):
            raise CLRFaceError(f"Expected gallery,probe,same (0 or 1) in line {number} of {path}, got {line!r}.")
        files = [path.parent / cell for cell in cells[:2]]
        absent = [file for file in files if not is_picture(file)]
        if absent:
            skipped.append(f"Expected a picture at {absent[0]} (line {number} of {path.name}), found none.")
            continue
        gallery, probe = (StoredFace(cell, file) for cell, file in zip(cells[:2], files, strict=True))
        pairs.append(Pair(gallery, probe, cells[2] == "1"))
    return pairs, skipped


def self_pairs(faces: Sequence[StoredFace]) -> dict[str, list[Pair]]:
    """By set: every picture with itself, and with every other one of its set as an impostor."""
    found: dict[str, list[Pair]] = {}
    for gallery in faces:
        members = [probe for probe in faces if probe.set_name == gallery.set_name]
        pairs = found.setdefault(gallery.set_name, [])
        pairs += [Pair(gallery, probe, probe.key == gallery.key) for probe in members]
    return found


def verify_pairs(
    path: Path,
    outputs: Mapping[str, Output],
    recognition: Sequence[Metric],
    *,
    degradation: str | DegradeConfig = "standard",
    seed: int = 0,
    batch: int = 4,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> tuple[list[dict[str, Any]], list[str]]:
    """A block of a report's `verification` for each network of `recognition`, and what was left out.

    path: see `read_pairs`. recognition: metrics whose descriptions are embeddings. Others: see `measure.evaluate`.
    """
    pairs, skipped = read_pairs(path)
    probes, galleries = ({s.key: s for s in each} for each in ([p.probe for p in pairs], [p.gallery for p in pairs]))
    known = embed_clean(list(galleries.values()), recognition, device, skipped)
    shown: Embeddings = {}
    config = degradation_config(degradation)
    with tqdm(total=len(probes), desc="verifying", unit="face", disable=not progress) as bar:
        faces = list(probes.values())
        for group in batches(faces, config, seed=seed, size=batch, device=device, skipped=skipped, bar=bar):
            pictures = run(outputs, group, Costs())
            for index, case in enumerate(group.cases):
                kinds = {TRUTH: case.truth} | {name: each[index] for name, each in pictures.items()}
                for metric, (kind, picture) in product(recognition, kinds.items()):
                    reduced = shrink(picture, case.truth.shape[1])[None].to(device)
                    shown[metric.name, kind, case.face.key] = metric.describe(reduced)
                bar.update()
    return _blocks(recognition, "", PAIRS_NOTE, pairs, known, shown, skipped), list(dict.fromkeys(skipped))


def verify_self(
    faces: Sequence[StoredFace], probes: Embeddings, recognition: Sequence[Metric], device: torch.device | str = "cpu"
) -> tuple[list[dict[str, Any]], list[str]]:
    """The same for the self-pairs of each set (see SELF_NOTE), by the embeddings that `measure.evaluate` kept."""
    skipped: list[str] = []
    known = embed_clean(faces, recognition, device, skipped, mirrored=True)
    blocks = []
    for set_name, pairs in self_pairs(faces).items():
        blocks += _blocks(recognition, set_name, SELF_NOTE, pairs, known, probes, skipped)
    return blocks, list(dict.fromkeys(skipped))


def embed_clean(
    faces: Sequence[StoredFace],
    recognition: Sequence[Metric],
    device: torch.device | str,
    skipped: list[str],
    *,
    mirrored: bool = False,
) -> Embeddings:
    """Clean pictures by every network; one that cannot be read is named in `skipped`."""
    known: Embeddings = {}
    for face in faces:
        try:
            picture = load(face)[None].to(device)
        except CLRFaceError as error:
            skipped.append(str(error))
            continue
        for metric in recognition:
            known[metric.name, TRUTH, face.key] = metric.describe(picture.flip(3) if mirrored else picture)
    return known


def _blocks(
    recognition: Sequence[Metric],
    set_name: str,
    note: str,
    pairs: Sequence[Pair],
    gallery: Embeddings,
    probes: Embeddings,
    skipped: list[str],
) -> list[dict[str, Any]]:
    blocks = []
    for metric in recognition:
        try:
            blocks.append(_block(metric.name, set_name, note, pairs, gallery, probes))
        except CLRFaceError as error:
            skipped.append(f"Verification by {metric.name}{', set ' + set_name if set_name else ''}: {error}")
    return blocks


def _block(
    network: str, set_name: str, note: str, pairs: Sequence[Pair], gallery: Embeddings, probes: Embeddings
) -> dict[str, Any]:
    usable = [
        pair
        for pair in pairs
        if (network, TRUTH, pair.gallery.key) in gallery and (network, TRUTH, pair.probe.key) in probes
    ]
    genuine, impostor = (sum(pair.same is same for pair in usable) for same in (True, False))
    if not genuine or not impostor:
        raise CLRFaceError(
            f"Expected genuine and impostor pairs to verify, got {genuine} and {impostor}: add some of both."
        )
    rates = [rate for rate in RATES if rate * impostor >= 1]
    rows = []
    for kind in dict.fromkeys(name for measured, name, _ in probes if measured == network):
        scores = torch.cat(
            [(gallery[network, TRUTH, p.gallery.key] * probes[network, kind, p.probe.key]).sum(1) for p in usable]
        ).double()
        same = torch.tensor([pair.same for pair in usable])
        rows.append(
            {
                "output": kind,
                "true_accept": [true_accept_rate(scores[same], scores[~same], rate) for rate in rates],
                "equal_error": equal_error_rate(scores[same], scores[~same]),
            }
        )
    note += "" if len(rates) == len(RATES) else f" Too few impostors for a FAR below {rates[-1] if rates else 1}."
    return {
        "network": network, "set": set_name, "note": note, "genuine": genuine, "impostor": impostor,
        "rates": rates, "probes": rows,
    }  # fmt: skip


def true_accept_rate(genuine: Tensor, impostor: Tensor, rate: float) -> float:
    """Share of genuine similarities above the lowest threshold that lets at most `rate` of the impostors through."""
    allowed = int(rate * len(impostor) + 1e-9)
    threshold = impostor.sort(descending=True).values[allowed] if allowed < len(impostor) else -torch.inf
    return float((genuine > threshold).double().mean())


def equal_error_rate(genuine: Tensor, impostor: Tensor) -> float:
    """The error where as many strangers are accepted as persons are refused, halfway between the nearest two."""
    thresholds = torch.cat([genuine, impostor]).unique()
    accepted, refused = (
        torch.searchsorted(scores.sort().values, thresholds, right=True).double() / len(scores)
        for scores in (impostor, genuine)
    )
    accepted = 1 - accepted
    nearest = (accepted - refused).abs().argmin()
    return float((accepted[nearest] + refused[nearest]) / 2)
