"""What references did besides the means of a report: how often they matched, and whether strangers shine through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..references import Match
from .measure import TRUTH, Embeddings
from .people import WHOSE, Album


def reference_tables(
    album: Album, matches: Mapping[tuple[str, str], Match], embeddings: Embeddings, outputs: Sequence[str]
) -> dict[str, Any]:
    """What the table of a report cannot say: how often references matched, and how near outputs are to the stranger.

    matches: see `ModelOutputs.matches`. embeddings: see `measure.evaluate`, of the truths too.
    """
    found: dict[str, Any] = {"matched": [], "stranger": []}
    for whose in WHOSE:
        told = [match for (kind, _), match in matches.items() if kind == whose]
        if told:
            cosines = torch.tensor([match.cosine for match in told])
            found["matched"].append({
                "references": whose, "faces": len(told), "used": sum(bool(match.used) for match in told),
                "lowest": float(cosines.min()), "mean": float(cosines.mean()), "highest": float(cosines.max()),
            })  # fmt: skip
    keys = sorted({key for _, key in matches})
    for network in sorted({name for name, *_ in embeddings}):
        means = {name: _to_stranger(album, embeddings, network, name, keys) for name in (*outputs, TRUTH)}
        found["stranger"].append({"network": network, "cosines": means})
    return found


def _to_stranger(album: Album, embeddings: Embeddings, network: str, output: str, keys: Sequence[str]) -> float:
    """Mean cosine of the outputs to the photo of the stranger whose reference they were given."""

    def cosine(key: str) -> Tensor:
        stranger = album.others(key, own=False)[0].key
        return (embeddings[network, output, key] * embeddings[network, TRUTH, stranger]).sum()

    return float(torch.stack([cosine(key) for key in keys]).mean())
