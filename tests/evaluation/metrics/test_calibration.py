"""Every metric on one fixed pair gives the number that the implementation it stands for gave there."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from clrface_core.errors import CLRFaceError
from clrface_core.evaluation import weights
from clrface_core.evaluation.metrics.catalogue import METRICS, Loader
from clrface_core.evaluation.metrics.distributions import fid, kid, load_inception
from clrface_core.evaluation.metrics.metric import Metric
from clrface_core.evaluation.metrics.pixels import psnr, ssim

ASTRONAUT = Path(__file__).parents[3] / "samples" / "clean" / "astronaut.jpg"
Weights = Callable[[str], Path]


@pytest.fixture(scope="module")
def pair() -> tuple[Tensor, Tensor]:
    """The astronaut at 512 px, halved twice and enlarged bilinearly; and as she is."""
    truth = torch.from_numpy(np.array(Image.open(ASTRONAUT))).permute(2, 0, 1)[None].float() / 255
    small = functional.avg_pool2d(truth, 4)
    enlarged = functional.interpolate(small, scale_factor=4, mode="bilinear", align_corners=False)
    return (enlarged * 255).round() / 255, truth


def load(name: str, find: Weights, *files: str) -> Metric:
    """The metric, or a skip where a file of its is missing."""
    folder = next(find(file).parent for file in files) if files else None
    return METRICS[name](Loader(folder, "cpu"))


def scores(metric: Metric, pair: tuple[Tensor, Tensor]) -> list[float]:
    described, truth = (metric.describe(picture) for picture in pair)
    return [score.of(described, truth) for score in metric.scores]


def test_psnr_is_its_formula() -> None:
    black = torch.zeros(1, 3, 16, 16)
    values = [psnr(torch.full_like(black, value), black) for value in (1.0, 0.1, 0.01, 0.0)]
    assert values == pytest.approx([0, 20, 40, 100], abs=1e-4)


def test_ssim_of_constants_is_its_formula() -> None:
    a, b = torch.full((1, 3, 16, 16), 0.2), torch.full((1, 3, 16, 16), 0.6)
    assert ssim(a, b) == pytest.approx((2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4), abs=1e-6)
    assert ssim(a, a) == pytest.approx(1, abs=1e-12)


def test_pairs_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(CLRFaceError, match="of one size"):
        psnr(torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 15))
    with pytest.raises(CLRFaceError, match="at least 11 px"):
        ssim(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))


def test_psnr_and_ssim_of_the_pair(pair: tuple[Tensor, Tensor]) -> None:
    assert psnr(*pair) == pytest.approx(24.719, abs=0.02)
    assert ssim(*pair) == pytest.approx(0.80744, abs=0.001)


def test_ssim_agrees_with_piq(pair: tuple[Tensor, Tensor]) -> None:
    library = pytest.importorskip("piq")
    expected = library.ssim(*(x.double() for x in pair), downsample=False)
    assert ssim(*pair) == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "file", "expected"),
    [("lpips-vgg", weights.LPIPS_VGG, 0.23915), ("lpips-alex", weights.LPIPS_ALEX, 0.30683)],
)
def test_lpips_as_its_authors_package_gives(
    pair: tuple[Tensor, Tensor], metric_weights: Weights, name: str, file: str, expected: float
) -> None:
    """lpips 0.1.4 on the same weights gave these numbers."""
    metric = load(name, metric_weights, file)
    assert scores(metric, pair) == pytest.approx([expected], abs=0.002)
    assert scores(metric, (pair[1], pair[1])) == pytest.approx([0], abs=1e-6)


def test_landmarks_as_face_api_gives(metric_weights: Weights) -> None:
    """face-api 1.7.15 in JavaScript: corner of the jaw of one picture of noise; all 136 numbers agreed to 5e-7."""
    from clrface_core.evaluation.metrics.landmarks import BOX, Landmarks

    network = weights.fill(Landmarks(), metric_weights(weights.LANDMARKS))
    noise = torch.rand(3, 112, 112, generator=torch.Generator().manual_seed(0)).mul(255).round() / 255
    picture = torch.zeros(1, 3, 180, 180)  # whose box is 112 px wide: nothing is resized
    left, top = (round(edge * 180 / 512) for edge in BOX[:2])
    picture[0, :, top : top + 112, left : left + 112] = noise
    with torch.no_grad():
        x, y = (network(picture)[0, 0] * 180 / 512).tolist()
    assert ((x - left) / 112, (y - top) / 112) == pytest.approx((0.198675, 0.216802), abs=1e-4)


def test_landmarks_move_with_the_face(pair: tuple[Tensor, Tensor], metric_weights: Weights) -> None:
    metric = load("lmd", metric_weights, weights.LANDMARKS)
    assert scores(metric, pair) == pytest.approx([5.0708], abs=0.1)
    assert scores(metric, (pair[1], pair[1])) == [0]


def test_inception_as_fid_helper_gives(pair: tuple[Tensor, Tensor], metric_weights: Weights) -> None:
    """The mean of its 2048 features."""
    metric = load("kid", metric_weights, weights.INCEPTION)
    assert metric.describe(pair[1][:, :, :299, :299]).mean() == pytest.approx(0.40871, abs=0.002)


def test_sface_of_the_pair(pair: tuple[Tensor, Tensor]) -> None:
    cosine, degrees = scores(METRICS["sface"](Loader(None, "cpu")), pair)
    assert cosine == pytest.approx(0.9598, abs=0.01)
    assert degrees == pytest.approx(np.degrees(np.arccos(cosine)), abs=1e-3)


def test_distributions_are_their_formulas() -> None:
    """Of Gaussians of one spread the Frechet distance is that of the means; KID of one source is next to nothing."""
    pytest.importorskip("torchmetrics", reason="the extra `evaluation` is not installed")
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(4000, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    assert fid(x, x) == pytest.approx(0, abs=1e-6)
    assert fid(x + 3, x) == pytest.approx(8 * 9, rel=1e-6)
    assert fid(x, y * 2) == pytest.approx(8, rel=0.05), "8 dimensions, deviations of 1 and 2"
    assert abs(kid(x[:1000], y[:1000])) < 20
    assert kid(x[:1000] + 1, y[:1000]) > 100


def test_kid_is_its_formula() -> None:
    """The unbiased estimate, written out: no pair of a set with itself within, all pairs between."""
    pytest.importorskip("torchmetrics", reason="the extra `evaluation` is not installed")
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(60, 32, generator=generator, dtype=torch.float64) ** power for power in (1, 2))
    within = [((a @ a.T / 32 + 1) ** 3).fill_diagonal_(0).sum() / (60 * 59) for a in (x, y)]
    expected = 1000 * float(sum(within) - 2 * ((x @ y.T / 32 + 1) ** 3).mean())
    assert kid(x, y) == pytest.approx(expected, rel=1e-9)


def test_another_file_is_never_run_as_inception(tmp_path: Path) -> None:
    (tmp_path / "inception_fid.pt").write_bytes(b"a program")
    with pytest.raises(CLRFaceError, match=r"got another file.*import_metric_weights"):
        load_inception(tmp_path / "inception_fid.pt", "cpu")
