"""The sampling loop: from the noised latent of the IRN's output to the refined one, before quantisation."""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import CLRFaceError
from ..fidelity import check_fidelity
from .guidance import IdentityGuidance
from .schedule import Schedule, time_grid
from .solvers import SOLVERS, Callback

ConditionalDenoiser = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(z_t, z_d, z_I, t) to z0_hat: latents (B,C,h,w) in float32, t (B,) in (0,1]. Inside, any dtype will do."""


@dataclass(frozen=True)
class Sampling:
    """How the refinement is sampled. CLRFaceError for settings that make no sense.

    steps: of the solver, at least 1; more cost more.
    solver: a name out of SOLVERS.
    denoise: where the diffusion starts, as KSampler's setting of this name: a time in (0,1], 1 being pure noise. Lower
        keeps more of the estimate, higher invents more. None is where the model was trained to start.
    guidance_scale: strength of identity guidance, at least 0; 0 is off and costs nothing, 1 is usual.
    seed: a face's noise depends on this and its id within its own picture, on nothing else.
    fidelity: how much of the estimate the refined face keeps, from 0, the sharpest, to 1, the closest to the photo (see
        `clrface_core.fidelity`).
    """

    steps: int = 1
    solver: str = "ddim"
    denoise: float | None = None
    guidance_scale: float = 0.0
    seed: int = 0
    fidelity: float = 0.8

    def __post_init__(self) -> None:
        check_fidelity(self.fidelity)
        time_grid(1.0 if self.denoise is None else self.denoise, self.steps)
        if self.solver not in SOLVERS:
            raise CLRFaceError(f"Expected a solver ({' or '.join(SOLVERS)}), got {self.solver!r}: choose one of these.")
        if not (math.isfinite(self.guidance_scale) and self.guidance_scale >= 0):
            raise CLRFaceError(
                f"Expected a guidance scale of at least 0, got {self.guidance_scale}: 0 is off, 1 is usual."
            )


def face_noise(shape: Sequence[int], *, seed: int, face_id: int) -> Tensor:
    """Standard normal float32 noise on the CPU, a function of its arguments alone: never of batch or device.

    The arguments are hashed to the 32 bits that torch's CPU generator uses of a seed, so that neighbouring seeds and
    faces are unrelated.
    """
    digest = hashlib.blake2b(f"{int(seed)}/{int(face_id)}/0".encode(), digest_size=4).digest()
    generator = torch.Generator("cpu").manual_seed(int.from_bytes(digest, "little"))
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float32, device="cpu")


@torch.no_grad()
def refine(
    denoiser: ConditionalDenoiser,
    z_i: Tensor,
    z_d: Tensor,
    sampling: Sampling,
    *,
    schedule: Schedule,
    t0: float,
    face_ids: Sequence[int] | None = None,
    guidance: IdentityGuidance | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """z_0 (B,C,h,w), continuous: quantise it once, before the final decode.

    z_i, z_d: latents (B,C,h,w) of the IRN's output and of the degraded face, about unit variance. The state
        is kept in float32 whatever their dtype (in float64 if they are).
    schedule, t0: the forward process, and the starting time in (0,1] where `sampling.denoise` names none: those
        that the refiner was trained with.
    face_ids: one per latent, 0..B-1 by default (see `face_noise`).
    guidance: moves every denoised estimate (see `IdentityGuidance`); made for this batch.
    callback: called once per step (see `Callback`); raising from it stops the loop.
    Raises CLRFaceError for arguments out of range.
    """
    face_ids = _checked_ids(z_i, z_d, face_ids)
    grid = time_grid(t0 if sampling.denoise is None else sampling.denoise, sampling.steps)
    dtype = torch.promote_types(z_i.dtype, torch.float32)
    known, degraded = z_i.to(dtype), z_d.to(dtype)

    def denoise(z_t: Tensor, t: Tensor) -> Tensor:
        z0_hat = denoiser(z_t, degraded, known, t).to(dtype)
        return z0_hat if guidance is None else guidance(z0_hat, schedule.alpha(t))

    noise = torch.stack([face_noise(known.shape[1:], seed=sampling.seed, face_id=each) for each in face_ids]).to(known)
    start = grid[:1].to(dtype)
    z = schedule.alpha(start).item() * known + schedule.sigma(start).item() * noise
    return SOLVERS[sampling.solver](denoise, z, grid, schedule, callback=callback)


def _checked_ids(z_i: Tensor, z_d: Tensor, face_ids: Sequence[int] | None) -> Sequence[int]:
    """The faces' ids, once the latents are known to fit each other and them."""
    if z_i.ndim != 4 or z_i.shape != z_d.shape or len(z_i) == 0 or not z_i.is_floating_point():
        raise CLRFaceError(
            "Refinement expects two floating-point latents of one shape (B,C,h,w) with B at least 1, got "
            f"{tuple(z_i.shape)} and {tuple(z_d.shape)}: encode degraded crops and IRN outputs alike."
        )
    if face_ids is None:
        return range(len(z_i))
    if len(face_ids) != len(z_i):
        raise CLRFaceError(f"Expected one face id per latent, got {len(face_ids)} for {len(z_i)}: give as many.")
    return face_ids
