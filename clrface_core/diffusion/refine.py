"""The sampling loop: from the noised latent of the IRN's output to the refined one, before quantisation."""

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..errors import CLRFaceError
from .guidance import IdentityGuidance
from .schedule import Schedule, time_grid
from .solvers import SOLVERS, Callback

ConditionalDenoiser = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(z_t, z_d, z_I, t) to z0_hat: latents (B,C,h,w) in float32, t (B,) in (0,1]. Inside, any dtype will do."""


def face_noise(shape: Sequence[int], *, seed: int, face: int, draw: int = 0) -> Tensor:
    """Standard normal float32 noise on the CPU, a function of its arguments alone: never of batch or device.

    Draw 0 starts a face, draw i + 1 belongs to its step i. The arguments are hashed to the 32 bits that
    torch's CPU generator uses of a seed, so that neighbouring seeds and faces are unrelated.
    """
    digest = hashlib.blake2b(f"{int(seed)}/{int(face)}/{draw}".encode(), digest_size=4).digest()
    generator = torch.Generator("cpu").manual_seed(int.from_bytes(digest, "little"))
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float32, device="cpu")


@torch.no_grad()
def refine(
    denoiser: ConditionalDenoiser,
    z_i: Tensor,
    z_d: Tensor,
    *,
    schedule: Schedule,
    t0: float,
    steps: int = 4,
    solver: str = "ddim",
    spacing: str = "uniform",
    seed: int = 0,
    face_indices: Sequence[int] | None = None,
    guidance: IdentityGuidance | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """z_0 (B,C,h,w), continuous: quantise it once, before the final decode.

    z_i, z_d: latents (B,C,h,w) of the IRN's output and of the degraded face, about unit variance. The state
        is kept in float32 whatever their dtype (in float64 if they are).
    schedule, t0: the forward process and the starting time in (0,1]: those the refiner was trained with.
    steps, spacing: the grid of times (see `time_grid`). solver: a name out of SOLVERS.
    seed, face_indices: a face's noise depends on (seed, its index) only. The indices default to 0..B-1; pass
        those of the whole list when refining a part of it.
    guidance: moves every denoised estimate (see `IdentityGuidance`); made for this batch.
    callback: called once per step (see `Callback`); raising from it stops the loop.
    Raises CLRFaceError for arguments out of range.
    """
    faces = _checked_faces(z_i, z_d, face_indices)
    if solver not in SOLVERS:
        raise CLRFaceError(f"Expected a solver ({' or '.join(SOLVERS)}), got {solver!r}: choose one of these.")
    grid = time_grid(t0, steps, spacing, schedule=schedule)
    dtype = torch.promote_types(z_i.dtype, torch.float32)
    known, degraded = z_i.to(dtype), z_d.to(dtype)

    def noise(draw: int) -> Tensor:
        every = [face_noise(known.shape[1:], seed=seed, face=face, draw=draw) for face in faces]
        return torch.stack(every).to(known)

    def denoise(z_t: Tensor, t: Tensor) -> Tensor:
        z0_hat = denoiser(z_t, degraded, known, t).to(dtype)
        return z0_hat if guidance is None else guidance(z0_hat, schedule.alpha(t))

    start = grid[:1].to(dtype)
    z = schedule.alpha(start).item() * known + schedule.sigma(start).item() * noise(0)
    return SOLVERS[solver](denoise, z, grid, schedule, noise=lambda i: noise(i + 1), callback=callback)


def _checked_faces(z_i: Tensor, z_d: Tensor, face_indices: Sequence[int] | None) -> Sequence[int]:
    """The faces' indices, once the latents are known to fit each other and them."""
    if z_i.ndim != 4 or z_i.shape != z_d.shape or len(z_i) == 0 or not z_i.is_floating_point():
        raise CLRFaceError(
            "Refinement expects two floating-point latents of one shape (B,C,h,w) with B at least 1, got "
            f"{tuple(z_i.shape)} and {tuple(z_d.shape)}: encode degraded crops and IRN outputs alike."
        )
    if face_indices is None:
        return range(len(z_i))
    if len(face_indices) != len(z_i):
        raise CLRFaceError(
            f"Refinement expects one face index per latent, got {len(face_indices)} for {len(z_i)} latents: "
            "pass the position of each face in the whole list."
        )
    return face_indices
