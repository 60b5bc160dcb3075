"""68 facial landmarks of an aligned face, by the network of face-api.js: how far do features move?"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...faces.warp import resize

SIDE = 112
MEAN = (122.782, 117.001, 104.298)  # of its training pictures, RGB in 0..255
# Left, top, right, bottom on an FFHQ-512 crop: brows to chin, like the boxes that it was trained on. Its eyes, nose and
# mouth are then 8 px from FFHQ's five points on clean aligned faces. Fixed: a degraded face is cut as its truth.
BOX = (96, 144, 416, 464)


class Separable(nn.Module):
    """3x3 depthwise and 1x1 convolution with one bias."""

    def __init__(self, inside: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.depthwise_filter = nn.Parameter(torch.zeros(inside, 1, 3, 3))
        self.pointwise_filter = nn.Parameter(torch.zeros(out, inside, 1, 1))
        self.bias = nn.Parameter(torch.zeros(out))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.conv2d(_pad(x, self.stride), self.depthwise_filter, stride=self.stride, groups=x.shape[1])
        return functional.conv2d(x, self.pointwise_filter, self.bias)


class Whole(nn.Module):
    """3x3 convolution of stride 2."""

    def __init__(self, inside: int, out: int) -> None:
        super().__init__()
        self.filters = nn.Parameter(torch.zeros(out, inside, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out))

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(_pad(x, 2), self.filters, self.bias, stride=2)


def _pad(x: Tensor, stride: int) -> Tensor:
    """TensorFlow's "same" for a 3x3 kernel and an even size: at stride 2 only right and below."""
    return functional.pad(x, (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1))


class Dense(nn.Module):
    """Halve, then three convolutions, each on the sum of all before it."""

    def __init__(self, inside: int, out: int) -> None:
        super().__init__()
        self.conv0: nn.Module = Whole(inside, out) if inside == 3 else Separable(inside, out, stride=2)
        self.conv1, self.conv2, self.conv3 = (Separable(out, out) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        first = total = functional.relu(self.conv0(x))
        total = first + (last := self.conv1(first))
        for layer in (self.conv2, self.conv3):
            last = layer(functional.relu(total))
            total = total + last
        return functional.relu(total)


class Linear(nn.Module):
    """A linear layer under the names of its file."""

    def __init__(self, inside: int, out: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(out, inside))
        self.bias = nn.Parameter(torch.zeros(out))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weights, self.bias)


class Landmarks(nn.Module):
    """(B,3,S,S) aligned faces, RGB in [0,1], S at least 32, to (B,68,2): x and y in pixels of a 512 px crop."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 128, 256)
        for number in range(4):
            self.add_module(f"dense{number}", Dense(widths[number], widths[number + 1]))
        self.fc = Linear(256, 136)

    def forward(self, images: Tensor) -> Tensor:
        left, top, right, bottom = (round(edge * images.shape[-1] / 512) for edge in BOX)
        x = torch.stack([resize(face, SIDE, SIDE) for face in images[:, :, top:bottom, left:right].float()])
        x = x.clamp(0, 1) - x.new_tensor(MEAN)[:, None, None] / 255
        for number in range(4):
            x = getattr(self, f"dense{number}")(x)
        points = self.fc(x.mean((2, 3))).unflatten(1, (68, 2))
        scale = 512 / images.shape[-1]
        return torch.stack([points[..., 0] * (right - left) + left, points[..., 1] * (bottom - top) + top], -1) * scale


def landmark_distance(points: Tensor, truth: Tensor) -> float:
    """Mean distance of two sets of landmarks (1,68,2), in their unit."""
    return float((points - truth).norm(dim=-1).mean())
