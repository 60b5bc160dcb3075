"""What references did besides the means of a report: how often they matched, what they changed against the same
restoration without them, for whom, whether strangers shine through, and what they cost."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..diffusion.refine import Sampling
from ..faces.warp import resize
from ..references import Match, References
from ..restorer import FaceRestorer
from .compared.outputs import OF_REFERENCES
from .measure import TRUTH, Embeddings
from .people import OWN, WHOSE, Album
from .report.tables import Report

COMPARED = ("PSNR", "LPIPS-VGG", "dlib cosine", "ArcFace cosine", "SFace cosine")
"""The columns of which differences are told, those that never guide before the one that does."""

AWAY = 0.2
"""From this difference of `people.turn` on, a reference shows the face from another side: some 20 degrees."""


def reference_tables(
    album: Album, matches: Mapping[tuple[str, int, str], Match], embeddings: Embeddings, report: Report
) -> dict[str, Any]:
    """What the table of a report cannot say, as data of JSON.

    matches: see `ModelOutputs.matches`. embeddings: see `measure.evaluate`, of the truths too; each stranger's photo is
    described where it is needed (see `describe_strangers`).
    """
    return {
        "matched": _matched(matches),
        "changes": [_change(album, embeddings, report, *pair) for pair in _pairs(report)],
        "for whom": _for_whom(album, report),
        "stranger": _to_strangers(album, embeddings, report),
    }


def describe_strangers(album: Album, keys: Sequence[str], metrics: Sequence[Any], embeddings: Embeddings) -> None:
    """Add what the networks that recognise people say of the reference photos, own and strangers'."""
    from .cases import fit, load

    photos = {face.key: face for key in keys for own in (True, False) for face in album.others(key, own=own, count=1)}
    for metric in metrics:
        for key, face in photos.items():
            if metric.recognises and (metric.name, TRUTH, key) not in embeddings:
                embeddings[metric.name, TRUTH, key] = metric.describe(fit(load(face))[None])


def _matched(matches: Mapping[tuple[str, int, str], Match]) -> list[dict[str, Any]]:
    rows = []
    for whose, count in sorted({key[:2] for key in matches}, key=lambda kind: (WHOSE.index(kind[0]), kind[1])):
        told = [match for (*kind, _), match in matches.items() if kind == [whose, count]]
        cosines = torch.tensor([match.cosine for match in told])
        rows.append({
            "references": whose, "count": count, "given": sum(len(match.cosines) for match in told), "faces": len(told),
            "used": sum(bool(match.used) for match in told),
            "lowest": float(cosines.min()), "mean": float(cosines.mean()), "highest": float(cosines.max()),
        })  # fmt: skip
    return rows


def _pairs(report: Report) -> list[tuple[str, str]]:
    """Each output with references, and the one that differs from it in nothing else."""
    found = []
    ours = {name: traits for name, traits in report.outputs.items() if "references" in traits and "model" not in traits}

    def rest(traits: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in traits.items() if name not in OF_REFERENCES}

    for name, traits in ours.items():
        blind = [other for other, its in ours.items() if not its["references"] and rest(its) == rest(traits)]
        found += [(name, blind[0])] if traits["references"] and blind else []
    return found


def _change(album: Album, embeddings: Embeddings, report: Report, output: str, blind: str) -> dict[str, Any]:
    """Mean difference in each column, with its standard error; and in the cosine to the stranger."""
    columns = [name for name in COMPARED if any(column.name == name for column in report.columns)]
    found = {}
    for column in columns:
        changes = [number for face in report.faces if (number := _gain(face, output, blind, column)) is not None]
        found[column] = _summary(changes)
    for network in sorted({name for name, *_ in embeddings}):
        keys = [face["key"] for face in report.faces]
        changes = [
            _to_stranger(album, embeddings, network, output, key) - _to_stranger(album, embeddings, network, blind, key)
            for key in keys
        ]
        found[f"{network} to the stranger"] = _summary(changes)
    return {"output": output, "blind": blind, "changes": found}


def _gain(face: Mapping[str, Any], output: str, blind: str, column: str) -> float | None:
    after, before = (face["outputs"][name].get(column) for name in (output, blind))
    return None if after is None or before is None else after - before


def _summary(changes: Sequence[float]) -> dict[str, float]:
    error = statistics.stdev(changes) / len(changes) ** 0.5 if len(changes) > 1 else 0.0
    return {"mean": statistics.fmean(changes) if changes else 0.0, "error": error}


def _for_whom(album: Album, report: Report) -> list[dict[str, Any]]:
    """The gain of the last output with one own reference, by how its photo differs from the face: by the network that
    never guides."""
    own = [
        (name, blind)
        for name, blind in _pairs(report)
        if report.outputs[name]["references"] == OWN and report.outputs[name]["reference_count"] == 1
    ]
    columns = [name for name in COMPARED[2:] if any(column.name == name for column in report.columns)]
    if not own or not columns:
        return []
    output, blind = own[-1]
    groups: dict[str, list[float]] = {"from the same side": [], "from another side": [], "side not known": []}
    for face in report.faces:
        turned = album.turned(face["key"])
        group = "side not known" if turned is None else f"from {'another' if turned >= AWAY else 'the same'} side"
        gain = _gain(face, output, blind, columns[0])
        if gain is not None:
            groups[group].append(gain)
    return [
        {"output": output, "network": columns[0], "reference": group, "faces": len(gains), **_summary(gains)}
        for group, gains in groups.items()
        if gains
    ]


def _to_strangers(album: Album, embeddings: Embeddings, report: Report) -> list[dict[str, Any]]:
    """Mean cosine of every output, and of the truth, to the photo of the stranger."""
    keys = [face["key"] for face in report.faces]
    return [
        {
            "network": network,
            "cosines": {
                name: statistics.fmean(_to_stranger(album, embeddings, network, name, key) for key in keys)
                for name in (*report.outputs, TRUTH)
            },
        }
        for network in sorted({name for name, *_ in embeddings})
    ]


def _to_stranger(album: Album, embeddings: Embeddings, network: str, output: str, key: str) -> float:
    """Cosine of an output to the photo of the stranger whose reference its face was given."""
    stranger = album.others(key, own=False, count=1)[0].key
    return float((embeddings[network, output, key] * embeddings[network, TRUTH, stranger]).sum())


def seconds_with_references(
    faces: FaceRestorer, crop: Tensor, references: References, steps: Sequence[int], rounds: int
) -> list[dict[str, float]]:
    """CPU seconds of restoring one face (3,S,S) blind and with references that are known, in turns; medians. And of
    taking from a reference photo, already aligned, what the networks take, which is done once whatever the faces.

    CPU seconds, as other programs on the machine do not count in them; meaningless where the networks run elsewhere.
    """

    def spent(work: Callable[[], Any]) -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    crop = resize(crop, faces.bundle.size, faces.bundle.size).clamp(0, 1)

    def known() -> None:
        faces.reference(crop, 1.0, crop.shape[-1], "photo")

    rows = []
    for number in steps:
        sampling = Sampling(number)
        ways: dict[str, Callable[[], Any]] = {
            "blind": partial(faces.restore_matched, crop[None], None, sampling),
            "with": partial(faces.restore_matched, crop[None], references, sampling),
            "photo": known,
        }
        taken = [[spent(work) for work in ways.values()] for _ in range(rounds + 1)][1:]  # the first warms up
        row = dict(zip(ways, map(statistics.median, zip(*taken, strict=True)), strict=True))
        rows.append({"steps": number, **row, "ratio": statistics.median(given / blind for blind, given, _ in taken)})
    return rows
