"""The convolutional U-Net that the IRN and the refiner share; only what goes in and comes out differs.

Two doors let in what photos of the person tell, and both are shut for a face without any, to the bit: an embedding of
who it is scales and shifts the features (FiLM), and attention looks at the features of the photos themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import CLRFaceError


@dataclass(frozen=True)
class UNetConfig:
    """One entry of `widths` and `blocks` per resolution, finest first.

    attention: how many of the coarsest resolutions have it. identity: numbers of the embedding that says who it is, 0
    for a network that is never told. shared: whether attention can look at reference photos too.
    """

    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    norm_groups: int = 8
    head_channels: int = 64
    attention: int = 1
    identity: int = 0
    shared: bool = False

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.blocks) or not self.widths:
            raise CLRFaceError(
                f"A U-Net needs as many widths as block counts, got {self.widths} and {self.blocks}: "
                "give one of each per resolution."
            )
        if not 1 <= self.attention <= len(self.widths):
            raise CLRFaceError(
                f"Expected attention at 1 to {len(self.widths)} resolutions, got {self.attention}: there are no more."
            )
        groups, heads = self.norm_groups, self.widths[-self.attention :]
        if not groups or any(w % groups for w in self.widths) or any(w % self.head_channels for w in heads):
            raise CLRFaceError(
                f"U-Net widths must be multiples of norm_groups={self.norm_groups}, and those with attention of "
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


class IdentityEmbedding(nn.Module):
    """Who it is (B,D), a recognition network's unit vector, as what FiLM takes (B,E). Zeros stay zeros: nobody."""

    def __init__(self, numbers: int, channels: int) -> None:
        super().__init__()
        self.scale = math.sqrt(numbers)  # entries of a unit vector are small
        self.linear = nn.Linear(numbers, channels, bias=False)

    def forward(self, identity: Tensor) -> Tensor:
        return F.silu(self.linear(identity.to(self.linear.weight.dtype) * self.scale))


class ResBlock(nn.Module):
    """Pre-norm residual block; its second norm is scaled and shifted by what it is told (FiLM): time, person."""

    def __init__(
        self, in_channels: int, out_channels: int, groups: int, embedding: int | None, person: int | None
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()
        self.film = nn.Linear(embedding, 2 * out_channels) if embedding else None
        self.film_person = nn.Linear(person, 2 * out_channels, bias=False) if person else None
        if self.film_person is not None:
            nn.init.zeros_(self.film_person.weight)

    def forward(self, x: Tensor, embedding: Tensor | None, person: Tensor | None) -> Tensor:
        h = self.norm2(self.conv1(F.silu(self.norm1(x))))
        for film, told in ((self.film, embedding), (self.film_person, person)):
            if film is not None and told is not None:
                scale, shift = film(told)[:, :, None, None].chunk(2, dim=1)
                h = h * (1 + scale) + shift
        return self.shortcut(x) + self.conv2(F.silu(h))


class Attention(nn.Module):
    """Multi-head self-attention over all positions of a feature map and, with `shared`, attention to reference photos.

    The photos' keys and values come from the same network run on them (cached-KV attention, as InstantRestore, Zhang et
    al. 2024, arXiv 2412.06753). Their values take on the spread and mean of the face's own, per channel, as light and
    tone are the face's and not the photo's. A convolution that starts at zero lets them in.
    """

    def __init__(self, channels: int, head_channels: int, groups: int, *, shared: bool) -> None:
        super().__init__()
        self.heads = channels // head_channels
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = _zero(nn.Conv2d(channels, channels, 1))
        self.shared = _zero(nn.Conv2d(channels, channels, 1, bias=False)) if shared else None

    def _projected(self, x: Tensor) -> tuple[Tensor, ...]:
        qkv = self.qkv(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, -1)).transpose(-1, -2)
        return qkv.unbind(1)  # three of b heads hw c

    def remember(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B,heads,N,c) of the features of B photos."""
        _, keys, values = self._projected(x)
        return keys, values

    def forward(self, x: Tensor, photos: tuple[Tensor, Tensor] | None = None, weight: Tensor | None = None) -> Tensor:
        """photos: keys and values (B,heads,N,c) of each face's photos. weight: (B,), 0 for faces without any."""
        q, k, v = self._projected(x)
        y = x + self.out(self._pictured(F.scaled_dot_product_attention(q, k, v), x))
        if self.shared is None or photos is None or weight is None:
            return y
        keys, values = photos
        seen = F.scaled_dot_product_attention(q, keys, _with_statistics_of(v, values))
        return y + self.shared(self._pictured(seen, x)) * weight[:, None, None, None].to(x.dtype)

    def _pictured(self, h: Tensor, like: Tensor) -> Tensor:
        return h.transpose(-1, -2).reshape(like.shape)


def _zero(conv: nn.Conv2d) -> nn.Conv2d:
    """The same convolution, at zero: what begins by adding nothing."""
    for parameter in conv.parameters():
        nn.init.zeros_(parameter)
    return conv


def _with_statistics_of(own: Tensor, other: Tensor) -> Tensor:
    """`other` (B,heads,N,c) with the mean and spread over positions of `own` (AdaIN, Huang and Belongie 2017)."""
    (spread, mean), (other_spread, other_mean) = (torch.std_mean(v.float(), dim=2, keepdim=True) for v in (own, other))
    return ((other.float() - other_mean) / (other_spread + 1e-5) * spread + mean).to(other.dtype)


Attend = Callable[[Attention, Tensor], Tensor]
"""How features pass an attention layer."""


@dataclass
class Remembered:
    """What attention saw of reference photos.

    layers: keys and values (B,heads,N,c) for B faces, N positions of all their photos together; one entry per attention
    layer, in order of the flow. weight: (B,), how much they count: 0 leaves a face as it is, to the bit.
    """

    layers: list[tuple[Tensor, Tensor]]
    weight: Tensor

    def of_one_face(self) -> Remembered:
        """The photos of this batch as those of a single face."""
        layers = [(_joined(keys), _joined(values)) for keys, values in self.layers]
        return Remembered(layers, self.weight[:1])

    def attend(self) -> Attend:
        """Features pass each layer with what it saw of the photos."""
        layers = iter(self.layers)
        return lambda attention, h: attention(h, next(layers), self.weight)


def _plainly(attention: Attention, h: Tensor) -> Tensor:
    return attention(h)


def _joined(photos: Tensor) -> Tensor:
    """(B,heads,N,c) to (1,heads,B*N,c)."""
    return photos.transpose(0, 1).flatten(1, 2)[None]


class UNet(nn.Module):
    """Features (B,in,H,W) to (B,out,H,W); H and W must be multiples of 2^(levels-1).

    The last convolution starts at zero, so a fresh network that is added to its input changes nothing.
    """

    def __init__(self, in_channels: int, out_channels: int, config: UNetConfig, *, timed: bool) -> None:
        super().__init__()
        widths, groups = config.widths, config.norm_groups
        embedding = 2 * widths[0] if timed else None
        person = widths[0] // 2 if config.identity else None
        self.time = TimeEmbedding(embedding) if embedding else None
        self.person = IdentityEmbedding(config.identity, person) if person else None
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)

        def block(before: int, after: int) -> ResBlock:
            return ResBlock(before, after, groups, embedding, person)

        def attention(width: int) -> Attention:
            return Attention(width, config.head_channels, groups, shared=config.shared)

        self.down = nn.ModuleList()
        self.shrink = nn.ModuleList()
        self.attention_down = nn.ModuleDict()  # by level; the coarsest has its own, in the middle
        for level, width in enumerate(widths):
            self.down.append(nn.ModuleList(block(width, width) for _ in range(config.blocks[level])))
            if level + 1 < len(widths):
                if level >= len(widths) - config.attention:
                    self.attention_down[str(level)] = attention(width)
                self.shrink.append(nn.Conv2d(width, widths[level + 1], 3, stride=2, padding=1))

        self.attention = attention(widths[-1])
        self.middle = block(widths[-1], widths[-1])

        self.grow = nn.ModuleList()
        self.up = nn.ModuleList()
        for level in reversed(range(len(widths) - 1)):
            width = widths[level]
            # The 1x1 runs before the enlargement: the same map as after it, at a quarter of the cost.
            self.grow.append(nn.Conv2d(widths[level + 1], width, 1))
            blocks = [block(2 * width, width)]
            blocks += [block(width, width) for _ in range(config.blocks[level] - 1)]
            self.up.append(nn.ModuleList(blocks))

        self.norm_out = nn.GroupNorm(groups, widths[0])
        self.conv_out = _zero(nn.Conv2d(widths[0], out_channels, 3, padding=1))

    def forward(
        self,
        x: Tensor,
        t: Tensor | None = None,
        *,
        identity: Tensor | None = None,
        remembered: Remembered | None = None,
    ) -> Tensor:
        """identity: (B,D), who the faces are; zeros where nothing is known. remembered: see `remember`."""
        told = self._told(t, identity)
        h, skips = self._encoded(x, told, _plainly if remembered is None else remembered.attend())
        h = self.middle(h, *told)
        for grow, blocks in zip(self.grow, self.up, strict=True):
            h = F.interpolate(grow(h), scale_factor=2.0, mode="nearest")
            h = torch.cat((h, skips.pop()), dim=1)
            for block in blocks:  # type: ignore[attr-defined]
                h = block(h, *told)
        return self.conv_out(F.silu(self.norm_out(h)))

    def remember(self, x: Tensor, t: Tensor | None = None, *, identity: Tensor | None = None) -> Remembered:
        """What attention sees of photos (B,in,H,W), given to the network as if they were faces."""
        seen: list[tuple[Tensor, Tensor]] = []

        def attend(attention: Attention, h: Tensor) -> Tensor:
            seen.append(attention.remember(h))
            return attention(h)

        self._encoded(x, self._told(t, identity), attend)
        return Remembered(seen, torch.ones(len(x), device=x.device))

    def _told(self, t: Tensor | None, identity: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """What the blocks are told: the time, the person."""
        time = F.silu(self.time(t)) if self.time is not None else None
        person = self.person(identity) if self.person is not None and identity is not None else None
        return time, person

    def _encoded(
        self, x: Tensor, told: tuple[Tensor | None, Tensor | None], attend: Attend
    ) -> tuple[Tensor, list[Tensor]]:
        """The coarsest features, and those to skip to at every finer level."""
        h = self.conv_in(x)
        skips: list[Tensor] = []
        for level, blocks in enumerate(self.down):
            for block in blocks:  # type: ignore[attr-defined]
                h = block(h, *told)
            if level < len(self.shrink):
                if str(level) in self.attention_down:
                    h = attend(self.attention_down[str(level)], h)  # type: ignore[arg-type]
                skips.append(h)
                h = self.shrink[level](h)
        return attend(self.attention, h), skips
