"""The synthetic degradation: blur, reduction, noise, JPEG and back to the original size, each from a seed.

    y = JPEG_q((x * k_sigma) reduced by r + n_delta), enlarged to the size of x

Blur and noise are meant for aligned faces of 512 px: the kernel is 41 px wide whatever the picture's size, so
that a photograph in which faces are smaller loses more of them than an aligned face would.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .errors import CLRFaceError
from .picture import check_picture

RADIUS = 20
"""The blur kernel's, in pixels of a 512 px face: it is 41 px wide."""
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, what JPEG calls Y


@dataclass(frozen=True)
class DegradeConfig:
    """Ranges to draw from, each uniform and inclusive. CLRFaceError where a range makes no sense.

    sigma: blur in pixels; reduction: factor by which the sides shrink (< 1 enlarges); noise: standard
    deviation out of 255; quality: JPEG's 1..100; anisotropic, grey: the probability of each.
    """

    sigma: tuple[float, float] = (0.1, 15.0)
    reduction: tuple[float, float] = (0.8, 32.0)
    noise: tuple[float, float] = (0.0, 20.0)
    quality: tuple[int, int] = (30, 100)
    anisotropic: float = 0.5
    grey: float = 0.01

    def __post_init__(self) -> None:
        for name, least, most in (
            ("sigma", 0.01, np.inf), ("reduction", 0.1, np.inf), ("noise", 0, 255), ("quality", 1, 100),
        ):  # fmt: skip
            object.__setattr__(self, name, _range(name, getattr(self, name), least, most))
        if any(q != int(q) for q in self.quality):
            raise CLRFaceError(f"Expected whole numbers for quality, got {self.quality}: round them.")
        object.__setattr__(self, "quality", tuple(int(q) for q in self.quality))
        for name in ("anisotropic", "grey"):
            chance = getattr(self, name)
            if not _is_number(chance) or not 0 <= chance <= 1:
                raise CLRFaceError(f"Expected {name} as a probability in 0..1, got {chance!r}: change it.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DegradeConfig:
        """The config that `to_dict` wrote, or any part of it; what is left out keeps its default."""
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise CLRFaceError(f"Expected degradation settings among {', '.join(known)}, got {name!r}: remove it.")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """As plain values that JSON can hold."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


def _range(name: str, value: object, least: float, most: float) -> tuple[float, float]:
    if isinstance(value, (tuple, list)) and len(value) == 2 and all(map(_is_number, value)):
        low, high = value
        if least <= low <= high <= most:
            return low, high
    limits = f"{least:g}..{most:g}" if np.isfinite(most) else f"at least {least:g}"
    raise CLRFaceError(f"Expected {name} as two numbers [low, high], {limits}, got {value!r}: change the range.")


STANDARD = DegradeConfig()
"""Of DifFace, ResShift-face and PMRF: down to 16 px of face."""
MILD = DegradeConfig(sigma=(0.1, 10.0), reduction=(0.8, 8.0), quality=(60, 100))
"""Of GFPGAN, VQFR and RestoreFormer++."""
PRESETS = {"standard": STANDARD, "mild": MILD}


@dataclass(frozen=True)
class Degradation:
    """One drawn degradation; `apply` does the same to a picture every time."""

    sigma: tuple[float, float]  # along and across `angle`
    angle: float  # radians
    reduction: float
    noise: float
    quality: int
    grey: bool
    noise_seed: int
    radius: int = RADIUS

    def apply(self, image: Tensor) -> Tensor:
        """Degrade (3,H,W) float32 RGB in [0,1], any size, to the same shape. CLRFaceError for other input."""
        check_picture(image)
        height, width = image.shape[1:]
        small = (max(int(height / self.reduction), 1), max(int(width / self.reduction), 1))
        kernel = gaussian_kernel(self.sigma, self.angle, self.radius)
        separable = self.sigma[0] == self.sigma[1]
        picture = _blur_and_resize(image.detach().to("cpu", torch.float32), kernel, separable, small)
        noise = np.random.default_rng(self.noise_seed).standard_normal(picture.shape, dtype=np.float32)
        picture = _jpeg(picture + torch.from_numpy(noise) * (self.noise / 255), self.quality)
        return _resize(self.target(picture), (height, width)).to(image.device)

    def scaled(self, factor: float) -> Degradation:
        """The same degradation for a picture `factor` times as large: lengths grow, noise and JPEG stay."""
        along, across = self.sigma
        return replace(
            self,
            sigma=(along * factor, across * factor),
            reduction=self.reduction * factor,
            radius=round(self.radius * factor),
        )

    def target(self, image: Tensor) -> Tensor:
        """What restoring should lead to: `image` (..,3,H,W) itself, or made grey if this degradation is."""
        return to_grey(image) if self.grey else image


def draw(config: DegradeConfig = STANDARD, seed: int | Sequence[int] = 0) -> Degradation:
    """Draw from `config`. `seed`: a non-negative integer or several; nothing else has an influence."""
    try:
        rng = np.random.default_rng(np.random.SeedSequence(seed))
    except (TypeError, ValueError) as error:
        raise CLRFaceError(f"Expected a seed of non-negative integers, got {seed!r}: change it.") from error
    along, across = rng.uniform(*config.sigma, size=2)
    return Degradation(
        sigma=(float(along), float(across if rng.random() < config.anisotropic else along)),
        angle=float(rng.uniform(-np.pi, np.pi)),
        reduction=float(rng.uniform(*config.reduction)),
        noise=float(rng.uniform(*config.noise)),
        quality=int(rng.integers(config.quality[0], config.quality[1] + 1)),
        grey=bool(rng.random() < config.grey),
        noise_seed=int(rng.integers(2**63)),
    )


def degrade(image: Tensor, config: DegradeConfig = STANDARD, *, seed: int | Sequence[int]) -> Tensor:
    """`draw` from `config` by `seed` and apply it to (3,H,W) float RGB in [0,1]: the same shape, float32."""
    return draw(config, seed).apply(image)


def to_grey(image: Tensor) -> Tensor:
    """(..,3,H,W) to its luma in all three channels."""
    weights = torch.tensor(LUMA, dtype=image.dtype, device=image.device)[:, None, None]
    return (image * weights).sum(-3, keepdim=True).expand_as(image).contiguous()


def gaussian_kernel(sigma: tuple[float, float], angle: float, radius: int = RADIUS) -> np.ndarray:
    """(2r+1,2r+1) float64 of sum 1: a Gaussian of deviations `sigma` px along and across `angle` (radians)."""
    offset = np.arange(-radius, radius + 1)
    x, y = offset[None, :], offset[:, None]
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    kernel = np.exp(-0.5 * ((along / sigma[0]) ** 2 + (across / sigma[1]) ** 2))
    return kernel / kernel.sum()


def _blur_and_resize(image: Tensor, kernel: np.ndarray, separable: bool, size: tuple[int, int]) -> Tensor:
    """Convolve with the kernel (borders mirrored, the edge itself not doubled), then `_resize`.

    An isotropic blur and the resizing are one matrix per axis: blurred pixels that a reduction throws away
    are not computed. It differs from the long way by float rounding only.
    """
    if separable and max(*image.shape[1:], *size) <= 1024:
        middle = kernel[len(kernel) // 2]
        profile = middle / middle.sum()
        rows, columns = (_axis(*extents, profile) for extents in zip(image.shape[1:], size, strict=True))
        return rows @ image @ columns.T
    return _resize(_convolve(image, kernel), size)


def _resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """(3,H,W) to (3,*size), bilinear without antialiasing; pixels are areas: corners are not aligned.

    Not by torch's `interpolate`, whose rounding depends on the number of threads.
    """
    small, large = sorted((max(image.shape[1:]), max(size)))
    if 4 * small <= large <= 2048:
        rows, columns = (_axis(*extents) for extents in zip(image.shape[1:], size, strict=True))
        return rows @ image @ columns.T
    pixels = image.numpy()
    for axis in (1, 2):
        low, high, part = _neighbours(image.shape[axis], size[axis - 1])
        part = part.astype(np.float32)[:, None] if axis == 1 else part.astype(np.float32)
        first = pixels.take(low, axis)
        pixels = first + (pixels.take(high, axis) - first) * part
    return torch.from_numpy(pixels)


def _neighbours(before: int, after: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of `after` results, the two of `before` pixels around it and the share of the second."""
    position = ((np.arange(after) + 0.5) * before / after - 0.5).clip(0, before - 1)
    low = position.astype(int)
    return low, np.minimum(low + 1, before - 1), position - low


def _axis(before: int, after: int, profile: np.ndarray | None = None) -> Tensor:
    """(after, before): one axis of a blur by `profile` (odd length; default none), then bilinear resizing."""
    profile = np.ones(1) if profile is None else profile
    mirrored = np.pad(np.arange(before), len(profile) // 2, mode="reflect")
    low, high, part = _neighbours(before, after)
    matrix = np.zeros((after, before))
    for first, share in ((low, 1 - part), (high, part)):
        for tap, weight in enumerate(profile):
            matrix[np.arange(after), mirrored[first + tap]] += share * weight
    return torch.from_numpy(matrix.astype(np.float32))


def _convolve(image: Tensor, kernel: np.ndarray) -> Tensor:
    """(3,H,W) with the kernel, by FFT of the mirrored picture; one channel at a time spares memory."""
    height, width = image.shape[1:]
    radius = len(kernel) // 2
    size = (_fast_length(height + 2 * radius), _fast_length(width + 2 * radius))
    transfer = torch.fft.rfft2(torch.from_numpy(kernel.astype(np.float32)), s=size)
    blurred = torch.empty_like(image, memory_format=torch.contiguous_format)
    for channel, result in zip(image.numpy(), blurred, strict=True):
        padded = torch.from_numpy(np.pad(channel, radius, mode="reflect"))
        circular = torch.fft.irfft2(torch.fft.rfft2(padded, s=size).mul_(transfer), s=size)
        # The kernel's corner, not its centre, lies at the origin: results come `radius` further down and right,
        # and what the FFT carries around the borders falls before them.
        result.copy_(circular[2 * radius : 2 * radius + height, 2 * radius : 2 * radius + width])
    return blurred


def _fast_length(extent: int) -> int:
    """The next length with no prime factor above 5."""
    while True:
        rest = extent
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return extent
        extent += 1


def _jpeg(picture: Tensor, quality: int) -> Tensor:
    """(3,H,W) through 8 bits and JPEG (4:2:0) and back to float32 in [0,1]."""
    pixels = (picture.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    with Image.open(stream) as decoded:
        return torch.from_numpy(np.array(decoded)).permute(2, 0, 1).float() / 255
