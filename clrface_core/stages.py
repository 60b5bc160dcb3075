"""The networks' part of the flow, aligned faces to restored ones: one method per stage, and all of them in order."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .diffusion.guidance import IdentityGuidance
from .diffusion.refine import refine
from .diffusion.schedule import schedule_named, time_grid
from .diffusion.solvers import SOLVERS
from .errors import CLRFaceError
from .models.bundle import Bundle, load_bundle
from .models.identity import IdentityNet, load_identity
from .precision import choose_device, choose_dtype

SIZE = 512
"""Side of the aligned crops that the networks restore, in pixels."""

Progress = Callable[[dict[str, Any]], None]
"""Called once per step with the solver's {"i", "total", "t", "z", "denoised"}, and "faces" (the numbers of the
faces in this micro-batch) of "count" in all. Whatever it raises ends the restoration and reaches the caller."""


@dataclass(frozen=True)
class Sampling:
    """How the refinement is sampled; CLRFaceError where that makes no sense, before any work is done with it."""

    steps: int = 1
    solver: str = "ddim"
    t0: float | None = None
    identity: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        time_grid(1.0 if self.t0 is None else self.t0, self.steps)
        if self.solver not in SOLVERS:
            raise CLRFaceError(f"Expected a solver ({' or '.join(SOLVERS)}), got {self.solver!r}: choose one of these.")
        if not (math.isfinite(self.identity) and self.identity >= 0):
            raise CLRFaceError(
                f"Expected an identity strength of at least 0, got {self.identity}: 0 is off, 1 is usual."
            )


class FaceStages:
    """A model and what it does to aligned faces; what it needs is loaded when it is first needed.

    model: a bundle file, a Bundle (it is copied), or None for the bundled one.
    device: "auto", "cpu", "cuda", "mps" or a torch.device. dtype: of the networks; None chooses (see `precision`).
    identity_net: "sface" or "arcface", or an IdentityNet; loaded only for an identity strength above 0.
    batch_size: faces that go through the networks at once. Memory grows with it, results do not depend on it
        beyond rounding.
    """

    def __init__(
        self,
        model: Path | str | Bundle | None = None,
        *,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype | None = None,
        identity_net: str | IdentityNet = "sface",
        batch_size: int = 4,
    ) -> None:
        if batch_size < 1:
            raise CLRFaceError(f"Expected a batch size of at least 1, got {batch_size}: the usual one is 4.")
        self.device = choose_device(device)
        self.batch_size = batch_size
        self._wanted = dtype
        self._model, self._identity = model, identity_net

    @classmethod
    def around(cls, bundle: Bundle, device: torch.device, dtype: torch.dtype, **settings: Any) -> FaceStages:
        """Stages that use the networks as they are: the caller has put them on the device, in the dtype, and may
        move them between calls. `settings`: identity_net and batch_size."""
        stages = cls(bundle, device=device, dtype=dtype, **settings)
        stages.bundle = _ready(bundle)
        return stages

    @cached_property
    def dtype(self) -> torch.dtype:
        """The number format of the networks."""
        return choose_dtype(self.device, self._wanted)

    @cached_property
    def bundle(self) -> Bundle:
        """The model's networks, on the device and in the dtype, ready to run."""
        if isinstance(self._model, Bundle):
            bundle = copy.deepcopy(self._model).to(self.device, self.dtype)
        else:
            bundle = load_bundle(self._model, self.device, self.dtype)
        return _ready(bundle).to(memory_format=torch.channels_last)

    @cached_property
    def identity_net(self) -> IdentityNet:
        """The recognition network that guides, in float32: its gradient is small, and so is it."""
        if isinstance(self._identity, str):
            return load_identity(self._identity, device=self.device)
        return self._identity

    def restore_crops(
        self,
        crops: Tensor,
        *,
        steps: int = 1,
        solver: str = "ddim",
        t0: float | None = None,
        identity: float = 0.0,
        seed: int = 0,
        numbers: Sequence[int] | None = None,
        callback: Progress | None = None,
    ) -> Tensor:
        """Restored faces (B,3,512,512) float32 in [0,1], on the crops' device.

        crops: (B,3,512,512) float, RGB in [0,1], aligned to the FFHQ template.
        steps, solver: how the reverse process is solved; a name out of SOLVERS.
        t0: where it starts, in (0,1]; None is what the model was trained for.
        identity: strength of the guidance towards the person in the IRN's estimate; 0 is off and costs nothing.
        seed, numbers: a face's noise depends on these two only. Numbers default to 0..B-1.
        Raises CLRFaceError for input that does not fit, and where the networks' results are not finite.
        """
        sampling = Sampling(steps, solver, t0, identity, seed)
        check_crops(crops)
        numbers = range(len(crops)) if numbers is None else numbers
        if len(numbers) != len(crops):
            raise CLRFaceError(f"Expected one number per crop, got {len(numbers)} for {len(crops)}: give as many.")
        return self._restore_all(crops, numbers, sampling, callback)

    @torch.no_grad()
    def estimate_crops(self, crops: Tensor) -> Tensor:
        """What the IRN alone makes of crops (see `restore_crops`): where the refinement starts, and whom it keeps."""
        check_crops(crops)
        estimate = torch.empty_like(crops, dtype=torch.float32)
        for start in range(0, len(crops), self.batch_size):
            part = slice(start, start + self.batch_size)
            estimate[part] = self.estimate(crops[part]).to(estimate)
        return estimate.clamp_(0, 1)

    @torch.no_grad()
    def _restore_all(
        self, crops: Tensor, numbers: Sequence[int], sampling: Sampling, callback: Progress | None
    ) -> Tensor:
        """Every crop, in micro-batches of `batch_size`."""
        restored = torch.empty_like(crops, dtype=torch.float32)
        for start in range(0, len(crops), self.batch_size):
            part = slice(start, start + self.batch_size)
            here = list(numbers[part])
            report = None if callback is None else partial(_report, callback, here, len(crops))
            restored[part] = self._restore_batch(crops[part], here, sampling, report).to(restored)
        return restored

    def _restore_batch(
        self, crops: Tensor, numbers: list[int], sampling: Sampling, callback: Progress | None
    ) -> Tensor:
        """One micro-batch through the networks: IRN, encode, refine, quantise, decode."""
        x_i = self.estimate(crops)
        z_d, z_i = self.encode(torch.cat((self._pictures(crops), x_i))).chunk(2)
        return self.decode(self.refine(z_i, z_d, sampling, numbers=numbers, callback=callback))

    @torch.no_grad()
    def estimate(self, crops: Tensor) -> Tensor:
        """x_I, the IRN's output for one micro-batch (B,3,512,512), in the networks' dtype and not clamped."""
        assert self.bundle.irn is not None
        return self.bundle.irn(self._pictures(crops))

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """Continuous latents (B,C,H/f,W/f) of pictures (B,3,H,W) in [0,1], in the networks' dtype."""
        assert self.bundle.vq is not None
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
        numbers: Sequence[int] | None = None,
        callback: Callable[[dict[str, Any]], None] | None = None,
    ) -> Tensor:
        """z_0 (B,C,h,w), float32 and continuous: one micro-batch from noised z_I down (see `diffusion.refine`).

        mask: in place of the model's own, in [0,1] and broadcastable to the latents. It matters only where
        `sampling.identity` is above 0.
        """
        assert self.bundle.refiner is not None
        config = self.bundle.refiner.config
        guidance = None
        if sampling.identity > 0:
            guidance = self._guidance(z_i, self.mask(z_d, z_i) if mask is None else mask, sampling.identity)
        return refine(
            self._denoise,
            z_i,
            z_d,
            schedule=schedule_named(config.schedule),
            t0=config.t0 if sampling.t0 is None else sampling.t0,
            steps=sampling.steps,
            solver=sampling.solver,
            seed=sampling.seed,
            face_indices=numbers,
            guidance=guidance,
            callback=callback,
        )

    @torch.no_grad()
    def decode(self, z: Tensor, *, quantise: bool = True) -> Tensor:
        """Pictures (B,3,f*h,f*w), float32 in [0,1], of latents that are first snapped to the codebook."""
        vq = self.bundle.vq
        assert vq is not None
        z = z.to(self.device)
        pictures = vq.decode((vq.quantize(z)[0] if quantise else z).to(self.dtype)).float()
        if not torch.isfinite(pictures).all():
            raise CLRFaceError(
                f"Expected finite pixels from the model {self.bundle.name!r}, got NaN or infinity in {self.dtype}: "
                "use dtype float32."
            )
        return pictures.clamp_(0, 1)

    def _pictures(self, pictures: Tensor) -> Tensor:
        """As the networks take them."""
        return pictures.to(self.device, self.dtype).contiguous(memory_format=torch.channels_last)

    def _latent(self, z: Tensor) -> Tensor:
        return z.to(self.device, self.dtype)

    @torch.no_grad()
    def _denoise(self, z_t: Tensor, z_d: Tensor, z_i: Tensor, t: Tensor) -> Tensor:
        assert self.bundle.refiner is not None
        return self.bundle.refiner(self._latent(z_t), self._latent(z_d), self._latent(z_i), t)

    @torch.no_grad()
    def _guidance(self, z_i: Tensor, mask: Tensor | None, strength: float) -> IdentityGuidance:
        # The target comes from the half-size picture too: z_I itself has arrived, and only its person pulls. Against
        # the full-size estimate it would be at a cosine of 0.9, and guidance would mend a difference of resolution.
        target = self.identity_net(self.decode_half_size(z_i))
        return IdentityGuidance(self.decode_half_size, self.identity_net, target, strength, mask)

    def decode_half_size(self, z: Tensor) -> Tensor:
        """The picture of a half-size latent, differentiable and not clamped, at a quarter of the work: enough for a
        recognition network, which looks at 112 px, and for a preview."""
        assert self.bundle.vq is not None
        return self.bundle.vq.decode(F.avg_pool2d(z.to(self.device), 2).to(self.dtype)).float()


def _ready(bundle: Bundle) -> Bundle:
    """The bundle, complete and in evaluation mode; CLRFaceError where a network is missing."""
    absent = [name for name in ("vq", "irn", "refiner") if getattr(bundle, name) is None]
    if absent:
        raise CLRFaceError(
            f"Expected a bundle with vq, irn and refiner, {absent[0]} is missing: train that stage first."
        )
    for network in bundle.networks().values():
        network.eval().requires_grad_(False)
    return bundle


def _report(callback: Progress, faces: list[int], count: int, state: dict[str, Any]) -> None:
    callback({**state, "faces": faces, "count": count})


def check_crops(crops: Tensor) -> None:
    """Raise CLRFaceError unless `crops` are (B,3,512,512) finite floats, B at least 0."""
    if crops.ndim != 4 or tuple(crops.shape[1:]) != (3, SIZE, SIZE) or not crops.is_floating_point():
        raise CLRFaceError(
            f"Expected aligned faces as floats (B,3,{SIZE},{SIZE}), got {crops.dtype} {tuple(crops.shape)}: "
            "align or resize them first."
        )
    if not torch.isfinite(crops).all():
        raise CLRFaceError("Expected finite pixels in [0,1], got NaN or infinity in the crops: clean them first.")
