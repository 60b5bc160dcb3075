"""Find the faces of a picture: what a face is, one interface over several networks, and faces that others found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import CLRFaceError
from .align import check_image
from .search.closeup import Sight
from .search.retinaface import load_retinaface
from .search.search import search
from .search.yunet import load_yunet


@dataclass(frozen=True, eq=False)
class Face:
    """Where a face is, in pixels of its picture; the centre of the first pixel is (0, 0).

    box: (x0, y0, x1, y1), inside the picture.
    score: how sure the detector is, in [0, 1].
    landmarks: (5,2) float32: left eye, right eye, nose, left and right corner of the mouth, where "left" is the
        smaller x on an upright face, as in the FFHQ template. Points of a face at the edge may lie outside.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: np.ndarray

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        x0, y0, x1, y1 = self.box
        return (x1 - x0) * (y1 - y0)

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the box (x, y)."""
        x0, y0, x1, y1 = self.box
        return (x0 + x1) / 2, (y0 + y1) / 2


ORDERS: dict[str, Callable[[Face], tuple[float, ...]]] = {
    "area": lambda face: (-face.area,),
    "left-right": lambda face: face.centre,
    "top-bottom": lambda face: face.centre[::-1],
    "score": lambda face: (-face.score,),
}


def order_faces(faces: Iterable[Face], by: str = "area") -> list[Face]:
    """The faces sorted: "area" (largest first), "left-right", "top-bottom" or "score" (surest first).

    Ties are broken by the coordinates of the box, then of the landmarks, so the order is the same however the
    faces came. Raises CLRFaceError on another name.
    """
    if by not in ORDERS:
        raise CLRFaceError(f"Expected an order of faces among {', '.join(ORDERS)}, got {by!r}: choose one of these.")
    return sorted(faces, key=lambda face: (*ORDERS[by](face), *face.box, -face.score, *np.ravel(face.landmarks)))


class Detector(Protocol):
    """Anything that finds faces."""

    def detect(self, image: Tensor) -> list[Face]:
        """The faces of an RGB picture (3,H,W) in [0,1], the largest first; an empty list if there are none."""
        ...


class FaceSearch:
    """A detector made of a network and the search of `faces.search.search`.

    network: see `faces.search.scan.FaceNetwork`; it is moved to `device`, and put in evaluation mode.
    score_threshold: lowest score of a face.
    """

    def __init__(self, network: nn.Module, *, score_threshold: float = 0.75, device: torch.device | str = "cpu"):
        self.network = network.eval().to(device)
        self.score_threshold = score_threshold
        self.device = torch.device(device)

    @torch.inference_mode()
    def detect(self, image: Tensor) -> list[Face]:
        """The faces of an RGB picture (3,H,W) in [0,1] of any size and float dtype, the largest first.

        Raises CLRFaceError if `image` is not such a picture.
        """
        check_image(image)
        seen = search(self.network, image.to(self.device, torch.float32), self.score_threshold)
        return order_faces(_faces(seen, *image.shape[-2:]))


def _faces(seen: Sight, height: int, width: int) -> list[Face]:
    boxes = seen.boxes()
    limit = boxes.new_tensor([width, height, width, height]) - 0.5
    boxes = torch.minimum(boxes.clamp(min=-0.5), limit)
    rows = zip(boxes.tolist(), seen.scores.tolist(), seen.landmarks.cpu().numpy(), strict=True)
    faces = [Face((x0, y0, x1, y1), score, landmarks) for (x0, y0, x1, y1), score, landmarks in rows]
    return [face for face in faces if face.area > 0]


DETECTORS: dict[str, Callable[[Path | None], nn.Module]] = {
    "yunet": load_yunet,
    "retinaface_mobile0.25": lambda weights: load_retinaface("mobile0.25", weights),
    "retinaface_resnet50": lambda weights: load_retinaface("resnet50", weights),
}
"""Loaders of the networks by name: weights or None -> a network as `faces.search.scan.FaceNetwork` describes it."""


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


# Points of MediaPipe's 478-point mesh, by its own numbering; "left" and "right" as seen in the picture.
LEFT_EYE, RIGHT_EYE = (33, 133), (362, 263)
NOSE, LEFT_MOUTH, RIGHT_MOUTH = 1, 61, 291

MARGIN = 0.4
"""How much of a box's size is added on each side before its face is looked for."""


def from_mesh(points: np.ndarray, score: float = 1.0) -> Face:
    """A face of MediaPipe's landmarks (478,2) or (468,2), in pixels."""
    points = np.asarray(points, np.float32)
    if points.ndim != 2 or points.shape[0] < 468 or points.shape[1] < 2 or not np.isfinite(points).all():
        raise CLRFaceError(
            f"Expected face landmarks (468 or 478, 2) in pixels, got {points.shape}: connect those of MediaPipe."
        )
    points = points[:, :2]
    five = [points[list(LEFT_EYE)].mean(0), points[list(RIGHT_EYE)].mean(0)]
    five += [points[NOSE], points[LEFT_MOUTH], points[RIGHT_MOUTH]]
    (x0, y0), (x1, y1) = points.min(0), points.max(0)
    return Face((float(x0), float(y0), float(x1), float(y1)), float(score), np.stack(five))


def in_box(image: Tensor, box: tuple[float, float, float, float], detector: Detector) -> Face | None:
    """The face of `image` (3,H,W) that fits `box` (x0, y0, x1, y1) best, or None where none is seen there."""
    height, width = image.shape[-2:]
    x0, y0, x1, y1 = box
    dx, dy = MARGIN * (x1 - x0), MARGIN * (y1 - y0)
    left, top = max(int(x0 - dx), 0), max(int(y0 - dy), 0)
    right, bottom = min(int(np.ceil(x1 + dx)), width), min(int(np.ceil(y1 + dy)), height)
    if right <= left or bottom <= top:
        return None
    found = detector.detect(image[:, top:bottom, left:right])
    moved = [_moved(face, left, top) for face in found]
    fitting = [face for face in moved if _overlap(face.box, box) > 0.1]
    return max(fitting, key=lambda face: _overlap(face.box, box), default=None)


def _moved(face: Face, x: int, y: int) -> Face:
    x0, y0, x1, y1 = face.box
    return Face((x0 + x, y0 + y, x1 + x, y1 + y), face.score, face.landmarks + np.array([x, y], np.float32))


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both + 1e-9)
