"""Who is it: face recognition networks behind one interface, from an FFHQ-aligned crop to a unit vector."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import CLRFaceError
from .arcface import find_arcface, load_arcface
from .sface import load_sface

SFACE_WEIGHTS = Path(__file__).resolve().parents[1] / "weights" / "sface.safetensors"

# FFHQ-512 pixel (x, y) lands on the 112 px recognition crop at (ZOOM * x + SHIFT_X, ZOOM * y + SHIFT_Y);
# whole numbers are pixel centres, as in both templates. It lies inside the FFHQ crop: no border is ever met.
ZOOM, SHIFT_X, SHIFT_Y = 0.2921, -18.9301, -17.86

SMALLEST_CROP = 32


def recognition_crop(images: Tensor, size: int = 112) -> Tensor:
    """The recognition crop of FFHQ-aligned faces: (B,3,S,S) RGB [0,1], S >= 32 -> (B,3,size,size).

    One fixed affine (see ZOOM), the same picture content whatever S is. Differentiable; float32 at least.
    """
    _check_images(images)
    dtype = torch.promote_types(images.dtype, torch.float32)
    rows, columns = (
        _resampling_matrix(images.shape[-1], shift, size, images.device).to(dtype) for shift in (SHIFT_Y, SHIFT_X)
    )
    return rows @ images.to(dtype) @ columns.T


def _resampling_matrix(crop_size: int, shift: float, size: int, device: torch.device) -> Tensor:
    """(size, crop_size) float32: one axis of the affine, by a triangle filter that widens with the reduction.

    That width makes it area-like (Pillow's BILINEAR); it is plain bilinear where the face is enlarged.
    """
    wanted = (torch.arange(size, device=device) + 0.5) * (112 / size) - 0.5
    centre = ((wanted - shift) / ZOOM + 0.5) * (crop_size / 512) - 0.5
    width = max(112 / size / ZOOM * crop_size / 512, 1.0)
    distance = (torch.arange(crop_size, device=device) - centre[:, None]).abs()
    weights = (1 - distance / width).clamp_min(0)
    return weights / weights.sum(1, keepdim=True)


def _check_images(images: Tensor) -> None:
    shape = tuple(images.shape)
    if not images.is_floating_point():
        raise CLRFaceError(f"Expected images as floats in [0,1], got {images.dtype}: divide by 255 first.")
    if len(shape) != 4 or shape[1] != 3:
        raise CLRFaceError(f"Expected aligned faces of shape (B,3,S,S), got {shape}: stack RGB crops in a batch.")
    if shape[2] != shape[3] or shape[2] < SMALLEST_CROP:
        raise CLRFaceError(
            f"Expected square aligned faces of at least {SMALLEST_CROP} px, got {shape[3]}x{shape[2]}: "
            "align the faces first."
        )


class IdentityNet(nn.Module):
    """A frozen recognition network: FFHQ-aligned faces in, unit vectors out, near each other for one person.

    Differentiable in the image, never in its own weights; always in eval mode, also inside a network in
    training. Computes in the dtype of its weights and returns float32, so that cosines stay exact.
    """

    def __init__(
        self, backbone: nn.Module, name: str, *, scale: float = 1.0, offset: float = 0.0, bgr: bool = False
    ) -> None:
        """`backbone` maps (B,3,112,112), each pixel being `scale * pixel + offset` of [0,1], to (B,D)."""
        super().__init__()
        self.name = name
        self.scale, self.offset, self.bgr = scale, offset, bgr
        self.backbone = backbone.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> "IdentityNet":
        """Stays in eval mode whatever `mode` says."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """(B,3,S,S) RGB in [0,1], S >= 32 -> (B,D) of length 1. CLRFaceError for other input."""
        crop = recognition_crop(images) * self.scale + self.offset
        crop = crop.flip(1) if self.bgr else crop
        embedding = self.backbone(crop.to(next(self.backbone.parameters()).dtype))
        return functional.normalize(embedding.to(torch.promote_types(embedding.dtype, torch.float32)), dim=1)


def identity_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of embeddings (B,D) and (B,D) -> (B,) in [-1,1], 1 is the same face; B may be 1 on one side."""
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or (len(a) != len(b) and 1 not in (len(a), len(b))):
        raise CLRFaceError(
            f"Expected two batches of embeddings (B,D), got {tuple(a.shape)} and {tuple(b.shape)}: "
            "compare embeddings of one identity network."
        )
    return functional.cosine_similarity(a.float(), b.float(), dim=1)


def load_identity(
    name: str = "sface",
    *,
    weights: Path | str | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> IdentityNet:
    """The identity network `sface` (128-d, bundled) or `arcface` (512-d, facexlib's IR-SE50, needs its file).

    `weights`: a file in place of the bundled one, or of the one in facexlib's own folder. Downloads nothing.
    CLRFaceError for an unknown name, and where the file is missing, unreadable or of another network.
    """
    if name == "sface":
        net = IdentityNet(load_sface(Path(weights or SFACE_WEIGHTS)), name, scale=255.0)
    elif name == "arcface":
        net = IdentityNet(load_arcface(find_arcface(weights)), name, scale=2.0, offset=-1.0, bgr=True)
    else:
        raise CLRFaceError(f"Expected the identity network 'sface' or 'arcface', got {name!r}: use one of the two.")
    return net.to(device=device, dtype=dtype)
