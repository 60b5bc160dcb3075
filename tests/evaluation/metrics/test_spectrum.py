"""Texture beside the truth's."""

import pytest
import torch
from torch.nn import functional

from clrface_core.errors import CLRFaceError
from clrface_core.evaluation.metrics.spectrum import amplitudes, texture


def faces() -> torch.Tensor:
    return 0.5 + 0.05 * torch.randn(2, 3, 512, 512, generator=torch.Generator().manual_seed(0))


def test_the_truth_has_its_own_texture() -> None:
    truth = faces()
    torch.testing.assert_close(texture(truth, truth), torch.ones(2))
    torch.testing.assert_close(texture(0.5 + 2 * (truth - 0.5), truth), torch.full((2,), 2.0), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(texture(truth + 0.2, truth), torch.ones(2), rtol=1e-3, atol=1e-3)


def test_blur_takes_the_fine_bands_first() -> None:
    truth = faces()
    blurred = functional.avg_pool2d(functional.pad(truth, (1, 1, 1, 1), mode="reflect"), 3, stride=1)
    left = (amplitudes(blurred) / amplitudes(truth)).mean(0)
    assert left.tolist() == sorted(left.tolist(), reverse=True)
    assert left[0] > 0.9
    assert left[-1] < 0.35


def test_another_size_is_refused() -> None:
    with pytest.raises(CLRFaceError, match="512"):
        amplitudes(torch.rand(1, 3, 256, 256))
