"""Photos to faces to crops, crops through the networks, crops back into their photos: the one flow."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .diffusion.refine import Sampling
from .errors import CLRFaceError
from .faces.align import Alignment, align_faces
from .faces.detect import Detector, Face, load_detector
from .faces.moved import moved
from .faces.paste import Blending, paste_faces
from .faces.select import Detection, find_faces, select_faces
from .faces.warp import resize
from .photo import Photo, as_photo, keep_tone, write_photo
from .picture import FACE_SIZE
from .precision import ran_out_of_memory
from .references import SCALE, Match, Reference, References, usual_threshold
from .restorer import FaceRestorer, Progress
from .severity import in_photo
from .verdict import judge


@dataclass(frozen=True)
class RestoredFaces:
    """The faces of one photo, restored and not yet put back.

    faces: all faces found; a face's id is its place in this list. chosen: the ids of those restored.
    crops, restored_crops: (N,3,S,S) float32 [0,1], one per chosen face, before and after.
    alignment: where the crops lie in the photo.
    matches: one per chosen face: what the references say of it, and how sure; empty ones without references.
    severities: how degraded each was. moved: whether its points are elsewhere in the restored crop, or gone.
    """

    faces: list[Face]
    chosen: list[int]
    crops: Tensor
    restored_crops: Tensor
    alignment: Alignment
    matches: list[Match]
    severities: tuple[float, ...]
    moved: tuple[bool, ...]

    def put_back(self, photo: Photo, blending: Blending, *, region_mask: Tensor | None = None) -> Restoration:
        """The photo with its faces put back, its tone kept. region_mask: see `paste_faces`."""
        areas = [self.faces[face_id].area for face_id in self.chosen]
        verdicts = judge(self.severities, areas, self.moved, blending)
        strengths = tuple(verdict.strength for verdict in verdicts)
        rgb, mask = paste_faces(
            photo.rgb, self.restored_crops, self.alignment, blending,
            region_mask=region_mask, strengths=strengths, ids=self.chosen,
        )  # fmt: skip
        left = {face_id: each.reason for face_id, each in zip(self.chosen, verdicts, strict=True) if each.reason}
        return Restoration(
            **{name: getattr(self, name) for name in _FACES},
            photo=photo.with_rgb(keep_tone(photo.rgb, rgb) if self.chosen else photo.rgb),
            mask=mask,
            strengths=strengths,
            left_alone=left,
        )


_FACES = tuple(RestoredFaces.__dataclass_fields__)


@dataclass(frozen=True)
class Restoration(RestoredFaces):
    """What became of one photo.

    photo: the picture with its faces restored, ready to be written (alpha and bit depth as they came).
    mask: (1,H,W) float32 in [0,1]: where it is 0, the picture is untouched to the bit.
    strengths: how much of each restored crop shows in the photo, in [0,1].
    left_alone: the ids of chosen faces of which nothing shows, and why.
    """

    photo: Photo
    mask: Tensor
    strengths: tuple[float, ...]
    left_alone: dict[int, str]

    @property
    def image(self) -> Tensor:
        """The restored picture (3,H,W) float32, RGB in [0,1]."""
        return self.photo.rgb

    def without_photo(self) -> RestoredFaces:
        """Its faces alone, to be put back in another way."""
        return RestoredFaces(**{name: getattr(self, name) for name in _FACES})

    def save(self, path: Path | str) -> None:
        """Write the restored picture (see `write_photo`); nothing is left at `path` if that fails."""
        write_photo(Path(path), self.photo)


@dataclass
class _Waiting:
    """A photo whose faces are not all restored yet, or whose restoration failed."""

    photo: Photo
    faces: list[Face]
    chosen: list[int]
    crops: Tensor
    alignment: Alignment
    region: Tensor | None
    restored: list[Tensor] = field(default_factory=list)
    matches: list[Match] = field(default_factory=list)
    severities: list[float] = field(default_factory=list)
    error: Exception | None = None

    def left(self) -> list[tuple[Tensor, int]]:
        """The crops still to be restored, with the ids of their faces."""
        done = len(self.restored)
        return [] if self.error else list(zip(self.crops[done:], self.chosen[done:], strict=True))

    def assembled(self, blending: Blending, detector: Detector) -> Restoration:
        """The photo with its restored faces put back."""
        restored = torch.stack(self.restored) if self.restored else self.crops
        found = [self.faces[face_id] for face_id in self.chosen]
        gone = moved(detector, restored, self.alignment, found)
        faces = RestoredFaces(
            self.faces, self.chosen, self.crops, restored, self.alignment, self.matches,
            tuple(self.severities), tuple(gone),
        )  # fmt: skip
        return faces.put_back(self.photo, blending, region_mask=self.region)


Line = deque["_Waiting | Exception"]
"""Photos in the order in which they came, those that could not even be read as their error."""


class Restorer:
    """Restores the faces of photos: a detector, and a model behind `faces`."""

    def __init__(self, faces: FaceRestorer, detector: Detector) -> None:
        self.faces, self.detector = faces, detector

    @classmethod
    def load(
        cls,
        model: Path | str | None = None,
        *,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype | None = None,
        detector: str = "yunet",
        detector_weights: Path | str | None = None,
        identity_net: str | None = "sface",
        batch_size: int | None = None,
    ) -> Restorer:
        """Everything from its files.

        detector, detector_weights: see `load_detector`. The others: see `FaceRestorer.load`.
        """
        faces = FaceRestorer.load(model, device=device, dtype=dtype, identity_net=identity_net, batch_size=batch_size)
        return cls(faces, load_detector(detector, weights=detector_weights, device=faces.device))

    def restore(
        self,
        image: Any,
        sampling: Sampling = Sampling(),
        detection: Detection = Detection(),
        blending: Blending = Blending(),
        *,
        references: References | Iterable[Any] | None = None,
        region_mask: Tensor | None = None,
        callback: Progress | None = None,
    ) -> Restoration:
        """Find the faces of a photo, restore them and put them back; everything else stays as it is.

        image: anything that `as_photo` takes. region_mask: (1,H,W) or (H,W) in [0,1], where faces may be put in.
        references: other photos of the people in it, or what `reference_faces` made of them: a face that they match is
        pulled towards them, every other one is restored as without them (see `Restoration.matches`).
        A picture without faces comes back unchanged. CLRFaceError for pictures that cannot be read, and for ids of
        faces that are not there.
        """
        regions = None if region_mask is None else [region_mask]
        [restoration] = self.restore_photos(
            [image], sampling, detection, blending, references=references, regions=regions, callback=callback
        )
        return restoration

    def restore_photos(
        self,
        images: Iterable[Any],
        sampling: Sampling = Sampling(),
        detection: Detection = Detection(),
        blending: Blending = Blending(),
        *,
        references: References | Iterable[Any] | None = None,
        regions: Iterable[Tensor] | None = None,
        callback: Progress | None = None,
    ) -> Iterator[Restoration]:
        """`restore` of one photo after the other, in their order; each gives what it gives alone.

        Faces go through the networks `faces.batch_size` at a time, across photos, and a photo is asked for only when
        it is needed for that: memory does not grow with their number.
        references: as in `restore`, for all photos. regions: one region mask per photo. callback: see `Progress`; the
        events also have "photos" (how many were looked at so far) and "share" (of the faces found in them, in [0,1],
        the work that is done).
        """
        for outcome in self.attempt_photos(
            images, sampling, detection, blending, references=references, regions=regions, callback=callback
        ):
            if isinstance(outcome, Exception):
                raise outcome
            yield outcome

    def attempt_photos(
        self,
        images: Iterable[Any],
        sampling: Sampling = Sampling(),
        detection: Detection = Detection(),
        blending: Blending = Blending(),
        *,
        references: References | Iterable[Any] | None = None,
        regions: Iterable[Tensor] | None = None,
        callback: Progress | None = None,
    ) -> Iterator[Restoration | Exception]:
        """As `restore_photos`, but a photo that cannot be done gives its error in its place and stops no other.

        Where `images` holds an error, say of whoever opens them, that is its outcome.
        """
        line: Line = deque()
        masks = repeat(None) if regions is None else iter(regions)
        known = self.known(references)
        done, seen = 0, 0

        def work_down_to(least: int) -> Iterator[Restoration | Exception]:
            nonlocal done
            while (left := _crops_in(line)) > least:
                self._restore_some(line, sampling, known, _told(callback, seen, done, left))
                done += left - _crops_in(line)
            yield from _finished(line, blending, self.detector)

        for image in images:
            seen += 1
            line.append(self._look(image, detection, next(masks)))
            yield from work_down_to(self.faces.batch_size - 1)
        yield from work_down_to(0)

    def reference_faces(
        self,
        photos: Iterable[Any],
        detection: Detection = Detection(),
        *,
        threshold: float | None = None,
        scale: float = SCALE,
    ) -> References:
        """The faces of other photos of the people to be restored, as `restore` takes them.

        photos: anything that `as_photo` takes, or errors of whoever opens them. Of several people in one photo every
        face is taken, and that is noted; which of them a face matches is found out then. A photo that cannot be read,
        or shows no face, is named in `problems`; CLRFaceError where no photo gave a face.
        detection: how faces are found and chosen. threshold, scale: see `References`; the threshold of None is the one
        that was measured for the recognition network.
        """
        limit = usual_threshold(getattr(self.faces.identity_net, "name", None)) if threshold is None else threshold
        faces: list[Reference] = []
        notes, problems = [], []
        for number, photo in enumerate(photos, 1):
            name = str(photo) if isinstance(photo, (str, Path)) else f"reference {number}"
            try:
                found = self._faces_of(photo, name, detection)
            except Exception as error:
                if not is_the_photos(error):
                    raise
                problems.append(str(error) if error is photo else f"{name}: {error}")
                continue
            faces += found
            if len(found) > 1:
                notes.append(f"{name}: {len(found)} people are seen; each face is restored by those it matches.")
        if not faces:
            raise CLRFaceError(problems[0] if problems else "Expected photos of a person, got none: name one.")
        return References(tuple(faces), limit, scale, tuple(notes), tuple(problems))

    def _faces_of(self, photo: Any, name: str, detection: Detection) -> list[Reference]:
        """The faces of one reference photo; CLRFaceError where there is none."""
        if isinstance(photo, Exception):
            raise photo
        rgb = as_photo(photo).rgb
        found = find_faces(rgb, self.detector, detection)
        chosen = select_faces(found, detection)
        if not chosen:
            raise CLRFaceError("Expected a face in this reference photo, found none: use a photo that shows one.")
        crops, alignment = align_faces(rgb, [found[face_id] for face_id in chosen], self.faces.bundle.size)
        return [
            self.faces.reference(
                crop,
                found[face_id].score,
                alignment.side(row),
                name if len(chosen) == 1 else f"{name}, face {face_id}",
            )
            for row, (face_id, crop) in enumerate(zip(chosen, crops, strict=True))
        ]

    def known(self, references: References | Iterable[Any] | None) -> References | None:
        """The references as faces; what is wrong with some of them is logged."""
        if references is None or isinstance(references, References):
            return references
        known = self.reference_faces(references)
        for sentence in (*known.notes, *known.problems):
            logging.getLogger(__name__).warning("CLR-Face: %s", sentence)
        return known

    def _look(self, image: Any, detection: Detection, region: Tensor | None) -> _Waiting | Exception:
        """Read a photo, find its faces, number and choose them, and cut the chosen ones out."""
        if isinstance(image, Exception):
            return image
        try:
            photo = as_photo(image)
            found = find_faces(photo.rgb, self.detector, detection)
            chosen = select_faces(found, detection)
            crops, alignment = align_faces(photo.rgb, [found[face_id] for face_id in chosen], self.faces.bundle.size)
        except Exception as error:
            if not is_the_photos(error):
                raise
            return error
        return _Waiting(photo, found, chosen, crops, alignment, region)

    def _restore_some(
        self,
        line: Iterable[_Waiting | Exception],
        sampling: Sampling,
        references: References | None,
        callback: Progress | None,
    ) -> None:
        """One micro-batch of the crops in line; where it fails its photos are done one by one, as one is at fault."""
        waiting = [item for item in line if isinstance(item, _Waiting)]
        batch = [(item, *each) for item in waiting for each in item.left()][: self.faces.batch_size]
        crops, ids = torch.stack([crop for _, crop, _ in batch]), [face_id for *_, face_id in batch]
        try:
            done = self.faces.restore_matched(crops, references, sampling, face_ids=ids, callback=callback)
        except Exception as error:
            if not is_the_photos(error):
                raise
            owners = {id(item): item for item, *_ in batch}
            if len(owners) == 1:
                batch[0][0].error = error
                return
            for item in owners.values():
                self._restore_some([item], sampling, references, callback)
            return
        for (item, *_), face, match, degraded in zip(batch, *done, strict=True):
            item.severities.append(in_photo(degraded, item.alignment.side(len(item.restored))))
            item.restored.append(face)
            item.matches.append(match)


def is_the_photos(error: Exception) -> bool:
    """Whether an error says that one photo cannot be done, and not that something is wrong with the program."""
    return isinstance(error, (CLRFaceError, OSError)) or ran_out_of_memory(error)


def _crops_in(line: Line) -> int:
    return sum(len(item.left()) for item in line if isinstance(item, _Waiting))


def _told(callback: Progress | None, photos: int, done: int, left: int) -> Progress | None:
    """The callback, told how far all of the work has come."""
    if callback is None:
        return None

    def report(event: dict[str, Any]) -> None:
        step = (event["i"] + 1) / event["total"]
        callback({**event, "photos": photos, "share": (done + step * len(event["faces"])) / (done + left)})

    return report


def _finished(line: Line, blending: Blending, detector: Detector) -> Iterator[Restoration | Exception]:
    """What became of the photos at the head of the line of which no face waits any more."""
    while line and not (isinstance(line[0], _Waiting) and line[0].left()):
        item = line.popleft()
        yield item if isinstance(item, Exception) else item.error or item.assembled(blending, detector)


def aligned_crop(image: Any, size: int = FACE_SIZE) -> Tensor:
    """An already aligned face (anything that `as_photo` takes) as a crop (3,size,size) in [0,1].

    Any square is resized, bicubically and with antialiasing. CLRFaceError for other shapes.
    """
    rgb = as_photo(image).rgb
    height, width = rgb.shape[1:]
    if height != width:
        raise CLRFaceError(
            f"Expected a square aligned face, got {width}x{height} px: crop it, or restore it without --aligned."
        )
    return resize(rgb, size, size).clamp(0, 1)
