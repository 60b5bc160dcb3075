"""Find faces of any size, sharpness and rotation with a network that knows sharp upright ones best.

1. Scan the picture at every scale from its own down to 128 px, in tiles, with a low threshold: candidates. A face
   is found where it is some 30 to 100 px large; there a blurred one is sharp again, and one on its side still shows.
2. Examine each candidate in close-up views turned to every side: most turn out to be nothing, the others get their
   rotation, points and score (`faces.closeup`).
3. Small faces on their side escape the upright scan. If the faces found are turned, scan the picture turned so as
   well; if none was found, scan it turned each way, up to 1024 px. A photo with upright faces skips this step.
"""

import math

import torch
from torch import Tensor, nn

from .align import check_image
from .closeup import Sight, examine
from .face import Face, order_faces
from .scan import TILE, Level, pyramid, scan

CANDIDATE = 0.2
"""Lowest score of a candidate in the upright scan, which must also notice turned faces."""

TURNED_CANDIDATE = 0.5
"""Lowest score of a candidate in a turned scan, which is for faces upright in it."""

OVERLAP = 0.35
"""Of candidates that overlap by more than this (intersection over union) only the surest is examined."""

APART = 0.4
"""The centres of two faces are at least this far apart, in sizes of the larger one; else it is one face seen twice."""

MOST = 500
"""Candidates examined per scan, the surest first: it bounds the time on noise, in which there may be thousands."""


class FaceSearch:
    """A detector made of a network and the three steps above.

    network: see `faces.scan.FaceNetwork`; it is moved to `device`, and put in evaluation mode.
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
        levels = pyramid(image.to(self.device, torch.float32))
        seen = self._search(levels, 0)
        for turn in turns_worth_a_scan(seen.angle):
            further = levels if len(seen) else [level for level in levels if max(level.pixels.shape[-2:]) <= TILE]
            seen = distinct(Sight.cat([seen, self._search(further, turn)]))
        return order_faces(_faces(seen, *image.shape[-2:]))

    def _search(self, levels: list[Level], turn: int) -> Sight:
        """The faces of a picture shown turned by so many quarter turns."""
        threshold = TURNED_CANDIDATE if turn else CANDIDATE
        boxes, _ = scan(self.network, levels, threshold, OVERLAP, MOST, turn)
        seen = examine(self.network, levels, boxes)
        return distinct(seen[seen.scores >= self.score_threshold])


def distinct(seen: Sight) -> Sight:
    """The faces without those that are a surer one seen again, the surest first.

    It goes by centres and not by boxes: faces side by side may overlap much, one face seen at two scales little.
    """
    seen = seen[seen.scores.argsort(descending=True, stable=True)]
    size = seen.pose().size
    near = torch.cdist(seen.centre, seen.centre) < APART * torch.maximum(size[:, None], size)
    kept: list[int] = []
    for i, row in enumerate(near.tolist()):
        if not any(row[j] for j in kept):
            kept.append(i)
    return seen[torch.tensor(kept, dtype=torch.long, device=size.device)]


def turns_worth_a_scan(angles: Tensor) -> list[int]:
    """Quarter turns, counter-clockwise, in which faces at these angles (N,) are upright, 0 left out; all if N = 0."""
    if not len(angles):
        return [1, 2, 3]
    return sorted({round(angle / (math.pi / 2)) % 4 for angle in angles.tolist()} - {0})


def _faces(seen: Sight, height: int, width: int) -> list[Face]:
    boxes = seen.boxes()
    limit = boxes.new_tensor([width, height, width, height]) - 0.5
    boxes = torch.minimum(boxes.clamp(min=-0.5), limit)
    rows = zip(boxes.tolist(), seen.scores.tolist(), seen.landmarks.cpu().numpy(), strict=True)
    faces = [Face((x0, y0, x1, y1), score, landmarks) for (x0, y0, x1, y1), score, landmarks in rows]
    return [face for face in faces if face.area > 0]
