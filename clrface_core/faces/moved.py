"""Whether a restored face is still the face that was found: its points stay where they were."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .align import FFHQ_TEMPLATE_512, Alignment
from .detect import Detector, Face

SIDE = 128
"""Of the reduced crops that the network is shown, in which faces have the size that it knows best."""
LEAST_SCORE = 0.5
"""Of a face in a restored crop: those of 160 restored held-out faces were seen with 0.91 and more."""
MOST = 0.3
"""Mean distance of the five points, in distances of the eyes: of those faces, degraded in the standard range too, no
points were further than 0.14 from the truth's; the detector's own error on the degraded face comes on top."""
EYES = float(FFHQ_TEMPLATE_512[1, 0] - FFHQ_TEMPLATE_512[0, 0]) / 512


def moved(detector: Detector, restored: Tensor, alignment: Alignment, faces: Sequence[Face]) -> list[bool]:
    """For each restored crop (N,3,S,S) whether the face in it is gone, or elsewhere than the one that was found.

    A detector without `look` cannot tell, and nothing is said to have moved. About 3 ms a face on a CPU.
    """
    look = getattr(detector, "look", None)
    if look is None or not len(restored):
        return [False] * len(restored)
    scores, points = look(interpolate(restored.float(), (SIDE, SIDE), mode="area"))
    found = torch.stack([torch.from_numpy(face.landmarks).double() for face in faces])
    maps = alignment.for_crops(SIDE).matrices
    expected = found @ maps[:, :, :2].mT + maps[:, None, :, 2]
    distance = (points.double().cpu() - expected).norm(dim=-1).mean(1) / (EYES * SIDE)
    return ((scores.cpu() < LEAST_SCORE) | ~(distance <= MOST)).tolist()
