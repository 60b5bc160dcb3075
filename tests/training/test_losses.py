"""The training terms are what evaluation measures."""

import numpy as np
import pytest
import torch

from clrface_core.evaluation.metrics.pixels import psnr
from clrface_core.training.losses import negative_psnr, spectrum


def test_the_psnr_term_is_minus_the_psnr_that_evaluation_reports() -> None:
    pytest.importorskip("skimage")
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(2, 3, 16, 16, generator=generator)
    restored = clean + torch.tensor([0.01, 0.2]).reshape(2, 1, 1, 1) * torch.randn(clean.shape, generator=generator)
    reported = [psnr(restored[i : i + 1], clean[i : i + 1]) for i in range(2)]
    assert float(negative_psnr(restored, clean)) == pytest.approx(-np.mean(reported), abs=1e-4)
    assert float(negative_psnr(clean, clean)) == pytest.approx(-50)


def test_the_spectrum_asks_how_much_texture_there_is_and_not_where() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = 0.5 + 0.05 * torch.randn(2, 3, 96, 96, generator=generator)
    elsewhere = truth.roll((32, 64), (2, 3))  # whole tiles: the same texture in other places of the face
    smooth = torch.nn.functional.avg_pool2d(truth, 5, stride=1, padding=2)
    noisy = truth + 0.05 * torch.randn(truth.shape, generator=generator)
    assert float(spectrum(truth, truth)) == 0
    assert float(spectrum(elsewhere, truth)) < 0.5
    assert float(spectrum(smooth, truth)) > 1.5
    assert float(spectrum(noisy, truth)) > float(spectrum(elsewhere, truth)) + 0.1
    flat = torch.full((1, 3, 64, 64), 0.5)
    assert float(spectrum(flat + 1e-4 * torch.randn(flat.shape, generator=generator), flat)) < 0.01


def test_a_mesh_is_no_hair_though_its_rings_have_the_power_of_hair() -> None:
    generator = torch.Generator().manual_seed(0)
    hair, other = (0.5 + 0.14 * torch.randn(1, 1, 96, 96, generator=generator).expand(-1, 3, -1, -1) for _ in range(2))
    row, column = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    mesh = 0.5 + 0.1 * (torch.cos(torch.pi / 2 * (row + column)) + torch.cos(torch.pi / 2 * (row - column)))
    assert float(spectrum(mesh.expand(1, 3, -1, -1), hair)) > 5 * float(spectrum(other, hair))
