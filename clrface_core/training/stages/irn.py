"""The second stage: a faithful, smooth estimate of the face."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import losses
from ..data import FaceShards, Pairs, Steps
from .stage import Stage, Terms


class IRNStage(Stage):
    """L1 or PSNR, identity and light LPIPS, at the size at which the network estimates its change."""

    name = "irn"

    def dataset(self, shards: FaceShards, seed: int) -> Steps:
        size = self.bundle.size
        side = size // self.bundle.irn.config.reduce
        return self._data(Pairs, shards, seed, side=side, size=size, mild=self.settings.get("mild", 0.0))

    def _restore(self, network: Any, degraded: Tensor) -> Tensor:
        return degraded + network.change(degraded)

    def loss(self, network: Any, batch: Terms, step: int, generator: torch.Generator) -> Terms:
        restored, clean = self._restore(network, batch["degraded"]), batch["clean"]
        return self._weighted(
            {
                "l1": lambda: F.l1_loss(restored, clean),
                "psnr": lambda: losses.negative_psnr(restored, clean),
                "identity": lambda: self._identity(restored, clean),
                "lpips": lambda: self._perceptual(restored, clean, generator),
            }
        )

    def pictures(self, network: Any, batch: Terms, generator: torch.Generator) -> list[Tensor]:
        return [batch["degraded"], self._restore(network, batch["degraded"]), batch["clean"]]
