"""Reference photos for training: another photo of the person where there is one, else the face itself, disguised."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..degrade import MILD, draw
from ..picture import FACE_SIZE
from ..shards import StoredFace


def mates(faces: list[StoredFace]) -> dict[int, list[int]]:
    """For each picture of which there is another of the person, where those lie in `faces`."""
    people: dict[str, list[int]] = {}
    for index, face in enumerate(faces):
        if face.key.count("-") >= 2:
            people.setdefault(face.person, []).append(index)
    return {
        index: [other for other in photos if other != index]
        for photos in people.values()
        for index in photos
        if len(photos) > 1
    }


def disguised(face: Tensor, rng: np.random.Generator) -> Tensor:
    """The face (3,S,S) in [0,1] as another photo might show it, so that no pixel of it can be copied.

    Warped smoothly by up to 4 % of the side, often with a hole, and mildly degraded.
    """
    face = warped(face, rng)
    if rng.random() < 0.4:
        face = erased(face, rng)
    degradation = draw(replace(MILD, reduction=(0.8, 4.0), sigma=(0.1, 4.0)), int(rng.integers(2**31)))
    return degradation.scaled(face.shape[1] / FACE_SIZE).apply(face)


def warped(face: Tensor, rng: np.random.Generator, most: float = 0.04) -> Tensor:
    """Each point of (3,S,S) moved by up to `most` of the side, its neighbours with it: a 5 x 5 net, enlarged."""
    side = face.shape[1]
    net = torch.from_numpy(rng.uniform(-2 * most, 2 * most, size=(1, 2, 5, 5)).astype(np.float32))
    moved = F.interpolate(net, (side, side), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    identity = F.affine_grid(torch.eye(2, 3)[None], [1, 3, side, side], align_corners=False)
    found = F.grid_sample(face[None], identity + moved, mode="bilinear", padding_mode="reflection", align_corners=False)
    return found[0]


def erased(face: Tensor, rng: np.random.Generator) -> Tensor:
    """A rectangle of 0.15 to 0.4 of the side in the mean colour of (3,S,S)."""
    side = face.shape[1]
    height, width = (int(side * part) for part in rng.uniform(0.15, 0.4, size=2))
    top, left = int(rng.integers(side - height)), int(rng.integers(side - width))
    face = face.clone()
    face[:, top : top + height, left : left + width] = face.mean((1, 2), keepdim=True)
    return face
