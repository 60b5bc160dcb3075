"""FID and KID: how far a set of restored faces lies from the set of true ones, in Inception's features."""

from __future__ import annotations

import torch
from torch import Tensor

FID_FACES = 2048
"""With fewer faces than features the covariance is singular and FID says more about the count than about the faces."""


def kid(features: Tensor, truth: Tensor) -> float:
    """Unbiased squared MMD under the kernel (x.y/D + 1)^3 (Binkowski et al., arXiv 1801.01401), times 1000.

    (N,D) each, N at least 2. Over the whole set, not over drawn subsets: nothing is random. 0 where the sets cannot
    be told apart, and, being unbiased, as often below 0 as above it then.
    """
    x, y = features.double(), truth.double()

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(a: Tensor) -> Tensor:
        values = kernel(a, a)
        return (values.sum() - values.diagonal().sum()) / (len(a) * (len(a) - 1))

    return 1000 * float(within(x) + within(y) - 2 * kernel(x, y).mean())


def fid(features: Tensor, truth: Tensor) -> float:
    """Frechet distance of two Gaussians fitted to (N,D) and (M,D) (Heusel et al., arXiv 1706.08500)."""
    x, y = features.double(), truth.double()
    first, second = torch.cov(x.T), torch.cov(y.T)
    # The trace of the root of a product of covariances: its eigenvalues are real and at least 0, but for rounding.
    root = torch.linalg.eigvals(first @ second).real.clamp_min(0).sqrt().sum()
    return float((x.mean(0) - y.mean(0)).square().sum() + first.trace() + second.trace() - 2 * root)
