"""The fourth stage: where in the latent guidance may act."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...diffusion.guidance import IdentityGuidance
from ...errors import CLRFaceError
from ...models.bundle import Bundle
from .refiner import RefinerStage
from .stage import Judges, Terms


class MaskStage(RefinerStage):
    """The mask head alone: take a real guided step at a small t, then judge the moved estimate.

    1 - cosine to the ground truth, LPIPS, and the mask's mean, which asks that the gradient act on few
    latents. Guidance pulls towards the IRN's estimate as in sampling; only the judgement knows the truth.
    """

    name = "mask"

    def __init__(self, bundle: Bundle, judges: Judges, settings: dict[str, Any], accelerator: Any) -> None:
        super().__init__(bundle, judges, settings, accelerator)
        if judges.identity is None:
            raise CLRFaceError("The mask stage needs its identity term: set weights.identity above 0.")

    @torch.no_grad()
    def _estimate(self, z_d: Tensor, z_i: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The refiner's own estimate of noised z_I, and alpha at its time: what guidance meets in sampling."""
        t = torch.rand(len(z_i), generator=generator).to(z_i) * self.settings["t_max"]
        return self.bundle.refiner(self._noised(z_i, t, generator), z_d, z_i, t), self.schedule.alpha(t)

    def _guided(self, network: Any, batch: Terms, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The estimate, the estimate after the masked move, the mask, and the clean faces."""
        assert self.judges.identity is not None
        z_d, z_i = self._conditions(batch)
        estimate, alpha = self._estimate(z_d, z_i, generator)
        with torch.no_grad():
            target = self.judges.identity(self._half_size(z_i))
        mask = network(z_d, z_i)
        guidance = IdentityGuidance(
            self._half_size, self.judges.identity, target, strength=self.settings["strength"], mask=mask
        )
        return estimate, guidance(estimate, alpha), mask, batch["clean"]

    def loss(self, network: Any, batch: Terms, step: int, generator: torch.Generator) -> Terms:
        _, guided, mask, clean = self._guided(network, batch, generator)
        window = self._decoded(guided, clean, batch["sharp"], generator)
        return self._weighted(
            {
                "identity": lambda: self._half_size_identity(guided, clean),
                "lpips": lambda: self._perceptual(window[0], window[1], generator),
                "mean": lambda: mask.mean(),
            }
        )

    def pictures(self, network: Any, batch: Terms, generator: torch.Generator) -> list[Tensor]:
        estimate, guided, mask, clean = self._guided(network, batch, generator)
        heat = F.interpolate(mask.mean(1, keepdim=True), clean.shape[2:], mode="nearest").expand_as(clean)
        return [self.bundle.vq.decode(estimate), self.bundle.vq.decode(guided), heat, clean]
