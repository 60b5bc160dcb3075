"""Find the faces of a picture: one interface over several networks."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from ..errors import CLRFaceError
from .face import Face, order_faces
from .retinaface import load_retinaface
from .search import FaceSearch
from .yunet import load_yunet

__all__ = ["DETECTORS", "Detector", "Face", "load_detector", "order_faces"]


class Detector(Protocol):
    """Anything that finds faces."""

    def detect(self, image: Tensor) -> list[Face]:
        """The faces of an RGB picture (3,H,W) in [0,1], the largest first; an empty list if there are none."""
        ...


DETECTORS: dict[str, Callable[[Path | None], nn.Module]] = {
    "yunet": load_yunet,
    "retinaface_mobile0.25": lambda weights: load_retinaface("mobile0.25", weights),
    "retinaface_resnet50": lambda weights: load_retinaface("resnet50", weights),
}
"""Loaders of the networks by name: weights or None -> a network as `faces.scan.FaceNetwork` describes it."""


def load_detector(
    name: str = "yunet",
    *,
    weights: Path | str | None = None,
    device: torch.device | str = "cpu",
    score_threshold: float = 0.75,
) -> Detector:
    """A face detector, ready to use. Nothing is downloaded.

    name: "yunet" (its weights come along), "retinaface_mobile0.25" or "retinaface_resnet50" (facexlib's).
    weights: a file in place of the embedded one, or of the one in facexlib's own weights folder.
    score_threshold: lowest score of a face, in (0, 1). Scores are those of close-up views in which every face is
        equally large and upright, so they fall little with size, blur and rotation: see `faces.search`.
    Raises CLRFaceError for an unknown name, a threshold out of range, or missing or unfit weights.
    """
    if name not in DETECTORS:
        raise CLRFaceError(f"Expected a detector among {', '.join(DETECTORS)}, got {name!r}: choose one of these.")
    if not 0 < score_threshold < 1:
        raise CLRFaceError(f"Expected a score threshold between 0 and 1, got {score_threshold}: the usual one is 0.75.")
    network = DETECTORS[name](None if weights is None else Path(weights))
    return FaceSearch(network, score_threshold=score_threshold, device=device)
