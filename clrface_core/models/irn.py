"""The Identity Recovery Network: a degraded aligned face in, a faithful but smooth estimate of it out."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import CLRFaceError
from .unet import Remembered, UNet, UNetConfig


@dataclass(frozen=True)
class IRNConfig:
    """What one position of the U-Net sees: `patch` x `patch` pixels of the face reduced by `reduce`.

    Full resolution is where convolutions are dear and a degraded face has nothing to say: `reduce=2` lets
    the network estimate the change at half size and adds it enlarged, hence smooth; `reduce=1` works at full size.
    """

    unet: UNetConfig
    patch: int = 4
    reduce: int = 1


class IRN(nn.Module):
    """x_I = x_d + enlarge(UNet(reduce(x_d))), pixels to pixels.

    Faces are (B,3,H,W) in [0,1], H and W multiples of reduce * patch * 2^(levels-1). The output is not clamped.
    What photos of the person tell is optional: `identity` (B,D), a recognition network's unit vectors (zeros: unknown),
    and what the network itself saw of the photos (`remember`). Without them a face gets the blind estimate, to the bit.
    """

    def __init__(self, config: IRNConfig) -> None:
        super().__init__()
        self.config = config
        channels = 3 * config.patch**2
        self.unet = UNet(channels, channels, config.unet, timed=False)

    @property
    def unit(self) -> int:
        """The sides of faces are multiples of this."""
        return self.config.reduce * self.config.patch * 2 ** (len(self.config.unet.widths) - 1)

    def change(self, x: Tensor, *, identity: Tensor | None = None, remembered: Remembered | None = None) -> Tensor:
        """What to add to an already reduced face (B,3,h,w); training at reduced size needs no more."""
        return F.pixel_shuffle(self.unet(self._patches(x), identity=identity, remembered=remembered), self.config.patch)

    def remember(self, photos: Tensor, *, reduced: bool = False) -> Remembered:
        """What attention sees of aligned reference photos (B,3,H,W) in [0,1]; `reduced`: they are already."""
        return self.unet.remember(self._patches(photos if reduced else self._reduced(photos)))

    def forward(self, x: Tensor, *, identity: Tensor | None = None, remembered: Remembered | None = None) -> Tensor:
        unit = self.unit
        if x.ndim != 4 or x.shape[1] != 3 or x.shape[2] % unit or x.shape[3] % unit:
            raise CLRFaceError(
                f"The IRN expects faces (B,3,H,W) with sides that are multiples of {unit}, got {tuple(x.shape)}: "
                "resize them."
            )
        change = self.change(self._reduced(x), identity=identity, remembered=remembered)
        if self.config.reduce == 1:
            return x + change
        return x + F.interpolate(change, size=x.shape[2:], mode="bilinear", align_corners=False)

    def _reduced(self, x: Tensor) -> Tensor:
        return x if self.config.reduce == 1 else F.avg_pool2d(x, self.config.reduce)

    def _patches(self, x: Tensor) -> Tensor:
        return F.pixel_unshuffle(x * 2 - 1, self.config.patch)
