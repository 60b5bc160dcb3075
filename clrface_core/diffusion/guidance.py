"""Identity guidance: move the denoised estimate so that a face-recognition network sees the target's person.

    d      = 1 - cos(embed(decode(z0_hat)), target)        g = grad_{z0_hat} d
    z0_hat - strength * alpha(t) * normalise(g) * mask

The estimate is moved, not the state, so no gradient runs through the denoiser (MPGD, He et al., arXiv
2311.16424); moving z0_hat by m adds alpha m / sigma^2 to the score. The weight alpha spares the noisy steps,
where the estimate is not yet a face that the recognition network knows how to read.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CLRFaceError

LARGEST_STEP = 0.02
"""Bound on the root mean square of a normalised gradient, for latents of unit variance: beyond it skin
mottles and the cosine gains little."""

_FLAT = 1e-12
"""A gradient of a smaller length has no direction worth following."""


def normalise(gradient: Tensor, distance: Tensor) -> Tensor:
    """g d / |g|^2 for each sample of gradient (B,...) and distance (B,): Polyak's step, bounded.

    To first order this step makes the distance 0, so strength 1 means the same for any decoder, recognition
    network and latent size. Where the estimate has arrived the step vanishes; one of fixed length would throw
    it off again. The root mean square over a sample is at most LARGEST_STEP; a zero gradient gives 0.
    """
    count = gradient[0].numel()
    length = gradient.flatten(1).norm(dim=1)
    step = (distance / length).clamp_max(LARGEST_STEP * math.sqrt(count))
    scale = torch.where(length > _FLAT, step / length, 0)
    return gradient * _per_sample(scale, gradient)


def _per_sample(values: Tensor, like: Tensor) -> Tensor:
    """(B,) shaped to multiply a (B,...)."""
    return values.to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))


@dataclass(frozen=True, eq=False)
class IdentityGuidance:
    """One batch's guidance, called as guidance(z0_hat, alpha) by the sampling loop.

    decode: latents (B,C,h,w) to pictures. It may decode a smaller latent, or in another dtype.
    embed: those pictures to embeddings (B,D) of any length; only their direction counts.
    target_embedding: (B,D), the embedding of the IRN's output, by the same `decode` and `embed`.
    strength: finite, at least 0; 1 is usual, 2 is the most that makes sense. At 0 the estimate is returned as
        it is, and neither network is called.
    mask: broadcastable to the latent, in [0,1]; None means 1 everywhere.
    """

    decode: Callable[[Tensor], Tensor]
    embed: Callable[[Tensor], Tensor]
    target_embedding: Tensor
    strength: float = 1.0
    mask: Tensor | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.strength) and self.strength >= 0):
            raise CLRFaceError(
                f"The identity strength must be a finite number of at least 0, got {self.strength}: "
                "0 switches it off, 1 is usual."
            )

    def __call__(self, z0_hat: Tensor, alpha: Tensor) -> Tensor:
        """The guided estimate of z0_hat (B,C,h,w), with alpha (B,) the schedule's at the current time.

        Works under no_grad and inference_mode (but a network whose weights were made inside inference_mode
        cannot be differentiated). Where gradients are enabled, the result is differentiable in the mask.
        """
        if self.strength == 0:
            return z0_hat
        move = normalise(*self.gradient(z0_hat))
        if self.mask is not None:
            move = move * self.mask
        return z0_hat - self.strength * _per_sample(alpha, z0_hat) * move

    def gradient(self, z0_hat: Tensor) -> tuple[Tensor, Tensor]:
        """g, of the shape of z0_hat, and d (B,): each sample's own, cut from the graph z0_hat came with."""
        # a tensor made under inference_mode cannot take part in a graph, its clone made outside can
        with torch.inference_mode(False), torch.enable_grad():
            leaf = z0_hat.detach().clone().requires_grad_()
            embedding = self.embed(self.decode(leaf)).to(leaf.dtype)
            if embedding.shape != self.target_embedding.shape:
                raise CLRFaceError(
                    f"Identity guidance expects a target embedding of shape {tuple(embedding.shape)}, got "
                    f"{tuple(self.target_embedding.shape)}: pass one row per face, from the same network."
                )
            target = self.target_embedding.detach().clone().to(leaf)
            # |a - b|^2 / 2 = 1 - cos for unit vectors, without its cancellation where they are close
            apart = F.normalize(embedding, dim=1) - F.normalize(target, dim=1)
            distance = apart.square().sum(dim=1) / 2
            (gradient,) = torch.autograd.grad(distance.sum(), leaf)
        return gradient, distance.detach()
