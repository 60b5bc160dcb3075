"""One picture after the other, its faces restored along their tracks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..diffusion.refine import Sampling
from ..faces.align import align_faces
from ..faces.paste import Blending, paste_faces
from ..photo import keep_tone
from ..pipeline import Restorer
from ..references import References
from ..severity import DEGRADED
from ..verdict import Verdict, judge
from .smooth import smoothed
from .tracks import Track, Tracks


class AlongTracks:
    """Restores the faces of a video's pictures, which come one after the other, each once.

    tracks: those of the faces to restore. The others: see `Restorer.restore`.
    """

    def __init__(
        self,
        restorer: Restorer,
        tracks: Tracks,
        sampling: Sampling = Sampling(),
        blending: Blending = Blending(),
        references: References | Iterable[Any] | None = None,
    ) -> None:
        self._restorer, self._tracks = restorer, tracks
        self._sampling, self._blending = sampling, blending
        self._references = restorer.known(references)
        self._points = {track.id: smoothed(track.points) for track in tracks.tracks}
        self._verdicts = {track.id: self._verdict(track) for track in tracks.tracks}

    @property
    def left_alone(self) -> dict[int, str]:
        """The numbers of tracks of which nothing shows, and why."""
        return {number: verdict.reason for number, verdict in self._verdicts.items() if verdict.reason}

    def restore(self, number: int, rgb: Tensor, region: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The picture (3,H,W) of this number with its faces restored, and (1,H,W) where it changed.

        region: (H,W) or (1,H,W) in [0,1], where faces may be put in.
        """
        here = [track for track in self._tracks.at(number) if self._verdicts[track.id].strength > 0]
        if not here:
            return rgb, torch.zeros_like(rgb[:1])
        points = torch.stack([torch.from_numpy(self._points[track.id][number - track.first]) for track in here])
        crops, alignment = align_faces(rgb, points, self._restorer.faces.bundle.size)
        ids = [track.id for track in here]
        restored, _ = self._restorer.faces.restore_matched(crops, self._references, self._sampling, face_ids=ids)
        strengths = [self._verdicts[track.id].strength for track in here]
        pasted, mask = paste_faces(
            rgb, restored, alignment, self._blending, region_mask=region, strengths=strengths, ids=ids
        )
        return keep_tone(rgb, pasted), mask

    def _verdict(self, track: Track) -> Verdict:
        """How much of a track's faces shows: the same in all of its pictures."""
        if track.strength is not None:
            return Verdict(track.strength)
        beside = [other for other in self._tracks.tracks if other.first <= track.last and other.last >= track.first]
        severities = [DEGRADED if other.severity is None else other.severity for other in beside]
        areas = [other.area for other in beside]
        verdicts = judge(severities, areas, [False] * len(beside), self._blending)
        return verdicts[beside.index(track)]
