"""The conditional denoiser: what the clean latent is, given a noisy one and the latents of what we know."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import CLRFaceError
from .unet import UNet, UNetConfig


@dataclass(frozen=True)
class RefinerConfig:
    """`t0` is where sampling starts and training ends; `schedule` names the forward process it was trained on.

    conditional: whether z_d and z_I are seen at all; without them only the start knows of the face (an ablation).
    """

    unet: UNetConfig
    channels: int = 3
    patch: int = 2
    schedule: str = "cosine"
    t0: float = 0.5
    conditional: bool = True


class Refiner(nn.Module):
    """z0_hat = z_I + UNet(z_t, z_d, z_I; t): the conditions come in as channels (DESIGN's U).

    All latents are (B,C,h,w) with about unit variance; t is (B,) in [0,1]. A space-to-depth of
    `config.patch` inside makes every step four times cheaper. An untrained refiner returns z_I: the
    restoration is then the IRN's own. Without conditions it predicts z_0 itself.
    """

    def __init__(self, config: RefinerConfig) -> None:
        super().__init__()
        self.config = config
        positions = config.patch**2
        self.unet = UNet(3 * config.channels * positions, config.channels * positions, config.unet, timed=True)

    @property
    def unit(self) -> int:
        """The sides of latents are multiples of this."""
        return self.config.patch * 2 ** (len(self.config.unet.widths) - 1)

    def forward(self, z_t: Tensor, z_d: Tensor, z_i: Tensor, t: Tensor) -> Tensor:
        p, unit = self.config.patch, self.unit
        if z_t.shape != z_d.shape or z_t.shape != z_i.shape or z_t.shape[2] % unit or z_t.shape[3] % unit:
            raise CLRFaceError(
                f"The refiner expects three latents of one shape with sides that are multiples of {unit}, got "
                f"{tuple(z_t.shape)}, {tuple(z_d.shape)} and {tuple(z_i.shape)}: encode crops of one size."
            )
        if not self.config.conditional:
            z_d = z_i = torch.zeros_like(z_t)
        stacked = torch.cat((z_t, z_d, z_i), dim=1)
        packed = F.pixel_unshuffle(stacked, p)
        change = self.unet(packed, t)
        return z_i + F.pixel_shuffle(change, p)
