"""Small faces to measure on, and a metric that costs nothing."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from torch import Tensor
from torch.nn import functional

from clrface_core.evaluation.cases import Batch
from clrface_core.evaluation.compared.outputs import Output
from clrface_core.evaluation.metrics.catalogue import find_metrics
from clrface_core.evaluation.metrics.metric import Metric


@pytest.fixture
def faces(tmp_path: Path, smooth_picture: Any) -> Path:
    """A folder with three pictures of set b, two of set c, and something that is no picture.

    They are small, for quick tests; a real truth has 512 px.
    """
    folder = tmp_path / "faces"
    folder.mkdir()
    for index, (name, side) in enumerate([("b-2", 128), ("b-1", 128), ("b-3", 128), ("c-1", 64), ("c-2", 64)]):
        pixels = (smooth_picture(side, side, index) * 255).byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{name}.png")
    (folder / "notes.txt").write_text("not a picture")
    return folder


@pytest.fixture
def fast() -> list[Metric]:
    """Metrics without a network."""
    return find_metrics(names=["psnr", "ssim"])[0]


@pytest.fixture
def blur() -> Output:
    """A restorer of a kind."""
    return Output(lambda batch: _blurred(batch))


def _blurred(batch: Batch) -> Tensor:
    return functional.avg_pool2d(batch.degraded, 9, stride=1, padding=4, count_include_pad=False)
