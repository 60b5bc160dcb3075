"""What is compared: outputs of a batch of degraded faces, and those of one model with parts of it changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ...diffusion.refine import Sampling
from ...errors import CLRFaceError
from ...faces.align import FFHQ_TEMPLATE_512
from ...fidelity import keep_estimate
from ...models.vq import VQModel
from ...references import SCALE, THRESHOLD, Match, References
from ...restorer import FaceRestorer
from ..cases import SIDE, Batch
from ..people import OWN, WHOSE, Album

STARTS = ("irn", "degraded", "noise")
MASKS = ("learned", "ones", "drawn")
FEATURE_RADIUS = 45.0
"""Of the drawn mask's soft discs around eyes, nose and mouth corners, in pixels of a 512 px face."""


@dataclass(frozen=True)
class Output:
    """`restore` takes a batch and gives (B,3,512,512) in [0,1]. traits: what plots need to know of it."""

    restore: Callable[[Batch], Tensor]
    traits: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Variant:
    """One way through a model; the defaults are the method itself. CLRFaceError for a start or mask there is not.

    start: "irn"; "degraded" does without the IRN, the degraded face taking its estimate's place throughout; "noise"
        starts at t = 1, where next to nothing of the estimate is left but in the conditions.
    mask: where guidance acts: "learned", "ones" (everywhere), or "drawn" around the features of an aligned face.
    quantise: whether the latent is snapped to the codebook before it is decoded. fidelity: see `Sampling`.
    references: whose photos are given as references: nobody's (""), "own" or "stranger's". reference_count: how many,
        as far as there are so many. reference_scale: how strongly they pull. any_match: whether also those under the
        threshold pull, as they never do in use.
    """

    steps: int = 1
    guidance_scale: float = 0.0
    start: str = "irn"
    mask: str = "learned"
    quantise: bool = True
    fidelity: float = Sampling.fidelity
    references: str = ""
    reference_count: int = 1
    reference_scale: float = SCALE
    any_match: bool = False

    def __post_init__(self) -> None:
        if self.references not in ("", *WHOSE):
            raise CLRFaceError(f"Expected references of {' or '.join(WHOSE)}, got {self.references!r}: use these.")
        if self.start not in STARTS or self.mask not in MASKS:
            raise CLRFaceError(
                f"Expected a start among {', '.join(STARTS)} and a mask among {', '.join(MASKS)}, "
                f"got {self.start!r} and {self.mask!r}: use these."
            )


OF_REFERENCES = ("references", "reference_count", "reference_scale", "any_match")
"""The fields of a variant that say which references there are and what they do."""


class ModelOutputs:
    """The outputs of one model. What several of them need of a batch is computed once, and kept until the next."""

    def __init__(self, faces: FaceRestorer, *, solver: str = "ddim", seed: int = 0, album: Album | None = None) -> None:
        """album: the people's other photos, for variants with references."""
        self.faces, self.solver, self.seed, self.album = faces, solver, seed, album
        self.matches: dict[tuple[str, int, str], Match] = {}
        """By whose references, how many, and the key of the face: what they said of it."""
        self._batch: Batch | None = None
        self._known: dict[Any, Any] = {}

    def _once(self, batch: Batch, key: Any, make: Callable[[], Any]) -> Any:
        """`make()` of this batch, or what it gave before under this key."""
        if batch is not self._batch:
            self._batch, self._known = batch, {}
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    def estimate(self, batch: Batch) -> Tensor:
        """The IRN alone."""
        return self._estimate(batch).float().clamp(0, 1)

    def restore(self, batch: Batch, variant: Variant) -> Tensor:
        """The variant's restored faces."""
        if not variant.references:
            return keep_estimate(self._decoded(batch, variant), self.estimate(batch), variant.fidelity)
        plain = Variant()
        rest = {name: getattr(plain, name) for name in OF_REFERENCES}
        return self.faces.towards(self._matches(batch, variant), self.restore(batch, replace(variant, **rest)))

    def _decoded(self, batch: Batch, variant: Variant) -> Tensor:
        """Before the estimate's coarse part is kept."""
        latent = self._latent(batch, variant)
        key = (replace(variant, fidelity=0.0), "decoded")
        return self._once(batch, key, lambda: self.faces.decode(latent, quantise=variant.quantise))

    def reconstruct(self, batch: Batch) -> Tensor:
        """The truth through the autoencoder alone: no restoration by this model can come nearer."""
        return self._once(batch, "truth", lambda: self.faces.decode(self.faces.encode(batch.truth)))

    def mask_picture(self, batch: Batch) -> Tensor:
        """The learned mask as heat, (B,3,512,512): black is 0, white 1; all white without a mask, which means 1."""
        mask = self._mask(batch, "learned")
        if mask is None:
            return torch.ones_like(batch.degraded)
        return heat(torch.nn.functional.interpolate(mask.mean(1, keepdim=True), (SIDE, SIDE), mode="nearest"))

    def _estimate(self, batch: Batch) -> Tensor:
        return self._once(batch, "irn", lambda: self.faces.estimate(batch.degraded))

    def _encoded(self, batch: Batch, what: str) -> Tensor:
        """The latent of the degraded face or of the estimate."""
        picture = batch.degraded if what == "degraded" else self._estimate(batch)
        return self._once(batch, ("encoded", what), lambda: self.faces.encode(picture))

    def _mask(self, batch: Batch, kind: str) -> Tensor | None:
        z_d, z_i = self._encoded(batch, "degraded"), self._encoded(batch, "irn")
        if kind == "ones":
            return torch.ones_like(z_d, dtype=torch.float32)
        if kind == "drawn":
            return drawn_mask(z_d.shape[-1]).to(z_d.device)
        return self._once(batch, "mask", lambda: self.faces.mask(z_d, z_i))

    def _latent(self, batch: Batch, variant: Variant) -> Tensor:
        """z_0 before quantisation: the same with and without it, and without guidance whatever the mask."""
        mask_matters = variant.mask if variant.guidance_scale else "none"
        key = (variant.steps, variant.guidance_scale, variant.start, mask_matters)
        return self._once(batch, key, lambda: self._refine(batch, variant))

    def _refine(self, batch: Batch, variant: Variant) -> Tensor:
        z_d = self._encoded(batch, "degraded")
        z_i = z_d if variant.start == "degraded" else self._encoded(batch, "irn")
        denoise = 1.0 if variant.start == "noise" else None
        sampling = Sampling(variant.steps, self.solver, denoise, variant.guidance_scale, self.seed)
        mask = self._mask(batch, variant.mask) if variant.guidance_scale else None
        return self.faces.refine(z_i, z_d, sampling, mask=mask, face_ids=batch.numbers)

    def _matches(self, batch: Batch, variant: Variant) -> list[Match]:
        """Each face with the references of its own person, or of a stranger; with none of them where there are none."""
        if self.album is None:
            raise CLRFaceError("Expected an album for a variant with references, got none: give the people's photos.")
        threshold = -1.0 if variant.any_match else THRESHOLD
        seen = self._once(batch, "embedded", lambda: self.faces.embed_coarse(self.estimate(batch)))
        matches = []
        for case, embedding in zip(batch.cases, seen.split(1), strict=True):
            photos = self.album.references(
                self.faces, case.face.key, own=variant.references == OWN, count=variant.reference_count
            )
            [match] = References(photos, threshold, variant.reference_scale).match(embedding)
            matches.append(match)
            if not variant.any_match:
                self.matches[variant.references, variant.reference_count, case.face.key] = match
        return matches


class Autoencoder:
    """A model of which only the VQ is there: it shows what compression alone costs."""

    def __init__(self, vq: VQModel) -> None:
        self._vq = vq.eval()

    def reconstruct(self, batch: Batch) -> Tensor:
        """The truth through the autoencoder."""
        return self._vq(batch.truth)[0].clamp(0, 1)


def drawn_mask(side: int) -> Tensor:
    """(1,1,side,side) in [0,1]: soft discs around the FFHQ template's eyes, nose and mouth corners."""
    points = torch.from_numpy(FFHQ_TEMPLATE_512).float()
    position = (torch.arange(side) + 0.5) * (SIDE / side) - 0.5
    x, y = (points[:, axis, None, None] for axis in (0, 1))
    distance = (position - x) ** 2 + (position[:, None] - y) ** 2
    return torch.exp(-0.5 * distance / FEATURE_RADIUS**2).amax(0)[None, None]


def heat(values: Tensor) -> Tensor:
    """(B,1,H,W) in [0,1] to colours (B,3,H,W): black, red, yellow, white."""
    return torch.cat([(3 * values - shift).clamp(0, 1) for shift in (0, 1, 2)], dim=1)
