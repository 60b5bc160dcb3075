"""The convolutional U-Net that the IRN and the refiner share; only what goes in and comes out differs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import CLRFaceError


@dataclass(frozen=True)
class UNetConfig:
    """One entry of `widths` and `blocks` per resolution, finest first; attention sits at the coarsest."""

    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    norm_groups: int = 8
    head_channels: int = 64

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.blocks) or not self.widths:
            raise CLRFaceError(
                f"A U-Net needs as many widths as block counts, got {self.widths} and {self.blocks}: "
                "give one of each per resolution."
            )
        groups = self.norm_groups
        if not groups or any(width % groups for width in self.widths) or self.widths[-1] % self.head_channels:
            raise CLRFaceError(
                f"U-Net widths must be multiples of norm_groups={self.norm_groups} and the last one of "
                f"head_channels={self.head_channels}, got {self.widths}: change the widths."
            )


class TimeEmbedding(nn.Module):
    """Sinusoids of t in [0,1] (Vaswani et al. 2017; frequencies 1..1000), then a two-layer perceptron."""

    def __init__(self, channels: int, frequencies: int = 64) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.mlp = nn.Sequential(nn.Linear(2 * frequencies, channels), nn.SiLU(), nn.Linear(channels, channels))

    def forward(self, t: Tensor) -> Tensor:
        # Built in float32: bfloat16 has three digits, too few for the phase of the fast sinusoids.
        exponents = torch.linspace(0, math.log(1000.0), self.frequencies, device=t.device)
        phase = t.float()[:, None] * exponents.exp()
        waves = torch.cat((phase.sin(), phase.cos()), dim=1)
        return self.mlp(waves.to(next(self.mlp.parameters()).dtype))


class ResBlock(nn.Module):
    """Pre-norm residual block; with an embedding, the second norm is scaled and shifted by it (FiLM)."""

    def __init__(self, in_channels: int, out_channels: int, groups: int, embedding: int | None) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()
        self.film = nn.Linear(embedding, 2 * out_channels) if embedding else None

    def forward(self, x: Tensor, embedding: Tensor | None) -> Tensor:
        h = self.norm2(self.conv1(F.silu(self.norm1(x))))
        if self.film is not None:
            scale, shift = self.film(embedding)[:, :, None, None].chunk(2, dim=1)
            h = h * (1 + scale) + shift
        return self.shortcut(x) + self.conv2(F.silu(h))


class SelfAttention(nn.Module):
    """Multi-head self-attention over all positions of a feature map."""

    def __init__(self, channels: int, head_channels: int, groups: int) -> None:
        super().__init__()
        self.heads = channels // head_channels
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, -1)).transpose(-1, -2)  # b n heads hw c
        h = F.scaled_dot_product_attention(*qkv.unbind(1))
        return x + self.out(h.transpose(-1, -2).reshape(x.shape))


class UNet(nn.Module):
    """Features (B,in,H,W) to (B,out,H,W); H and W must be multiples of 2^(levels-1).

    The last convolution starts at zero, so a fresh network that is added to its input changes nothing.
    """

    def __init__(self, in_channels: int, out_channels: int, config: UNetConfig, *, timed: bool) -> None:
        super().__init__()
        widths, groups = config.widths, config.norm_groups
        embedding = 2 * widths[0] if timed else None
        self.time = TimeEmbedding(embedding) if embedding else None
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)

        self.down = nn.ModuleList()
        self.shrink = nn.ModuleList()
        for level, width in enumerate(widths):
            self.down.append(
                nn.ModuleList(ResBlock(width, width, groups, embedding) for _ in range(config.blocks[level]))
            )
            if level + 1 < len(widths):
                self.shrink.append(nn.Conv2d(width, widths[level + 1], 3, stride=2, padding=1))

        self.attention = SelfAttention(widths[-1], config.head_channels, groups)
        self.middle = ResBlock(widths[-1], widths[-1], groups, embedding)

        self.grow = nn.ModuleList()
        self.up = nn.ModuleList()
        for level in reversed(range(len(widths) - 1)):
            width = widths[level]
            # The 1x1 runs before the enlargement: the same map as after it, at a quarter of the cost.
            self.grow.append(nn.Conv2d(widths[level + 1], width, 1))
            blocks = [ResBlock(2 * width, width, groups, embedding)]
            blocks += [ResBlock(width, width, groups, embedding) for _ in range(config.blocks[level] - 1)]
            self.up.append(nn.ModuleList(blocks))

        self.norm_out = nn.GroupNorm(groups, widths[0])
        self.conv_out = nn.Conv2d(widths[0], out_channels, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        embedding = F.silu(self.time(t)) if self.time is not None else None
        h = self.conv_in(x)
        skips: list[Tensor] = []
        for level, blocks in enumerate(self.down):
            for block in blocks:  # type: ignore[attr-defined]
                h = block(h, embedding)
            if level < len(self.shrink):
                skips.append(h)
                h = self.shrink[level](h)
        h = self.middle(self.attention(h), embedding)
        for grow, blocks in zip(self.grow, self.up, strict=True):
            h = F.interpolate(grow(h), scale_factor=2.0, mode="nearest")
            h = torch.cat((h, skips.pop()), dim=1)
            for block in blocks:  # type: ignore[attr-defined]
                h = block(h, embedding)
        return self.conv_out(F.silu(self.norm_out(h)))
