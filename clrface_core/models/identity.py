"""Who is it: face recognition networks behind one interface, from an FFHQ-aligned crop to a unit-norm embedding."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import CLRFaceError
from .sface import load_sface

SFACE_WEIGHTS = Path(__file__).resolve().parents[1] / "weights" / "sface.safetensors"

# An FFHQ-512 pixel (x, y) lands on the 112 px recognition crop at (ZOOM * x + SHIFT_X, ZOOM * y + SHIFT_Y);
# whole numbers are pixel centres, as in both templates.
ZOOM, SHIFT_X, SHIFT_Y = 0.2921, -18.9301, -17.86

SMALLEST_CROP = 32


def resampling_weights(size: int, shift: float, out_size: int, *, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The matrix (out_size, size) that resamples one axis of a `size` px FFHQ crop to the recognition crop.

    A triangle filter as wide as the reduction (area-like antialiasing, as Pillow's BILINEAR); beyond the border the
    edge pixel repeats. Every row sums to 1.
    """
    step = 112 / (out_size * ZOOM) * size / 512  # crop pixels per recognition pixel
    out = (torch.arange(out_size, device=device, dtype=torch.float64) + 0.5) * 112 / out_size - 0.5
    centre = ((out - shift) / ZOOM + 0.5) * size / 512 - 0.5
    width = max(step, 1.0)
    reach = torch.arange(-int(width) - 1, int(width) + 2, device=device)
    taps = centre.round()[:, None] + reach
    weights = (1 - (taps - centre[:, None]).abs() / width).clamp_min(0)
    weights = weights / weights.sum(1, keepdim=True)
    matrix = torch.zeros(out_size, size, device=device, dtype=torch.float64)
    return matrix.scatter_add_(1, taps.clamp(0, size - 1).long(), weights).to(dtype)


def recognition_crop(images: Tensor, size: int = 112) -> Tensor:
    """The face recognition crop of FFHQ-aligned faces: (B,3,S,S) RGB [0,1], S >= 32 -> (B,3,size,size).

    One fixed affine (see ZOOM), whatever the resolution S of the same crop; differentiable; computed in float32 at least.
    """
    _check_images(images)
    dtype = torch.promote_types(images.dtype, torch.float32)
    options = {"device": images.device, "dtype": dtype}
    rows = resampling_weights(images.shape[-1], SHIFT_Y, size, **options)
    columns = resampling_weights(images.shape[-1], SHIFT_X, size, **options)
    return rows @ images.to(dtype) @ columns.T


def _check_images(images: Tensor) -> None:
    if not images.is_floating_point():
        raise CLRFaceError(f"Expected images as floats in [0,1], got {images.dtype}: convert and divide by 255 first.")
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[1] != 3:
        raise CLRFaceError(f"Expected aligned faces of shape (B,3,S,S), got {shape}: stack RGB crops along a batch axis.")
    if shape[2] != shape[3] or shape[2] < SMALLEST_CROP:
        raise CLRFaceError(
            f"Expected square aligned faces of at least {SMALLEST_CROP} px, got {shape[3]}x{shape[2]}: align the faces first."
        )


class IdentityNet(nn.Module):
    """A frozen recognition network: (B,3,S,S) FFHQ-aligned RGB crops in [0,1], any S >= 32 -> (B,D) unit vectors.

    Differentiable in the image, never in its own weights; always in eval mode. Runs in the dtype of its weights,
    and returns float32 so that cosines stay exact.
    """

    def __init__(self, backbone: nn.Module, *, name: str, scale: float, offset: float) -> None:
        """`backbone` takes (B,3,112,112) RGB as `scale * pixel + offset` for pixels in [0,1]."""
        super().__init__()
        self.name = name
        self.scale, self.offset = scale, offset
        self.backbone = backbone.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> "IdentityNet":
        """Stays in eval mode, also as part of a network that is being trained."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        crop = recognition_crop(images) * self.scale + self.offset
        embedding = self.backbone(crop.to(next(self.backbone.parameters()).dtype))
        return functional.normalize(embedding.to(torch.promote_types(embedding.dtype, torch.float32)), dim=1)


def identity_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Cosine between embeddings (B,D) and (B,D) -> (B,), in [-1,1]: 1 is the same face."""
    return functional.cosine_similarity(a.float(), b.float(), dim=1)


def load_identity(
    name: str = "sface",
    *,
    weights: Path | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> IdentityNet:
    """The identity network `sface` (bundled), on `device` in `dtype`; `weights` replaces its file."""
    if name != "sface":
        raise CLRFaceError(f"Expected the identity network 'sface', got {name!r}.")
    net = IdentityNet(load_sface(Path(weights or SFACE_WEIGHTS)), name="sface", scale=255.0, offset=0.0)
    return net.to(device=device, dtype=dtype)
