"""The opponent of a generator in training: a network that tells restored pictures from photographs."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from .parallel import average_gradients


class PatchDiscriminator(nn.Module):
    """Real or not, patch by patch (Isola et al. 2017): strided 4x4 convolutions, logits (B,1,h,w).

    Spectral norms (Miyato et al. 2018) keep it from being sure: without them it won every round after some hundreds
    of steps, and the generator answered with marks of its own.
    """

    def __init__(self, width: int = 48, layers: int = 3) -> None:
        super().__init__()
        widths = [3, *(width * 2**i for i in range(layers))]
        blocks: list[nn.Module] = []
        for before, after in pairwise(widths):
            blocks += [spectral_norm(nn.Conv2d(before, after, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)]
        blocks.append(spectral_norm(nn.Conv2d(widths[-1], 1, 4, padding=1)))
        self.body = nn.Sequential(*blocks)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.body(pictures * 2 - 1)


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's hinge loss (Lim & Ye 2017)."""
    return (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2


class Adversary:
    """A discriminator and its optimiser, which join a stage at step `gan_from`.

    In a step the stage asks for `term` first and calls `learn` once its own update is done.
    """

    def __init__(self, settings: dict[str, Any], device: torch.device) -> None:
        self.begins = settings["gan_from"]
        self.network = PatchDiscriminator().to(device)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=settings["gan_lr"], betas=(0.5, 0.9), weight_decay=0.0
        )
        self._seen: tuple[Tensor, Tensor] | None = None

    def term(self, restored: Tensor, clean: Tensor) -> Tensor:
        """What the generator minimises: less the more real its pictures look. Keeps the pictures for `learn`.

        Scaled so that its gradient is as large (root mean square over the pixels) as that of a mean absolute error:
        how steep the discriminator is changes all along, and does not matter then.
        """
        with torch.autocast(restored.device.type, enabled=False):  # the norms' power iteration wants its digits
            term = -self.network(restored.float()).mean()
        if not restored.requires_grad:
            return term
        self._seen = restored.detach(), clean
        (slope,) = torch.autograd.grad(term, restored, retain_graph=True)
        size = slope.float().square().mean().sqrt() * restored.numel()
        return term / size.clamp_min(1e-6)

    def learn(self, accelerator: Any) -> dict[str, float]:
        """One step of the discriminator on the pictures of the last `term`; its loss, to be logged."""
        if self._seen is None:
            return {}
        restored, clean = self._seen
        self._seen = None
        loss = hinge(self.network(clean), self.network(restored))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(accelerator, self.network.parameters())
        self.optimiser.step()
        return {"discriminator": float(loss.detach())}

    def state(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])


def find_adversary(settings: dict[str, Any], device: torch.device) -> Adversary | None:
    """An adversary where the settings give its term a weight."""
    return Adversary(settings, device) if settings["weights"].get("gan", 0) > 0 else None
