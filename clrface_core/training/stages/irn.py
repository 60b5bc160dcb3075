"""The second stage: a faithful, smooth estimate of the face."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import CLRFaceError
from ...models.bundle import Bundle
from ...models.unet import Remembered
from .. import losses
from ..data import FaceShards, Pairs, Steps
from .stage import Judges, Stage, Terms

SAME_PERSON = 0.7
"""The least cosine at which an embedding is given in place of itself: two photos of one person are at 0.79 on average,
0.66 at least (SFace, 24 photos)."""


class IRNStage(Stage):
    """L1 or PSNR, identity and light LPIPS, at the size at which the network estimates its change.

    A network with doors for references (see `models.unet`) learns to use them: some faces of a batch come with a photo,
    and both doors, the one or the other are open.
    """

    name = "irn"

    def __init__(self, bundle: Bundle, judges: Judges, settings: dict[str, Any], accelerator: Any) -> None:
        super().__init__(bundle, judges, settings, accelerator)
        unet = bundle.irn.config.unet
        self.doors = bool(unet.identity or unet.shared)
        if self.doors and settings.get("references", 0) > 0 and judges.identity is None:
            raise CLRFaceError(
                "Expected an identity weight above 0 where references are trained: set weights.identity."
            )

    def dataset(self, shards: FaceShards, seed: int) -> Steps:
        size, shares = self.bundle.size, self._shares("mild", "worn", "clean")
        if self.doors:
            shares |= self._shares("references", "strangers")
        return self._data(Pairs, shards, seed, side=size // self.bundle.irn.config.reduce, size=size, **shares)

    def _restore(self, network: Any, batch: Terms, generator: torch.Generator) -> Tensor:
        degraded = batch["degraded"]
        if "told" not in batch:
            return degraded + network.change(degraded)
        identity, remembered = self._told(network, batch, generator)
        return degraded + network.change(degraded, identity=identity, remembered=remembered)

    def _told(self, network: Any, batch: Terms, generator: torch.Generator) -> tuple[Tensor, Remembered]:
        """What the reference photos tell: by embedding, by attention or, for half of the faces, by both."""
        told, which = batch["told"], torch.rand(len(batch["told"]), generator=generator).to(batch["told"])
        by_embedding, by_attention = told * (which < 0.75), told * (which > 0.25)
        assert self.judges.identity is not None
        with torch.no_grad():  # also for what attention remembers: those layers learn from the faces themselves
            known = self.judges.identity(batch["reference"])
            remembered = network.remember(batch["reference"], reduced=True)
        known = blurred(known, generator) * by_embedding[:, None]
        return known, Remembered(remembered.layers, by_attention)

    def loss(self, network: Any, batch: Terms, step: int, generator: torch.Generator) -> Terms:
        restored, clean = self._restore(network, batch, generator), batch["clean"]
        return self._weighted(
            {
                "l1": lambda: F.l1_loss(restored, clean),
                "psnr": lambda: losses.negative_psnr(restored, clean),
                "identity": lambda: self._identity(restored, clean),
                "lpips": lambda: self._perceptual(restored, clean, generator),
            }
        )

    def pictures(self, network: Any, batch: Terms, generator: torch.Generator) -> list[Tensor]:
        shown = [batch["degraded"], self._restore(network, batch, generator), batch["clean"]]
        return [*shown, batch["reference"]] if "reference" in batch else shown


def blurred(embeddings: Tensor, generator: torch.Generator) -> Tensor:
    """Unit vectors (B,D) at random cosines of SAME_PERSON to 1 to themselves."""
    noise = torch.randn(embeddings.shape, generator=generator).to(embeddings)
    across = F.normalize(noise - (noise * embeddings).sum(1, keepdim=True) * embeddings, dim=1)
    cosine = SAME_PERSON + (1 - SAME_PERSON) * torch.rand(len(embeddings), 1, generator=generator).to(embeddings)
    return cosine * embeddings + (1 - cosine.square()).sqrt() * across
