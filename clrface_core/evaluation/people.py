"""People of whom there are several photos: one is degraded and restored, the others, or a stranger's, refer to it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import CLRFaceError
from ..references import Reference, quality_of
from ..restorer import FaceRestorer
from ..shards import StoredFace
from .cases import Batch, enlarge, load

OWN, STRANGER = "own", "stranger's"
WHOSE = (OWN, STRANGER)


def person_of(face: StoredFace) -> str:
    """The key up to the last "-": `q-anna-1` and `q-anna-2` are of one person."""
    return face.key.rpartition("-")[0]


class Album:
    """The photos of people by name; each photo's face is embedded once."""

    def __init__(self, faces: Sequence[StoredFace]) -> None:
        """faces: CLRFaceError unless they are of two people at least, with two photos of each."""
        self._photos: dict[str, list[StoredFace]] = {}
        for face in faces:
            self._photos.setdefault(person_of(face), []).append(face)
        alone = sorted(name for name, photos in self._photos.items() if len(photos) < 2)
        if alone or len(self._photos) < 2:
            raise CLRFaceError(
                "Expected two photos or more of each of two people or more, keyed SET-PERSON-PHOTO, got "
                f"{f'one of {alone[0]}' if alone else f'{len(self._photos)} people'}: give pairs, or an even --limit."
            )
        self._people = sorted(self._photos)
        self._person = {face.key: person_of(face) for face in faces}
        self._known: dict[str, Reference] = {}

    def others(self, key: str, *, own: bool) -> list[StoredFace]:
        """The other photos of the person whose face has this key, or as many of a stranger: the next person's."""
        name = self._person[key]
        rest = [face for face in self._photos[name] if face.key != key]
        if own:
            return rest
        stranger = self._people[(self._people.index(name) + 1) % len(self._people)]
        return self._photos[stranger][-len(rest) :]

    def pictures(self, batch: Batch) -> Tensor:
        """(B,3,512,512): of each face's person the first other photo, for a contact sheet."""
        return torch.stack([enlarge(load(self.others(case.face.key, own=True)[0])) for case in batch.cases])

    def references(self, faces: FaceRestorer, key: str, *, own: bool) -> tuple[Reference, ...]:
        """`others` as what the networks take of them."""
        return tuple(self._reference(faces, face) for face in self.others(key, own=own))

    def _reference(self, faces: FaceRestorer, face: StoredFace) -> Reference:
        if face.key not in self._known:
            picture = load(face)
            with torch.no_grad():
                [embedding] = faces.embed(faces.encode(enlarge(picture)[None])).cpu()
            self._known[face.key] = Reference(embedding, quality_of(picture, 1.0, picture.shape[1]), face.key)
        return self._known[face.key]
