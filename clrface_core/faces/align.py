"""Cut faces out of a photo, turned and scaled onto the FFHQ template by a least-squares similarity.

Coordinates follow `faces.warp`: pixel centres at whole numbers, a picture covers [-0.5, W - 0.5].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..errors import CLRFaceError
from ..picture import FACE_SIZE, check_picture
from .warp import compose, inverse, resizing, warp

FFHQ_TEMPLATE_512 = np.array(
    [
        [192.98138, 239.94708],
        [318.90277, 240.1936],
        [256.63416, 314.01935],
        [201.26117, 371.41043],
        [313.08905, 371.15118],
    ]
)
"""Eyes, nose and mouth corners (5,2), left to right in the picture, in a 512 px crop aligned as FFHQ is."""


class Landmarked(Protocol):
    """Anything with five landmarks (5,2) in pixels of the photo, such as a detected face."""

    @property
    def landmarks(self) -> np.ndarray: ...


Faces = Sequence[Landmarked] | Sequence[np.ndarray] | np.ndarray | Tensor


@dataclass(frozen=True)
class Alignment:
    """Where each crop lies in its photo.

    matrices: (N,2,3) float64 on the CPU, photo pixel coordinates -> crop pixel coordinates.
    size: side of the square crops for which the matrices hold, in pixels.
    image_size: (height, width) of the photo.
    landmarks: (N,5,2) float64, each face's own points in the crop, as fractions of its side; None is the template's.
    """

    matrices: Tensor
    size: int
    image_size: tuple[int, int]
    landmarks: Tensor | None = None

    def __len__(self) -> int:
        return len(self.matrices)

    def select(self, indices: Sequence[int]) -> Alignment:
        """The alignment of these faces only, in this order."""
        rows = torch.as_tensor(indices, dtype=torch.long)
        landmarks = None if self.landmarks is None else self.landmarks[rows]
        return replace(self, matrices=self.matrices[rows], landmarks=landmarks)

    def joined(self, others: Sequence[Alignment]) -> Alignment:
        """These faces and those of others, of photos of the same size."""
        parts = [self, *others]
        known = [each.landmarks for each in parts if each.landmarks is not None]
        return replace(
            self,
            matrices=torch.cat([each.matrices for each in parts]),
            landmarks=torch.cat(known) if len(known) == len(parts) else None,
        )

    def side(self, index: int) -> float:
        """Side of the crop's square in the photo, in pixels of the photo: how large the face came."""
        return self.size / float(torch.linalg.vector_norm(self.matrices[index, :, 0]))

    def for_crops(self, size: int) -> Alignment:
        """The same faces in crops resized to `size` pixels."""
        scale = size / self.size
        return replace(self, matrices=compose(resizing(scale, scale), self.matrices), size=size)

    def for_image(self, image_size: tuple[int, int]) -> Alignment:
        """The same faces in the whole photo resized to `image_size` (height, width)."""
        y_scale, x_scale = (new / old for new, old in zip(image_size, self.image_size, strict=True))
        shrink = resizing(1 / x_scale, 1 / y_scale)
        return replace(self, matrices=compose(self.matrices, shrink), image_size=image_size)


def similarity_transform(
    points: np.ndarray | Tensor, template: np.ndarray | Tensor = FFHQ_TEMPLATE_512, size: int = FACE_SIZE
) -> Tensor:
    """Rotation, uniform scale and shift that take landmarks closest to the template, by least squares.

    points: (N,K,2) in pixels of the photo. template: (K,2) in pixels of a 512 px crop, resized to `size`.
    Returns (N,2,3) float64: photo pixels -> crop pixels. Never a reflection.

    In the plane Umeyama's solution (IEEE PAMI 13, 1991) needs no SVD: with the centred points as complex
    numbers p and the template as q, the minimiser of sum |c p - q|^2 is c = sum(conj(p) q) / sum |p|^2.
    Raises CLRFaceError where points are not finite, or coincide so that no scale can be found.
    """
    source = torch.as_tensor(points).to("cpu", torch.float64)
    target = (torch.as_tensor(template).to("cpu", torch.float64) + 0.5) * (size / 512) - 0.5
    if source.ndim != 3 or source.shape[1:] != target.shape:
        raise CLRFaceError(
            f"Expected landmarks of shape (faces, {len(target)}, 2), got {tuple(source.shape)}: "
            "give one list of (x, y) points per face."
        )
    source_mean, target_mean = source.mean(1), target.mean(0)
    p = torch.view_as_complex((source - source_mean[:, None]).contiguous())
    q = torch.view_as_complex((target - target_mean).contiguous())
    c = (p.conj() * q).sum(1) / p.abs().square().sum(1)
    broken = ~torch.isfinite(c.abs()) | (c.abs() < 1e-9)
    if broken.any():
        face = int(broken.nonzero()[0])
        raise CLRFaceError(
            f"Expected five distinct finite landmarks per face, got {source[face].tolist()} for face {face}: "
            "leave this face out or correct its points."
        )
    linear = torch.stack([torch.stack([c.real, -c.imag], -1), torch.stack([c.imag, c.real], -1)], -2)
    shift = target_mean[:, None] - linear @ source_mean[..., None]
    return torch.cat([linear, shift], dim=-1)


def align_faces(image: Tensor, faces: Faces, size: int = FACE_SIZE) -> tuple[Tensor, Alignment]:
    """Cut out every face, upright and at `size` pixels.

    image: (3,H,W), any float dtype, [0,1]. faces: detected faces, or landmarks (N,5,2) in pixels.
    Returns crops (N,3,size,size), [0,1], of the image's dtype and device, and the way back to the photo.
    Faces larger than the crop are antialiased, smaller ones interpolated bicubically; beyond the edge of the
    photo a crop shows its mirror image.
    """
    check_picture(image)
    if size < 1:
        raise CLRFaceError(f"Expected a crop size of at least 1 pixel, got {size}: the usual one is 512.")
    landmarks = _landmarks(faces)
    height, width = image.shape[-2:]
    matrices = similarity_transform(landmarks, size=size)
    alignment = Alignment(matrices, size, (height, width), _in_crops(landmarks, matrices, size))
    crops = image.new_empty(len(alignment), 3, size, size)
    for crop, to_photo in zip(crops, inverse(alignment.matrices), strict=True):
        crop.copy_(warp(image, to_photo, size, size).clamp_(0, 1))
    return crops, alignment


def _in_crops(landmarks: Tensor, matrices: Tensor, size: int) -> Tensor:
    """Landmarks (N,5,2) of the photo as fractions of the crops' side."""
    points = landmarks.to(matrices) @ matrices[:, :, :2].mT + matrices[:, None, :, 2]
    return (points + 0.5) / size


def _landmarks(faces: Faces) -> Tensor:
    """Landmarks (N,5,2) float64 of faces given in any of the accepted ways."""
    if isinstance(faces, Tensor):
        return faces
    if len(faces) == 0:
        return torch.zeros(0, 5, 2, dtype=torch.float64)
    return torch.as_tensor(np.stack([face.landmarks if hasattr(face, "landmarks") else face for face in faces]))
