"""People of whom there are several photos: one is degraded and restored, the others, or a stranger's, refer to it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..errors import CLRFaceError
from ..faces.detect import NetworkDetector, load_detector
from ..references import Reference
from ..restorer import FaceRestorer
from ..shards import StoredFace
from .cases import Batch, fit, load

OWN, STRANGER = "own", "stranger's"
WHOSE = (OWN, STRANGER)
SURELY = 0.6
"""Least score of a face in a picture that is known to show one."""


class Album:
    """The photos of people by name: the first of each is to be restored, the others refer; each is looked at once."""

    def __init__(self, faces: Sequence[StoredFace]) -> None:
        """faces: CLRFaceError unless they are of two people at least, with two photos of each."""
        self._photos: dict[str, list[StoredFace]] = {}
        for face in sorted(faces, key=lambda face: face.key):
            self._photos.setdefault(face.person, []).append(face)
        alone = sorted(name for name, photos in self._photos.items() if len(photos) < 2)
        if alone or len(self._photos) < 2:
            raise CLRFaceError(
                "Expected two photos or more of each of two people or more, keyed SET-PERSON-PHOTO, got "
                f"{f'one of {alone[0]}' if alone else f'{len(self._photos)} people'}: give pairs."
            )
        self._people = sorted(self._photos)
        self._known: dict[str, Reference] = {}
        self._turns: dict[str, float | None] = {}

    def truths(self, limit: int | None = None) -> list[str]:
        """The keys of the photos to be restored: the first of each person, of so many people."""
        return [self._photos[name][0].key for name in self._people[:limit]]

    def others(self, key: str, *, own: bool, count: int | None = None) -> list[StoredFace]:
        """The other photos of the person whose face has this key, or as many of a stranger: the next person's.

        count: of them, as far as there are so many; all by default.
        """
        name = key.rpartition("-")[0]
        rest = [face for face in self._photos[name] if face.key != key][:count]
        if own:
            return rest
        stranger = self._people[(self._people.index(name) + 1) % len(self._people)]
        return self._photos[stranger][-len(rest) :]

    def having(self, count: int) -> int:
        """How many people have so many references."""
        return sum(len(photos) > count for photos in self._photos.values())

    def pictures(self, batch: Batch) -> Tensor:
        """(B,3,512,512): of each face's person the first other photo, for a contact sheet."""
        return torch.stack([fit(load(self.others(case.face.key, own=True)[0])) for case in batch.cases])

    def references(
        self, faces: FaceRestorer, key: str, *, own: bool, count: int | None = None
    ) -> tuple[Reference, ...]:
        """`others` as what the networks take of them."""
        return tuple(self._reference(faces, face) for face in self.others(key, own=own, count=count))

    def _reference(self, faces: FaceRestorer, face: StoredFace) -> Reference:
        if face.key not in self._known:
            picture = load(face)
            self._known[face.key] = faces.reference(fit(picture), 1.0, picture.shape[1], face.key)
        return self._known[face.key]

    def turned(self, key: str) -> float | None:
        """By how much the first reference of a face is turned away from it: the difference of their `turn`s."""
        seen, known = self._turn(key), self._turn(self.others(key, own=True)[0].key)
        return None if seen is None or known is None else abs(seen - known)

    def _turn(self, key: str) -> float | None:
        if key not in self._turns:
            [face] = [face for face in self._photos[key.rpartition("-")[0]] if face.key == key]
            found = self._detector.detect(fit(load(face)), SURELY)
            self._turns[key] = turn(max(found, key=lambda each: each.area).landmarks) if found else None
        return self._turns[key]

    @cached_property
    def _detector(self) -> NetworkDetector:
        return load_detector()


def turn(landmarks: np.ndarray | Sequence[Sequence[float]]) -> float:
    """How far a head is turned sideways, of its five points: how far the nose is from the middle of the eyes, along
    the line through them and in units of their distance. About 0 from the front, 0.5 at some 45 degrees."""
    left, right, nose = (torch.as_tensor(landmarks[point], dtype=torch.float64) for point in range(3))
    across = right - left
    return float((nose - (left + right) / 2) @ across / (across @ across))
