"""The faces of the last restoration, so that a change of how they are put back costs only that."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..clrface_core.pipeline import RestoredFaces

MOST_FACES = 64
"""A restoration of more faces is not kept: it would take over 400 MB."""


class Recent:
    """One restoration, by all that it depends on."""

    def __init__(self) -> None:
        self._key: object = None
        self._faces: list[RestoredFaces] = []

    def get(self, key: object) -> list[RestoredFaces] | None:
        """Its faces, picture by picture, if this was the last one; every other is forgotten now, not afterwards."""
        if self._key != key:
            self.clear()
            return None
        return self._faces

    def keep(self, key: object, faces: list[RestoredFaces]) -> None:
        """Remember it, unless it is too large."""
        self.clear()
        if sum(len(each.chosen) for each in faces) <= MOST_FACES:
            self._key, self._faces = key, faces

    def clear(self) -> None:
        """Forget it."""
        self._key, self._faces = None, []


def key_of(image: Tensor, **given: Any) -> object:
    """What tells one restoration from another: the pixels, and the value of everything that is given."""
    return digest(image), tuple((name, _known(value)) for name, value in sorted(given.items()))


def _known(value: Any) -> object:
    """Something to compare a value by that does not keep it alive."""
    if isinstance(value, Tensor):
        return digest(value)
    if isinstance(value, (str, int, float, bool, type(None))):
        return value
    if isinstance(value, Sequence):
        return tuple(map(_known, value))
    return _Itself(value)


class _Itself:
    """An object, told from every other one, also from one that is equal."""

    def __init__(self, value: object) -> None:
        self._value = weakref.ref(value)

    def __eq__(self, other: object) -> bool:
        mine = self._value()
        return mine is not None and isinstance(other, _Itself) and other._value() is mine

    __hash__ = None  # type: ignore[assignment]


def digest(tensor: Tensor) -> str:
    """Of shape, type and content, part by part: nothing large is copied."""
    told = hashlib.blake2b(f"{tensor.dtype} {tuple(tensor.shape)}".encode(), digest_size=16)
    for part in tensor:
        told.update(part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return told.hexdigest()
