"""Identity guidance: move the denoised estimate so that a face-recognition network sees the target's person.

    g      = grad_{z0_hat} (1 - cos(embed(decode(z0_hat)), target))
    z0_hat - strength * alpha(t) * normalise(g) * mask

The estimate is moved, not the state, so no gradient runs through the denoiser (MPGD, He et al., arXiv
2311.16424); moving z0_hat by d adds alpha d / sigma^2 to the score. The weight alpha spares the noisy steps,
where the estimate is not yet a face that the recognition network knows how to read.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CLRFaceError


def normalise(gradient: Tensor) -> Tensor:
    """Each sample of (B,...) scaled to a root mean square of 1 over its elements; a zero sample stays zero.

    The size of a gradient says little here (it depends on the decoder, the crop and the latent's size): only
    the direction is kept.
    """
    over = tuple(range(1, gradient.ndim))
    rms = gradient.square().mean(dim=over, keepdim=True).sqrt()
    return gradient / rms.clamp_min(torch.finfo(gradient.dtype).tiny)


@dataclass(frozen=True, eq=False)
class IdentityGuidance:
    """One batch's guidance, called as guidance(z0_hat, alpha) by the sampling loop.

    decode: latents (B,C,h,w) to pictures. It may decode a smaller latent, or in another dtype.
    embed: those pictures to embeddings (B,D) of any length; only their direction counts.
    target_embedding: (B,D), the embedding of the IRN's output.
    strength: finite, at least 0. At 0 the estimate is returned as it is, and neither network is called.
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
        move = normalise(self.gradient(z0_hat))
        if self.mask is not None:
            move = move * self.mask
        weight = self.strength * alpha.to(z0_hat.dtype).reshape(-1, *[1] * (z0_hat.ndim - 1))
        return z0_hat - weight * move

    def gradient(self, z0_hat: Tensor) -> Tensor:
        """g, of the shape of z0_hat: each sample's own, cut from whatever graph z0_hat came with."""
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
            distance = 1 - F.cosine_similarity(embedding, target, dim=1)
            (gradient,) = torch.autograd.grad(distance.sum(), leaf)
        return gradient
