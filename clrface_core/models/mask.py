"""The learnable latent mask M_l: where in the latent the identity gradient may act, and how much."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import CLRFaceError


@dataclass(frozen=True)
class MaskConfig:
    """A small head: `width` channels, `dilations` one 3x3 convolution each, wide enough to see a feature.

    maps: 1 for one mask that all channels of the latent share, so that it can be shown, and painted over, as a
    picture; or as many as there are channels.
    """

    channels: int = 3
    maps: int = 1
    width: int = 32
    dilations: tuple[int, ...] = (1, 2, 4, 8)

    def __post_init__(self) -> None:
        if self.maps not in (1, self.channels) or not self.dilations:
            raise CLRFaceError(
                f"A mask has 1 map or {self.channels}, one per channel, and at least one dilation, got {self.maps} and "
                f"{self.dilations}: change them."
            )


class MaskHead(nn.Module):
    """(z_d, z_I), each (B,C,h,w), to a mask (B,maps,h,w) in [0,1] by a sigmoid.

    It works on a half-size latent: identity is a matter of features, not of single latents, and the mask
    comes out smooth. The last bias starts at +1: an untrained mask lets most of the gradient through.
    """

    def __init__(self, config: MaskConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = []
        channels = 2 * config.channels
        for dilation in config.dilations:
            layers += [nn.Conv2d(channels, config.width, 3, padding=dilation, dilation=dilation), nn.SiLU()]
            channels = config.width
        self.body = nn.Sequential(*layers)
        self.logits = nn.Conv2d(channels, config.maps, 3, padding=1)
        nn.init.zeros_(self.logits.weight)
        nn.init.ones_(self.logits.bias)  # type: ignore[arg-type]

    def forward(self, z_d: Tensor, z_i: Tensor) -> Tensor:
        known = F.avg_pool2d(torch.cat((z_d, z_i), dim=1), 2)
        logits = self.logits(self.body(known))
        return torch.sigmoid(F.interpolate(logits, size=z_d.shape[2:], mode="bilinear", align_corners=False))
