"""The networks' part of the flow, aligned faces to restored ones: one method per stage, and all of them in order."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .diffusion.guidance import IdentityGuidance
from .diffusion.refine import Sampling, refine
from .diffusion.schedule import schedule_named
from .errors import CLRFaceError
from .fidelity import keep_estimate
from .likeness import draw_towards
from .models.bundle import Bundle, load_bundle
from .models.identity import load_identity
from .precision import choose_device, choose_dtype, ran_out_of_memory
from .references import Match, Reference, References, quality_of
from .severity import SIDES, severity

Progress = Callable[[dict[str, Any]], None]
"""Called once per step with the solver's {"i", "total", "t", "z", "denoised"}, and "faces" (the ids of the faces in
this micro-batch) of "count" in all. Whatever it raises ends the restoration and reaches the caller."""

Embed = Callable[[Tensor], Tensor]
"""Aligned faces (B,3,S,S) in [0,1] to embeddings (B,D) that say who it is, differentiable: an IdentityNet."""


class RestoredCrops(NamedTuple):
    """Aligned faces after their restoration.

    pictures: (B,3,S,S) float32 in [0,1]. matches: what the references say of each. severities: (B,3) float32 on the
    CPU, how degraded each was (see `severity`).
    """

    pictures: Tensor
    matches: list[Match]
    severities: Tensor


class FaceRestorer:
    """A model and what it does to aligned faces.

    bundle: its networks, on `device` and in `dtype` whenever a method is called; both are read off them unless given,
        as by a host that moves weights about.
    identity_net: the recognition network that guides, on that device; None where guidance is never asked for.
    batch_size: faces that go through the networks at once; memory grows with it. None is 4, and 1 on a CPU: there it is
        as fast, and a face's result does not depend on its company, to the bit (elsewhere beyond rounding).
    """

    def __init__(
        self,
        bundle: Bundle,
        identity_net: Embed | None = None,
        *,
        batch_size: int | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise CLRFaceError(f"Expected a batch size of at least 1, got {batch_size}: the usual one is 4.")
        weights = next(bundle.irn.parameters())
        self.bundle, self.identity_net = bundle, identity_net
        self.device, self.dtype = device or weights.device, dtype or weights.dtype
        self.batch_size = batch_size or (1 if self.device.type == "cpu" else 4)

    @classmethod
    def load(
        cls,
        model: Path | str | None = None,
        *,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype | None = None,
        identity_net: str | None = "sface",
        batch_size: int | None = None,
    ) -> FaceRestorer:
        """Everything from its files, ready to run.

        model: a bundle file, or None for the bundled one. device: "auto", "cpu", "cuda", "mps" or a torch.device.
        dtype: of the networks; None chooses (see `precision`). identity_net: "sface", "arcface", or None for no
        guidance; it computes in float32, for its gradient is small, and so is it.
        """
        place = choose_device(device)
        bundle = load_bundle(model, place, choose_dtype(place, dtype)).to(memory_format=torch.channels_last)
        guide = None if identity_net is None else load_identity(identity_net, device=place)
        return cls(bundle, guide, batch_size=batch_size)

    @torch.no_grad()
    def restore_crops(
        self,
        crops: Tensor,
        sampling: Sampling = Sampling(),
        *,
        face_ids: Sequence[int] | None = None,
        callback: Progress | None = None,
    ) -> Tensor:
        """Restored faces (B,3,S,S) float32 in [0,1], on the crops' device; S is the model's `bundle.size`.

        crops: (B,3,S,S) float, RGB in [0,1], aligned to the FFHQ template.
        face_ids: a face's noise depends on its id and `sampling.seed` only. The ids default to 0..B-1.
        Raises CLRFaceError for input that does not fit, and where the networks' results are not finite.
        """
        return self.restore_matched(crops, None, sampling, face_ids=face_ids, callback=callback).pictures

    @torch.no_grad()
    def restore_matched(
        self,
        crops: Tensor,
        references: References | None,
        sampling: Sampling = Sampling(),
        *,
        face_ids: Sequence[int] | None = None,
        callback: Progress | None = None,
    ) -> RestoredCrops:
        """As `restore_crops`, towards the person in those of the references that match a face; and what matched.

        A face that matches none gets what it gets without references, to the bit.
        """
        self.check_crops(crops)
        ids = list(range(len(crops)) if face_ids is None else face_ids)
        if len(ids) != len(crops):
            raise CLRFaceError(f"Expected one face id per crop, got {len(ids)} for {len(crops)}: give as many.")
        pictures, matches = torch.empty_like(crops, dtype=torch.float32), [Match()] * len(crops)
        severities = torch.empty(len(crops), len(SIDES))

        def work(part: slice) -> None:
            report = None if callback is None else partial(_report, callback, ids[part], len(crops))
            done = self._restore_batch(crops[part], references, sampling, ids[part], report)
            pictures[part], matches[part], severities[part] = done.pictures.to(pictures), done.matches, done.severities

        self.in_micro_batches(len(crops), work)
        return RestoredCrops(pictures, matches, severities)

    def in_micro_batches(self, count: int, work: Callable[[slice], None]) -> None:
        """Call `work` with slices of at most `batch_size` that cover range(count), in order.

        Where memory runs out the micro-batch is halved, for good, and its faces are done again. CLRFaceError where not
        even one fits.
        """
        done = 0
        while done < count:
            part = slice(done, min(done + self.batch_size, count))
            try:
                work(part)
            except RuntimeError as error:
                if not ran_out_of_memory(error):
                    raise
                self._take_fewer(part.stop - part.start, error)
                continue
            done = part.stop

    def _take_fewer(self, faces: int, error: RuntimeError) -> None:
        """Halve the micro-batch, of which so many faces were too much; CLRFaceError where it was a single one."""
        if faces == 1:
            raise CLRFaceError(
                f"Expected one face to fit into the memory of {self.device}, but it ran out: close what else uses it, "
                "or use the device cpu."
            ) from error
        self.batch_size = faces // 2
        logging.getLogger(__name__).warning(
            "CLR-Face: %d faces at once did not fit into memory; going on with %d.", faces, self.batch_size
        )

    def _restore_batch(
        self,
        crops: Tensor,
        references: References | None,
        sampling: Sampling,
        face_ids: list[int],
        callback: Progress | None,
    ) -> RestoredCrops:
        """One micro-batch: IRN, encode, refine, quantise, decode, keep what the IRN knows best, draw towards people."""
        x_i = self.estimate(crops)
        pictures, matches = self.restore_estimated(
            crops, x_i, references, sampling, face_ids=face_ids, callback=callback
        )
        return RestoredCrops(pictures, matches, severity(crops.to(x_i.device), x_i))

    @torch.no_grad()
    def restore_estimated(
        self,
        crops: Tensor,
        x_i: Tensor,
        references: References | None,
        sampling: Sampling = Sampling(),
        *,
        face_ids: Sequence[int] | None = None,
        callback: Callable[[dict[str, Any]], None] | None = None,
    ) -> tuple[Tensor, list[Match]]:
        """As `restore_matched`, of one micro-batch whose estimates (B,3,S,S), as `estimate` gives them, are known."""
        z_d, z_i = self.encode(torch.cat((self._pictures(crops), self._pictures(x_i)))).chunk(2)
        z_0 = self.refine(z_i, z_d, sampling, face_ids=face_ids, callback=callback)
        known = x_i.float().clamp(0, 1)
        kept = keep_estimate(self.decode(z_0), known, sampling.fidelity)
        matches = self.match(known, references)
        return self.towards(matches, kept), matches

    @torch.no_grad()
    def estimate(self, crops: Tensor) -> Tensor:
        """x_I, the IRN's output for one micro-batch (B,3,S,S), in the networks' dtype and not clamped."""
        return self.bundle.irn(self._pictures(crops))

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """Continuous latents (B,C,H/f,W/f) of pictures (B,3,H,W) in [0,1], in the networks' dtype."""
        return self.bundle.vq.encode(self._pictures(pictures))

    @torch.no_grad()
    def mask(self, z_d: Tensor, z_i: Tensor) -> Tensor | None:
        """Where guidance may act: (B,1 or C,h,w) float32 in [0,1], or None for a model without a mask."""
        if self.bundle.mask is None:
            return None
        return self.bundle.mask(self._latent(z_d), self._latent(z_i)).float()

    def refine(
        self,
        z_i: Tensor,
        z_d: Tensor,
        sampling: Sampling,
        *,
        mask: Tensor | None = None,
        face_ids: Sequence[int] | None = None,
        callback: Callable[[dict[str, Any]], None] | None = None,
    ) -> Tensor:
        """z_0 (B,C,h,w), float32 and continuous: one micro-batch from noised z_I down (see `diffusion.refine`).

        mask: where guidance may act, in place of the model's own, in [0,1] and broadcastable to the latents. It matters
        only where `sampling.guidance_scale` is above 0.
        """
        config = self.bundle.refiner.config
        guidance = None
        if sampling.guidance_scale > 0:
            guidance = self.guidance(z_i, self.mask(z_d, z_i) if mask is None else mask, sampling.guidance_scale)
        return refine(
            self.denoise,
            z_i,
            z_d,
            sampling,
            schedule=schedule_named(config.schedule),
            t0=config.t0,
            face_ids=face_ids,
            guidance=guidance,
            callback=callback,
        )

    @torch.no_grad()
    def decode(self, z: Tensor, *, quantise: bool = True) -> Tensor:
        """Pictures (B,3,f*h,f*w), float32 in [0,1], of latents that are first snapped to the codebook."""
        vq = self.bundle.vq
        z = z.to(self.device)
        pictures = vq.decode((vq.quantize(z)[0] if quantise else z).to(self.dtype)).float()
        if not torch.isfinite(pictures).all():
            raise CLRFaceError(
                f"Expected finite pixels from the model {self.bundle.name!r}, got NaN or infinity in {self.dtype}: "
                "use float32 (--dtype float32 in the shell, --force-fp32 for ComfyUI)."
            )
        return pictures.clamp_(0, 1)

    def decode_half_size(self, z: Tensor) -> Tensor:
        """The picture of a half-size latent, differentiable and not clamped, at a quarter of the work: enough for a
        recognition network, which looks at 112 px, and for a preview."""
        return self.bundle.vq.decode(F.avg_pool2d(z.to(self.device), 2).to(self.dtype)).float()

    @torch.no_grad()
    def denoise(self, z_t: Tensor, z_d: Tensor, z_i: Tensor, t: Tensor) -> Tensor:
        """z0_hat (B,C,h,w), the refiner's estimate of the clean latent at times t (B,), in the networks' dtype."""
        return self.bundle.refiner(self._latent(z_t), self._latent(z_d), self._latent(z_i), t)

    @torch.no_grad()
    def guidance(
        self, z_i: Tensor, mask: Tensor | None, scale: float, matches: Sequence[Match] = ()
    ) -> IdentityGuidance:
        """Guidance of these faces towards the people in their estimates, by the half-size pictures of their latents.

        matches: one per face, or none; those that matched references are guided towards those people instead.

        Half-size on both sides of the comparison: against full-size pictures the same face is at a cosine of 0.9, and
        guidance would mend a difference of resolution. CLRFaceError without a recognition network.
        """
        network = self._network()
        targets = network(self.decode_half_size(z_i)).float()
        for row, match in enumerate(matches):
            if match.target is not None:
                targets[row] = match.target.to(targets)
        return IdentityGuidance(self.decode_half_size, network, targets, scale, mask)

    @torch.no_grad()
    def embed(self, faces: Tensor) -> Tensor:
        """Who it is: (B,D) float32 of aligned faces (B,3,S,S) in [0,1], S at least 32; one micro-batch.

        CLRFaceError without a recognition network.
        """
        return self._network()(faces.to(self.device).float()).float()

    def embed_coarse(self, faces: Tensor) -> Tensor:
        """As `embed`, S at least 64, by what is coarser than 8 px: an estimate has no more, a photo may."""
        coarse = F.interpolate(F.avg_pool2d(faces.float(), 8), scale_factor=4.0, mode="bicubic", align_corners=False)
        return self.embed(coarse.clamp(0, 1))

    def match(self, estimates: Tensor, references: References | None) -> list[Match]:
        """What the references say of each face, told by the estimates (B,3,S,S) in [0,1]; one micro-batch."""
        if references is None or not references.faces:
            return [Match() for _ in estimates]
        return references.match(self.embed_coarse(estimates))

    def reference(self, crop: Tensor, score: float, side: float, source: str) -> Reference:
        """What is taken of an aligned face (3,S,S) of a reference photo. score, side: see `quality_of`."""
        [embedding], [coarse] = self.embed(crop[None]).cpu(), self.embed_coarse(crop[None]).cpu()
        return Reference(embedding, quality_of(crop, score, side), source, coarse)

    @torch.no_grad()
    def towards(self, matches: Sequence[Match], faces: Tensor) -> Tensor:
        """Restored faces (B,3,S,S) float32 in [0,1], those that matched drawn towards their references.

        The others stay, to the bit. One micro-batch.
        """
        rows = [row for row, match in enumerate(matches) if match.pulls]
        if not rows:
            return faces
        targets = torch.stack([matches[row].target for row in rows]).to(faces.device)  # type: ignore[misc]
        drawn = faces.clone()
        drawn[rows] = draw_towards(faces[rows], targets, self._network(), matches[rows[0]].scale)
        return drawn

    def _network(self) -> Embed:
        if self.identity_net is None:
            raise CLRFaceError("Expected a recognition network to tell faces by, got none: load the restorer with one.")
        return self.identity_net

    def check_crops(self, crops: Tensor) -> None:
        """Raise CLRFaceError unless `crops` are (B,3,S,S) finite floats of the model's size, B at least 0."""
        wanted = (3, self.bundle.size, self.bundle.size)
        if not isinstance(crops, Tensor) or crops.shape[1:] != wanted or not crops.is_floating_point():
            got = f"{crops.dtype} {tuple(crops.shape)}" if isinstance(crops, Tensor) else type(crops).__name__
            raise CLRFaceError(
                f"Expected aligned faces as a float tensor (B,3,{wanted[1]},{wanted[2]}), got {got}: align or "
                "resize them."
            )
        if not torch.isfinite(crops).all():
            raise CLRFaceError("Expected finite pixels in [0,1], got NaN or infinity in the crops: clean them first.")

    def _pictures(self, pictures: Tensor) -> Tensor:
        """As the networks take them."""
        return pictures.to(self.device, self.dtype).contiguous(memory_format=torch.channels_last)

    def _latent(self, z: Tensor) -> Tensor:
        return z.to(self.device, self.dtype)


def _report(callback: Progress, faces: list[int], count: int, state: dict[str, Any]) -> None:
    callback({**state, "faces": faces, "count": count})
