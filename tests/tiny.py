"""What tests of the flow and the command share: a detector that finds what it was given, faces simply said to be there,
and picture files."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.nn import functional

from clrface_core.faces.align import FFHQ_TEMPLATE_512
from clrface_core.faces.detect import Face

SIDE = 64
"""Side of the crops of the tiny model."""


def face_at(x: float, y: float, size: float) -> Face:
    """An upright face whose aligned crop is the square of this size at (x, y)."""
    landmarks = (FFHQ_TEMPLATE_512 * (size / 512) + np.array([x, y])).astype(np.float32)
    return Face((x, y, x + size, y + size), 0.9, landmarks)


class Given:
    """A detector that finds what it was given."""

    def __init__(self, *faces: Face) -> None:
        self.faces = list(faces)

    def detect(self, image: Tensor, score_threshold: float) -> list[Face]:
        return self.faces


def picture(path: Path, mode: str = "RGB", size: tuple[int, int] = (40, 30), seed: int = 0, **options: Any) -> Path:
    """A file of noise at `path`, in folders made for it; options: Pillow's for saving."""
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).convert(mode).save(path, **options)
    return path


def files_in(folder: Path) -> list[str]:
    """Every file in the folder and those below it, as sorted relative paths."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


class Colours:
    """A recognition network of a kind: a face is who its mean colours, corner by corner, say; differentiable."""

    name = "sface"

    def __call__(self, images: Tensor) -> Tensor:
        corners = functional.adaptive_avg_pool2d(images.float(), 2).flatten(1) - 0.5
        return functional.normalize(corners, dim=1)
