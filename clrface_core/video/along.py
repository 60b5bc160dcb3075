"""One picture after the other, its faces restored along their tracks."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..diffusion.refine import Sampling
from ..faces.align import align_faces
from ..faces.paste import Blending, paste_faces
from ..faces.select import Detection
from ..photo import Photo, as_photo, keep_tone
from ..pipeline import Restoration, Restorer
from ..references import Match, References
from ..restorer import FaceRestorer
from ..severity import DEGRADED
from ..verdict import Verdict, judge
from .smooth import smoothed
from .steady import SteadyFace, Steadying
from .tracks import Track, Tracks


class AlongTracks:
    """Restores the faces of a video's pictures, which come one after the other, each once.

    tracks: those of the faces to restore. steadying: how it is kept from flickering. The others: see
    `Restorer.restore`.
    """

    def __init__(
        self,
        restorer: Restorer,
        tracks: Tracks,
        sampling: Sampling = Sampling(),
        blending: Blending = Blending(),
        references: References | Iterable[Any] | None = None,
        steadying: Steadying = Steadying(),
    ) -> None:
        self._networks, self._tracks = restorer.faces, tracks
        self._sampling, self._blending, self._steadying = sampling, blending, steadying
        self._references = restorer.known(references)
        self._points = {track.id: torch.from_numpy(smoothed(track.points)) for track in tracks.tracks}
        self._verdicts = {track.id: self._verdict(track) for track in tracks.tracks}
        self._faces: dict[int, SteadyFace] = {}

    @property
    def left_alone(self) -> dict[int, str]:
        """The numbers of tracks of which nothing shows, and why."""
        return {number: verdict.reason for number, verdict in self._verdicts.items() if verdict.reason}

    def restore(self, number: int, photo: Photo, region: Tensor | None = None) -> Restoration:
        """The picture of this number with its faces restored.

        `faces` are those of its tracks, and `chosen` the places of those that were restored: what `left_alone` names is
        not among them.
        region: (H,W) or (1,H,W) in [0,1], where faces may be put in.
        """
        seen = self._tracks.at(number)
        left = {row: self._verdicts[track.id].reason for row, track in enumerate(seen) if not self._shows(track)}
        here = [track for track in seen if self._shows(track)]
        ids = [track.id for track in here]
        for gone in [each for each in self._faces if each not in ids]:
            del self._faces[gone]
        points = [self._points[track.id][number - track.first] for track in here]
        stacked = torch.stack(points) if points else torch.zeros(0, 5, 2, dtype=torch.float64)
        crops, alignment = align_faces(photo.rgb, stacked, self._networks.bundle.size)
        restored = torch.empty_like(crops, dtype=torch.float32)
        for row, each in enumerate(ids):
            restored[row] = self._face(each).restore(crops[row])
        strengths = tuple(self._verdicts[each].strength for each in ids)
        rgb, mask = paste_faces(
            photo.rgb, restored, alignment, self._blending,
            region_mask=region, strengths=strengths, ids=ids, seed=_seed_of(crops),
        )  # fmt: skip
        return Restoration(
            faces=[track.face(number) for track in seen],
            chosen=[row for row in range(len(seen)) if row not in left],
            crops=crops,
            restored_crops=restored,
            alignment=alignment,
            matches=[Match()] * len(here),
            severities=tuple(_severity(track) for track in here),
            moved=(False,) * len(here),
            photo=photo.with_rgb(keep_tone(photo.rgb, rgb) if here else photo.rgb),
            mask=mask,
            strengths=strengths,
            left_alone=left,
        )

    def _face(self, number: int) -> SteadyFace:
        """What is kept of a track's face."""
        if number not in self._faces:
            invent = partial(_invented, self._networks, self._references, self._sampling, number)
            self._faces[number] = SteadyFace(partial(_estimated, self._networks), invent, self._steadying)
        return self._faces[number]

    def _shows(self, track: Track) -> bool:
        return self._verdicts[track.id].strength > 0

    def _verdict(self, track: Track) -> Verdict:
        """How much of a track's faces shows: the same in all of its pictures."""
        if track.strength is not None:
            return Verdict(track.strength)
        beside = [other for other in self._tracks.tracks if other.first <= track.last and other.last >= track.first]
        areas = [other.area for other in beside]
        verdicts = judge([_severity(other) for other in beside], areas, [False] * len(beside), self._blending)
        return verdicts[beside.index(track)]


def restore_clip(
    restorer: Restorer,
    pictures: Sequence[Any],
    sampling: Sampling = Sampling(),
    detection: Detection = Detection(),
    blending: Blending = Blending(),
    *,
    references: References | Iterable[Any] | None = None,
    regions: Sequence[Tensor] | None = None,
    steadying: Steadying = Steadying(),
    seen: Callable[[int], None] | None = None,
) -> Iterator[Restoration]:
    """The pictures of one clip, which are at hand: anything that `as_photo` takes, all of one size.

    seen: called with the number of each picture once its faces are found. The others: see `Restorer.restore_photos`.
    """
    from .restore import follower_for

    follower = follower_for(restorer, detection)
    for number, picture in enumerate(pictures):
        follower.see(as_photo(picture).rgb)
        if seen is not None:
            seen(number)
    faces = AlongTracks(restorer, follower.tracks().choose(detection), sampling, blending, references, steadying)
    for number, picture in enumerate(pictures):
        yield faces.restore(number, as_photo(picture), None if regions is None else regions[number])


def _severity(track: Track) -> float:
    return DEGRADED if track.severity is None else track.severity


def _estimated(networks: FaceRestorer, crop: Tensor) -> Tensor:
    return networks.estimate(crop[None])[0].to(crop).clamp(0, 1)


def _invented(
    networks: FaceRestorer,
    references: References | None,
    sampling: Sampling,
    number: int,
    crop: Tensor,
    estimate: Tensor,
) -> Tensor:
    """The restored face; its noise is that of the track, the same in all pictures."""
    faces, _ = networks.restore_estimated(crop[None], estimate[None], references, sampling, face_ids=[number])
    return faces[0].to(crop)


def _seed_of(crops: Tensor) -> int:
    """Of the grain: new in every picture, as a film's is, and the same where a picture is shown again."""
    return zlib.crc32((crops * 255).byte().cpu().numpy().tobytes())
