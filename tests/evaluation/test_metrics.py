import pytest
import torch

from clrface_core.errors import CLRFaceError
from clrface_core.evaluation.metrics import LPIPS_FILES, load_lpips, lpips, psnr, ssim


@pytest.fixture
def noisy(smooth_picture):
    """A picture and the same with more and more noise: (1,3,64,64), (3,3,64,64)."""
    picture = smooth_picture(64, 64)[None]
    noise = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    return picture, torch.cat([(picture + noise * d).clamp(0, 1) for d in (0.02, 0.08, 0.3)])


def test_psnr_is_its_formula():
    black = torch.zeros(1, 3, 16, 16)
    steps = torch.stack([torch.full((3, 16, 16), value) for value in (1.0, 0.1, 0.01, 0.0)])
    assert psnr(steps, black).tolist() == pytest.approx([0, 20, 40, 100], abs=1e-4)


def test_ssim_of_constants_is_its_formula():
    a, b = torch.full((1, 3, 16, 16), 0.2), torch.full((1, 3, 16, 16), 0.6)
    assert ssim(a, b).item() == pytest.approx((2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4), abs=1e-6)


def test_ssim_of_itself_is_one_and_falls_with_noise(noisy):
    picture, worse = noisy
    values = ssim(torch.cat([picture, worse]), picture).tolist()
    assert values[0] == pytest.approx(1, abs=1e-9)
    assert values == sorted(values, reverse=True)
    assert values[3] < 0.5


def test_ssim_and_psnr_agree_with_scikit_image(noisy):
    metrics = pytest.importorskip("skimage.metrics")
    picture, worse = noisy
    truth = picture[0].permute(1, 2, 0).double().numpy()
    for index, candidate in enumerate(worse):
        other = candidate.permute(1, 2, 0).double().numpy()
        expected = metrics.structural_similarity(
            truth, other, data_range=1.0, channel_axis=2, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False,
        )  # fmt: skip
        assert ssim(worse, picture)[index].item() == pytest.approx(expected, abs=1e-6)
        expected = metrics.peak_signal_noise_ratio(truth, other, data_range=1.0)
        assert psnr(worse, picture)[index].item() == pytest.approx(expected, abs=1e-4)


def test_one_truth_or_one_for_each(noisy):
    picture, worse = noisy
    for metric in (psnr, ssim):
        assert torch.allclose(metric(worse, picture), metric(worse, picture.expand_as(worse)))


@pytest.mark.parametrize("net", ["vgg", "alex"])
def test_lpips_orders_noise_and_broadcasts(noisy, shared_weights, net):
    network = load_lpips(shared_weights(LPIPS_FILES[net]).parent, net)
    picture, worse = noisy
    values = lpips(torch.cat([picture, worse]), picture, network).tolist()
    assert values[0] == pytest.approx(0, abs=1e-6)
    assert values == sorted(values)
    assert 0.2 < values[3] < 2
    assert values[2] == pytest.approx(lpips(worse[1:2], picture, network).item(), abs=1e-4)


def test_missing_lpips_weights_are_named(tmp_path):
    with pytest.raises(CLRFaceError, match=r"lpips_vgg16\.safetensors"):
        load_lpips(tmp_path, "vgg")
    with pytest.raises(CLRFaceError, match="'vgg' or 'alex', got 'squeeze'"):
        load_lpips(tmp_path, "squeeze")


def test_mismatched_pictures_are_refused():
    with pytest.raises(CLRFaceError, match="of one size"):
        psnr(torch.rand(2, 3, 16, 16), torch.rand(1, 3, 16, 17))
    with pytest.raises(CLRFaceError, match="of one size"):
        ssim(torch.rand(3, 3, 16, 16), torch.rand(2, 3, 16, 16))
    with pytest.raises(CLRFaceError, match="at least 11 px"):
        ssim(torch.rand(1, 3, 10, 16), torch.rand(1, 3, 10, 16))
