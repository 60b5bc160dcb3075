"""The terms of the training objectives that more than one stage uses."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.perceptual import LPIPS


def crop_pair(a: Tensor, b: Tensor, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The same random square of two batches of pictures; whole pictures where they are no larger."""
    height, width = a.shape[2:]
    if side >= min(height, width):
        return a, b
    top = int(torch.randint(height - side + 1, (), generator=generator))
    left = int(torch.randint(width - side + 1, (), generator=generator))
    window = (..., slice(top, top + side), slice(left, left + side))
    return a[window], b[window]


def perceptual(lpips: LPIPS, restored: Tensor, clean: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """LPIPS on one random crop per batch: VGG on whole 512 px faces would cost more than the network in training."""
    a, b = crop_pair(restored, clean, side, generator)
    return lpips(a, b).mean()


def identity(embed: nn.Module, restored: Tensor, clean: Tensor) -> Tensor:
    """1 - cosine of the recognition embeddings, averaged over the batch."""
    with torch.no_grad():
        target = embed(clean)
    return (1 - F.cosine_similarity(embed(restored), target)).mean()


class PatchDiscriminator(nn.Module):
    """Real or not, patch by patch (Isola et al. 2017): strided 4x4 convolutions, logits (B,1,h,w)."""

    def __init__(self, width: int = 32, layers: int = 3) -> None:
        super().__init__()
        blocks: list[nn.Module] = [nn.Conv2d(3, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for _ in range(layers - 1):
            blocks += [
                nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
                nn.GroupNorm(8, 2 * width),
                nn.LeakyReLU(0.2),
            ]
            width *= 2
        blocks.append(nn.Conv2d(width, 1, 4, padding=1))
        self.body = nn.Sequential(*blocks)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.body(pictures * 2 - 1)


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's hinge loss (Lim & Ye 2017)."""
    return (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, last_layer: Tensor) -> Tensor:
    """Balance of the two gradients at the last layer (Esser et al. 2021, eq. 7), at most 1e4."""
    wanted = torch.autograd.grad(reconstruction, last_layer, retain_graph=True)[0].norm()
    given = torch.autograd.grad(adversarial, last_layer, retain_graph=True)[0].norm()
    return (wanted / (given + 1e-4)).clamp(max=1e4).detach()
