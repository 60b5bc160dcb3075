"""The training terms are what evaluation measures."""

import numpy as np
import pytest
import torch

from clrface_core.evaluation.metrics.pixels import psnr
from clrface_core.training.losses import negative_psnr


def test_the_psnr_term_is_minus_the_psnr_that_evaluation_reports() -> None:
    pytest.importorskip("skimage")
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(2, 3, 16, 16, generator=generator)
    restored = clean + torch.tensor([0.01, 0.2]).reshape(2, 1, 1, 1) * torch.randn(clean.shape, generator=generator)
    reported = [psnr(restored[i : i + 1], clean[i : i + 1]) for i in range(2)]
    assert float(negative_psnr(restored, clean)) == pytest.approx(-np.mean(reported), abs=1e-4)
    assert float(negative_psnr(clean, clean)) == pytest.approx(-50)
