"""The Inception-v3 of FID (Szegedy et al., arXiv 1512.00567; TensorFlow's 2015 graph): pictures to 2048 features.

It differs from torchvision's: averages leave the padding out, and the last block takes a maximum in place of an
average. Names are those of the graph; the batch normalisations are folded into the convolutions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SIDE = 299


class Convolution(nn.Conv2d):
    """Convolution and ReLU; padding keeps the size unless `valid`."""

    def __init__(self, inside: int, out: int, kernel: int | tuple[int, int] = 1, stride: int = 1, valid: bool = False):
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (0, 0) if valid else (height // 2, width // 2)
        super().__init__(inside, out, (height, width), stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(super().forward(x))


def chain(**layers: nn.Module) -> nn.Sequential:
    """A Sequential of named layers."""
    found = nn.Sequential()
    for name, layer in layers.items():
        found.add_module(name, layer)
    return found


def average() -> nn.Module:
    """3x3 mean of what lies inside the picture."""
    return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)


class Branches(nn.Module):
    """Every child on the same input, results side by side."""

    def __init__(self, **children: nn.Module) -> None:
        super().__init__()
        for name, child in children.items():
            self.add_module(name, child)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([child(x) for child in self.children()], dim=1)


def block_35(inside: int, pooled: int) -> Branches:
    """At 35 x 35: 1x1, 5x5, two 3x3, and the mean."""
    return Branches(
        conv=Convolution(inside, 64),
        tower=chain(conv=Convolution(inside, 48), conv_1=Convolution(48, 64, 5)),
        tower_1=chain(conv=Convolution(inside, 64), conv_1=Convolution(64, 96, 3), conv_2=Convolution(96, 96, 3)),
        tower_2=chain(pool=average(), conv=Convolution(inside, pooled)),
    )


def block_17(width: int) -> Branches:
    """At 17 x 17: 7x7 as 1x7 and 7x1, once and twice."""
    across, down = (1, 7), (7, 1)
    return Branches(
        conv=Convolution(768, 192),
        tower=chain(
            conv=Convolution(768, width), conv_1=Convolution(width, width, across), conv_2=Convolution(width, 192, down)
        ),
        tower_1=chain(
            conv=Convolution(768, width),
            conv_1=Convolution(width, width, down),
            conv_2=Convolution(width, width, across),
            conv_3=Convolution(width, width, down),
            conv_4=Convolution(width, 192, across),
        ),
        tower_2=chain(pool=average(), conv=Convolution(768, 192)),
    )


def down_35() -> Branches:
    """35 x 35 to 17 x 17."""
    return Branches(
        conv=Convolution(288, 384, 3, 2, valid=True),
        tower=chain(conv=Convolution(288, 64), conv_1=Convolution(64, 96, 3), conv_2=Convolution(96, 96, 3, 2, True)),
        pool=nn.MaxPool2d(3, 2),
    )


def down_17() -> Branches:
    """17 x 17 to 8 x 8."""
    return Branches(
        tower=chain(conv=Convolution(768, 192), conv_1=Convolution(192, 320, 3, 2, valid=True)),
        tower_1=chain(
            conv=Convolution(768, 192),
            conv_1=Convolution(192, 192, (1, 7)),
            conv_2=Convolution(192, 192, (7, 1)),
            conv_3=Convolution(192, 192, 3, 2, valid=True),
        ),
        pool=nn.MaxPool2d(3, 2),
    )


class Block8(nn.Module):
    """At 8 x 8: 1x1; 3x3 as 1x3 beside 3x1, on a narrow and on a 3x3 stem; and `pool`."""

    def __init__(self, inside: int, pool: nn.Module) -> None:
        super().__init__()
        across, down = (1, 3), (3, 1)
        self.conv = Convolution(inside, 320)
        self.tower_conv = Convolution(inside, 384)
        self.tower_mixed_conv, self.tower_mixed_conv_1 = Convolution(384, 384, across), Convolution(384, 384, down)
        self.tower_1_conv, self.tower_1_conv_1 = Convolution(inside, 448), Convolution(448, 384, 3)
        self.tower_1_mixed_conv, self.tower_1_mixed_conv_1 = Convolution(384, 384, across), Convolution(384, 384, down)
        self.tower_2_pool, self.tower_2_conv = pool, Convolution(inside, 192)

    def forward(self, x: Tensor) -> Tensor:
        narrow, wide = self.tower_conv(x), self.tower_1_conv_1(self.tower_1_conv(x))
        parts = [self.tower_mixed_conv(narrow), self.tower_mixed_conv_1(narrow)]
        parts += [self.tower_1_mixed_conv(wide), self.tower_1_mixed_conv_1(wide)]
        return torch.cat([self.conv(x), *parts, self.tower_2_conv(self.tower_2_pool(x))], dim=1)


class Inception(nn.Module):
    """(B,3,H,W) RGB in [0,1] to (B,2048), at any size: bilinear to 299 px without antialiasing, as FID's are."""

    def __init__(self) -> None:
        super().__init__()
        stem = chain(
            conv=Convolution(3, 32, 3, 2, valid=True), conv_1=Convolution(32, 32, 3, valid=True),
            conv_2=Convolution(32, 64, 3), pool0=nn.MaxPool2d(3, 2), conv_3=Convolution(64, 80),
            conv_4=Convolution(80, 192, 3, valid=True), pool1=nn.MaxPool2d(3, 2),
        )  # fmt: skip
        blocks = [block_35(192, 32), block_35(256, 64), block_35(288, 64), down_35()]
        blocks += [*map(block_17, (128, 160, 160, 192)), down_17()]
        last = [Block8(1280, average()), Block8(2048, nn.MaxPool2d(3, 1, padding=1))]
        for name, layer in stem.named_children():
            self.add_module(name, layer)
        for number, block in enumerate([*blocks, *last]):
            self.add_module(f"mixed_{number}" if number else "mixed", block)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False) * 2 - 1
        for layer in self.children():
            x = layer(x)
        return x.mean((2, 3))
