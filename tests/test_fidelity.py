"""What is coarse comes from the estimate, what is fine from the refinement, and nothing jumps at the border."""

import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from clrface_core import CLRFaceError, Sampling
from clrface_core.fidelity import keep_estimate, low_pass


@pytest.fixture
def faces() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    estimate = torch.nn.functional.interpolate(torch.rand(2, 3, 8, 8, generator=generator), 128, mode="bilinear")
    return (0.2 + 0.5 * estimate + 0.1 * torch.rand(2, 3, 128, 128, generator=generator)), 0.2 + 0.5 * estimate


@pytest.mark.parametrize("sigma", [0.5, 2.0, 3.9])
def test_it_is_a_gaussian_mirrored_at_the_border(faces: tuple[Tensor, Tensor], sigma: float) -> None:
    expected = gaussian_filter(faces[0][0, 0].numpy(), sigma, mode="mirror", radius=-int(-3 * sigma // 1))
    torch.testing.assert_close(low_pass(faces[0], sigma)[0, 0], torch.from_numpy(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("sigma", [8.0, 20.0, 300.0])
def test_a_wide_one_is_nearly_that_on_a_reduced_picture(faces: tuple[Tensor, Tensor], sigma: float) -> None:
    blurred = low_pass(faces[0], sigma)[0, 0]
    expected = torch.from_numpy(gaussian_filter(faces[0][0, 0].numpy(), sigma, mode="mirror"))
    assert blurred.shape == expected.shape and float((blurred - expected).abs().mean()) < 0.02


def test_the_ends_are_the_estimate_and_the_refinement(faces: tuple[Tensor, Tensor]) -> None:
    refined, estimate = faces
    assert torch.equal(keep_estimate(refined, estimate, 0.0), refined)
    assert torch.equal(keep_estimate(refined, estimate, 1.0), estimate)
    distances = [float((keep_estimate(refined, estimate, f) - estimate).square().mean()) for f in (0.0, 0.3, 0.8, 1.0)]
    assert distances == sorted(distances, reverse=True) and distances[0] > distances[2] > 0


def test_colour_and_border_are_the_estimates(faces: tuple[Tensor, Tensor]) -> None:
    """A bluish frame along the border, as the refiner puts it on light backgrounds, is gone."""
    _, estimate = faces
    refined = estimate.clone()
    refined[:, 2, :6] += 0.06
    refined[:, :, :, -6:] += 0.05
    kept = keep_estimate(refined, estimate, Sampling().fidelity)
    frame = torch.ones(128, 128, dtype=torch.bool)
    frame[6:-6, 6:-6] = False

    def error(faces: Tensor) -> float:
        return 255 * float((faces[..., frame].mean(-1) - estimate[..., frame].mean(-1)).abs().max())

    assert error(refined) > 5 and error(kept) < 1.5


def test_the_fine_detail_of_the_refinement_stays(faces: tuple[Tensor, Tensor]) -> None:
    refined, estimate = faces
    kept = keep_estimate(refined, estimate, Sampling().fidelity)
    fine = [float((x - low_pass(x, 0.5)).std()) for x in (estimate, refined, kept)]
    assert fine[2] > 0.95 * fine[1] > 3 * fine[0]


@pytest.mark.parametrize("fidelity", [-0.1, 1.1, float("nan")])
def test_it_lies_between_0_and_1(faces: tuple[Tensor, Tensor], fidelity: float) -> None:
    with pytest.raises(CLRFaceError, match=r"^Expected a fidelity from 0 to 1, got .*: .*\.$"):
        keep_estimate(*faces, fidelity)
    with pytest.raises(CLRFaceError, match="fidelity"):
        Sampling(fidelity=fidelity)
