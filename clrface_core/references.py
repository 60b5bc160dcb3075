"""Photos of the person: what the networks take of them, and how sure it is that they show the same person."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import CLRFaceError
from .models.identity import recognition_crop

THRESHOLD = 0.33
"""Cosine from which a reference counts as the same person, for SFace on what is coarser than 8 px and our model.

Measured on 16 people, two photos of each, one of them degraded with the standard ranges: of 32 own pairs and 960 of
strangers 72 and 1 % are at or above 0.33, 84 and 2 % at 0.30 (area under the curve 0.976; 0.963 by whole photos).
`clrface evaluate --references` tells how it does.
"""

SURE = 0.5
"""Of 6496 pairs of strangers, compared by whole photos, none was above 0.45."""

SCALE = 2.0

SHARP, LARGE = 0.3, 256.0
"""From here on a photo is as good as any: `sharpness` of the least sharp tenth of 70 portraits (degraded ones have
0.06), and the side, in pixels, at which the pictures are compared."""

LEAST_QUALITY = 0.05
"""Even the worst photo says something: it is outvoted, not left out."""


@dataclass(frozen=True, eq=False)
class Reference:
    """One face of a reference photo.

    embedding: (D,) float32 of length 1, of the aligned photo (see `FaceRestorer.embed`): towards this faces are drawn.
    quality: its weight among others, in (0,1] (see `quality_of`).
    source: where it came from, such as "anna.jpg" or, where the photo shows several people, "anna.jpg, face 1".
    coarse: the same of its coarse part (see `FaceRestorer.embed_coarse`), by which it is told whether a face, which may
        have nothing finer, is of this person; None where that is the embedding.
    """

    embedding: Tensor
    quality: float = 1.0
    source: str = "reference"
    coarse: Tensor | None = None

    @property
    def compared(self) -> Tensor:
        """(D,), what faces are compared with."""
        return self.embedding if self.coarse is None else self.coarse


@dataclass(frozen=True, eq=False)
class Match:
    """What the references say of one face; empty without references.

    cosines, sources: one per reference face. used: the places of those that are of the same person.
    target: (D,) of length 1, the quality-weighted mean of those used, None without any. scale: strength of the pull.
    """

    cosines: tuple[float, ...] = ()
    sources: tuple[str, ...] = ()
    used: tuple[int, ...] = ()
    target: Tensor | None = None
    scale: float = 0.0

    @property
    def cosine(self) -> float | None:
        """Of the reference that is nearest, or None without references."""
        return max(self.cosines, default=None)

    @property
    def pulls(self) -> bool:
        """Whether the face is drawn towards them at all."""
        return self.target is not None and self.scale > 0

    @property
    def verdict(self) -> str:
        """How sure it is, in words: "the same person", "probably the same person", "no match", "no references"."""
        if self.cosine is None:
            return "no references"
        if not self.used:
            return "no match"
        return "the same person" if self.cosine >= SURE else "probably the same person"

    def __str__(self) -> str:
        """A line for the user."""
        if self.cosine is None:
            return self.verdict
        how = f"{len(self.used)} of {len(self.cosines)} references used" if self.used else "restored without references"
        return f"{self.verdict} (cosine {self.cosine:.2f}), {how}"


@dataclass(frozen=True, eq=False)
class References:
    """The faces of the reference photos, of one person or of several, and how they are used.

    threshold: a face takes those at a cosine of at least this, in [-1,1]. scale: strength of the pull towards them, at
    least 0, as `Sampling.guidance_scale`; at 0 matches are told and nothing is pulled.
    notes: a sentence for each photo in which several people are seen. problems: one for each that gave no face.
    CLRFaceError for values out of range.
    """

    faces: tuple[Reference, ...]
    threshold: float = THRESHOLD
    scale: float = SCALE
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not -1 <= self.threshold <= 1:
            raise CLRFaceError(
                f"Expected a reference threshold from -1 to 1, got {self.threshold}: {THRESHOLD} is usual."
            )
        if not (math.isfinite(self.scale) and self.scale >= 0):
            raise CLRFaceError(
                f"Expected a reference scale of at least 0, got {self.scale}: 0 is no pull, {SCALE:g} is usual."
            )

    def match(self, embeddings: Tensor) -> list[Match]:
        """What the references say of each of the faces with these embeddings (B,D), made as their own were."""
        if not self.faces:
            return [Match() for _ in embeddings]
        known = F.normalize(torch.stack([face.compared for face in self.faces]), dim=1)
        seen = F.normalize(embeddings.detach().float().cpu(), dim=1)
        if known.shape[1] != seen.shape[1]:
            raise CLRFaceError(
                f"Expected references of the recognition network in use, with {seen.shape[1]} numbers a face, got "
                f"{known.shape[1]}: make them anew with the same network."
            )
        return [self._match(row) for row in (seen @ known.T).tolist()]

    def _match(self, cosines: Sequence[float]) -> Match:
        sources = tuple(face.source for face in self.faces)
        used = [place for place, cosine in enumerate(cosines) if cosine >= self.threshold]
        if not used:
            return Match(tuple(cosines), sources)
        weights = torch.tensor([self.faces[place].quality for place in used])
        who = F.normalize(torch.stack([self.faces[place].embedding for place in used]), dim=1)
        target = F.normalize((weights[:, None] * who).sum(0), dim=0)
        return Match(tuple(cosines), sources, tuple(used), target, self.scale)


def usual_threshold(network: str | None) -> float:
    """THRESHOLD; CLRFaceError for a recognition network for which none was measured."""
    if network not in (None, "sface"):
        raise CLRFaceError(
            f"Expected a reference threshold for the recognition network {network}, as only SFace's was measured, got "
            "none: give one (--reference-threshold in the shell)."
        )
    return THRESHOLD


def quality_of(crop: Tensor, score: float, side: float) -> float:
    """How much a reference photo counts, in (0,1]: sharp, large and surely a face is 1.

    crop: (3,S,S) in [0,1], aligned. score: the detector's, in [0,1]. side: of the crop in the photo, in pixels.
    """
    quality = score * min(sharpness(crop) / SHARP, 1.0) * min(side / LARGE, 1.0)
    return max(quality, LEAST_QUALITY)


def sharpness(crop: Tensor) -> float:
    """Spread of the Laplacian over that of the brightness, of what a recognition network sees of (3,S,S): 0 is flat."""
    grey = recognition_crop(crop[None].float()).mean(1, keepdim=True)
    laplacian = grey.new_tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
    return float(F.conv2d(grey, laplacian).std() / grey.std().clamp_min(1e-6))
