"""Find the faces of a picture: what a face is, one interface over several networks, and faces that others found."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import CLRFaceError
from ..picture import check_picture
from .search.closeup import Detections, Pose, detect_at, tilt
from .search.retinaface import load_retinaface
from .search.scan import intersection_over_union, pyramid
from .search.search import search
from .search.yunet import load_yunet

Box = tuple[float, float, float, float]
"""(x0, y0, x1, y1) in pixels of the picture."""


@dataclass(frozen=True, eq=False)
class Face:
    """Where a face is, in pixels of its picture; the centre of the first pixel is (0, 0).

    box: (x0, y0, x1, y1), inside the picture.
    score: how sure the detector is, in [0, 1].
    landmarks: (5,2) float32: left eye, right eye, nose, left and right corner of the mouth, where "left" is the
        smaller x on an upright face, as in the FFHQ template. Points of a face at the edge may lie outside.
    """

    box: Box
    score: float
    landmarks: np.ndarray

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        x0, y0, x1, y1 = self.box
        return (x1 - x0) * (y1 - y0)

    @property
    def size(self) -> float:
        """The longer side of the box in pixels."""
        x0, y0, x1, y1 = self.box
        return max(x1 - x0, y1 - y0)

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


def order_key(by: str) -> Callable[[Face], tuple[float, ...]]:
    """A key that sorts faces: "area" (largest first), "left-right", "top-bottom" or "score" (surest first).

    Ties are broken by the coordinates of the box, then of the landmarks, so the order is the same however the
    faces came. Raises CLRFaceError on another name.
    """
    if by not in ORDERS:
        raise CLRFaceError(f"Expected an order of faces among {', '.join(ORDERS)}, got {by!r}: choose one of these.")
    return lambda face: (*ORDERS[by](face), *face.box, -face.score, *np.ravel(face.landmarks))


def order_faces(faces: Iterable[Face], by: str = "area") -> list[Face]:
    """The faces sorted by `order_key`."""
    return sorted(faces, key=order_key(by))


def check_threshold(score_threshold: float) -> None:
    """Raise CLRFaceError unless the lowest score of a face lies in (0,1)."""
    if not 0 < score_threshold < 1:
        raise CLRFaceError(f"Expected a score threshold between 0 and 1, got {score_threshold}: the usual one is 0.8.")


class Detector(Protocol):
    """Anything that finds faces."""

    def detect(self, image: Tensor, score_threshold: float) -> list[Face]:
        """The faces of an RGB picture (3,H,W) in [0,1] that are at least so sure, the largest first; [] for none."""
        ...


class NetworkDetector:
    """A detector made of a network and the search of `faces.search`.

    network: see `faces.search.scan.FaceNetwork`; it is moved to `device`, and put in evaluation mode.
    """

    def __init__(self, network: nn.Module, device: torch.device | str = "cpu"):
        self.network = network.eval().to(device)
        self.device = torch.device(device)

    @torch.inference_mode()
    def detect(self, image: Tensor, score_threshold: float) -> list[Face]:
        """The faces of an RGB picture (3,H,W) in [0,1] of any size and float dtype, the largest first.

        score_threshold: lowest score of a face, in (0,1). Scores are those of views in which every face is equally
        large and upright, so they fall little with size, blur and rotation: see `faces.search.closeup`.
        Raises CLRFaceError if `image` is not such a picture, or the threshold is out of range.
        """
        check_picture(image)
        check_threshold(score_threshold)
        found = search(self.network, image.to(self.device, torch.float32), score_threshold)
        height, width = image.shape[-2:]
        return order_faces(face for face in _as_faces(found, width, height) if face.area > 0)

    @torch.inference_mode()
    def follow(self, image: Tensor, face: Face) -> Face:
        """Where a face that was at about this place is in a picture (3,H,W), by a look at its surroundings only.

        Its score is low where it is no longer there; whose face it is is not asked. Some 20 ms on a CPU.
        """
        margin = AROUND * face.size
        left, top = max(int(face.centre[0] - margin), 0), max(int(face.centre[1] - margin), 0)
        right, bottom = (math.ceil(at + margin) + 1 for at in face.centre)
        part = image[:, top:bottom, left:right].to(self.device, torch.float32)
        if 0 in part.shape:
            return replace(face, score=0.0)
        points = torch.from_numpy(face.landmarks).to(part)[None]
        corner = part.new_tensor([[left, top]])
        pose = Pose(part.new_tensor([face.centre]) - corner, part.new_tensor([math.sqrt(face.area)]), tilt(points))
        found = _as_faces(detect_at(self.network, pyramid(part), pose), right - left, bottom - top)
        return _moved(found[0], left, top)

    @torch.inference_mode()
    def look(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """The surest face in each of some pictures (B,3,H,W) as they are: scores (B,), points (B,5,2) in pixels."""
        _, scores, points = self.network(crops.to(self.device, torch.float32))
        best = scores.argmax(1)
        rows = torch.arange(len(best), device=best.device)
        return scores[rows, best], points[rows, best]


def _as_faces(found: Detections, width: int, height: int) -> list[Face]:
    """What was found, its boxes within a picture of this size."""
    boxes = found.boxes()
    boxes = torch.minimum(boxes.clamp(min=-0.5), boxes.new_tensor([width, height, width, height]) - 0.5)
    rows = zip(boxes.tolist(), found.scores.tolist(), found.landmarks.cpu().numpy(), strict=True)
    return [Face((x0, y0, x1, y1), score, landmarks) for (x0, y0, x1, y1), score, landmarks in rows]


DETECTORS: dict[str, Callable[[Path | None], nn.Module]] = {
    "yunet": load_yunet,
    "retinaface_mobile0.25": lambda weights: load_retinaface("mobile0.25", weights),
    "retinaface_resnet50": lambda weights: load_retinaface("resnet50", weights),
}
"""Loaders of the networks by name: weights or None -> a network as `faces.search.scan.FaceNetwork` describes it."""


def load_detector(
    name: str = "yunet", *, weights: Path | str | None = None, device: torch.device | str = "cpu"
) -> NetworkDetector:
    """A face detector, ready to use. Nothing is downloaded.

    name: "yunet" (its weights come along), "retinaface_mobile0.25" or "retinaface_resnet50" (facexlib's).
    weights: a file in place of the embedded one, or of the one in facexlib's own weights folder.
    Raises CLRFaceError for an unknown name, or missing or unfit weights.
    """
    if name not in DETECTORS:
        raise CLRFaceError(f"Expected a detector among {', '.join(DETECTORS)}, got {name!r}: choose one of these.")
    return NetworkDetector(DETECTORS[name](None if weights is None else Path(weights)), device)


# Points of MediaPipe's 478-point mesh, by its own numbering; "left" and "right" as seen in the picture.
LEFT_EYE, RIGHT_EYE = (33, 133), (362, 263)
NOSE, LEFT_MOUTH, RIGHT_MOUTH = 1, 61, 291

MARGIN = 0.4
"""How much of a box's size is added on each side before its face is looked for."""

AROUND = 1.25
"""How far from its centre a face is followed to, in sizes of its box."""

LEAST_SHARED = 0.1
"""Intersection over union with its box that a face in it has at least."""


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


def faces_in_boxes(image: Tensor, boxes: Iterable[Box], detector: Detector, score_threshold: float) -> list[Face]:
    """The face of `image` (3,H,W) that fits each box (x0, y0, x1, y1) best; a box in which none is seen gives none."""
    seen = (_in_box(image, box, detector, score_threshold) for box in boxes)
    return [face for face in seen if face is not None]


def _in_box(image: Tensor, box: Box, detector: Detector, score_threshold: float) -> Face | None:
    height, width = image.shape[-2:]
    if len(box) != 4 or not (np.isfinite(box).all() and box[0] < box[2] and box[1] < box[3]):
        raise CLRFaceError(f"Expected a box as left < right and top < bottom in pixels, got {box}: correct it.")
    x0, y0, x1, y1 = box
    dx, dy = MARGIN * (x1 - x0), MARGIN * (y1 - y0)
    left, top = max(int(x0 - dx), 0), max(int(y0 - dy), 0)
    right, bottom = min(int(np.ceil(x1 + dx)), width), min(int(np.ceil(y1 + dy)), height)
    if right <= left or bottom <= top:
        return None
    found = [_moved(face, left, top) for face in detector.detect(image[:, top:bottom, left:right], score_threshold)]
    shared = intersection_over_union(torch.tensor(box), torch.tensor([face.box for face in found]).reshape(-1, 4))
    best = max(zip(shared.tolist(), found, strict=True), key=lambda pair: pair[0], default=(0.0, None))
    return best[1] if best[0] > LEAST_SHARED else None


def _moved(face: Face, x: int, y: int) -> Face:
    x0, y0, x1, y1 = face.box
    return Face((x0 + x, y0 + y, x1 + x, y1 + y), face.score, face.landmarks + np.array([x, y], np.float32))
