"""Tracks: where each face of a video is in every picture, as a small file that may be looked at and edited."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CLRFaceError
from ..faces.detect import Face
from ..faces.select import ALL, LARGEST, Detection
from ..photo.replace_file import replace_file

FORMAT = 1
"""Of the file; another number is another format."""


@dataclass(frozen=True, eq=False)
class Track:
    """One face through consecutive pictures; between two cuts it is one person.

    id: its number. first: the number of its first picture. points: (N,5,2) float64 in pixels of the picture, as `Face`
    has them, measured and not yet smoothed. boxes: (N,4). scores: (N,), 0 where the face was not seen and its place
    was put between those before and after.
    severity: how degraded it is, the median over some pictures (see `severity`); None where nobody has looked.
    strength: how much of the restored face shows, in [0,1]; None leaves it to the severity.
    """

    id: int
    first: int
    points: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    severity: float | None = None
    strength: float | None = None

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def last(self) -> int:
        """The number of its last picture."""
        return self.first + len(self) - 1

    @property
    def area(self) -> float:
        """Mean area of its boxes in square pixels."""
        return float(np.prod(self.boxes[:, 2:] - self.boxes[:, :2], axis=1).mean())

    @property
    def size(self) -> float:
        """Median of the longer sides of its boxes, in pixels."""
        return float(np.median((self.boxes[:, 2:] - self.boxes[:, :2]).max(1)))

    def face(self, number: int) -> Face:
        """It in a picture in which it is."""
        row = number - self.first
        x0, y0, x1, y1 = self.boxes[row].tolist()
        return Face((x0, y0, x1, y1), float(self.scores[row]), self.points[row].astype(np.float32))


@dataclass(frozen=True, eq=False)
class Tracks:
    """All faces of a video.

    frames: how many pictures it has. size: their (width, height), upright. cuts: the numbers of the pictures, besides
    the first, with which a scene begins.
    """

    frames: int
    size: tuple[int, int]
    cuts: tuple[int, ...] = ()
    tracks: tuple[Track, ...] = field(default=())

    def at(self, number: int) -> list[Track]:
        """Those that are in a picture."""
        return [track for track in self.tracks if track.first <= number <= track.last]

    def choose(self, detection: Detection) -> Tracks:
        """Those that are meant: `faces` names their numbers, or of each scene the largest; see `Detection`.

        CLRFaceError for a number that no track has.
        """
        known = {track.id for track in self.tracks}
        wanted = detection.faces
        if not isinstance(wanted, str) and known and (unknown := [each for each in wanted if each not in known]):
            raise CLRFaceError(
                f"Expected tracks that were found (0 to {max(known)}), got {unknown[0]}: see the file of --tracks."
            )
        kept = [track for track in self.tracks if track.size >= detection.min_size]
        if wanted == LARGEST:
            kept = [max(scene, key=lambda track: track.area) for scene in self._scenes(kept) if scene]
        elif wanted != ALL:
            kept = [track for track in kept if track.id in wanted]
        if detection.at_most:
            kept = [track for scene in self._scenes(kept) for track in scene[: detection.at_most]]
        return replace(self, tracks=tuple(kept))

    def _scenes(self, tracks: Sequence[Track]) -> list[list[Track]]:
        """The tracks scene by scene."""
        bounds = [0, *self.cuts, self.frames]
        return [[track for track in tracks if start <= track.first < end] for start, end in pairwise(bounds)]

    def save(self, path: Path) -> None:
        """Write them as JSON, a line per picture of each track; nothing is left at `path` if that fails."""
        replace_file(path, self.as_text().encode())

    def as_text(self) -> str:
        """What `save` writes."""
        return _as_json(self)

    @staticmethod
    def from_text(text: str | bytes, name: str = "the text") -> Tracks:
        """What `as_text` gave, edited or not; CLRFaceError for anything else."""
        try:
            return _from_json(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise CLRFaceError(
                f"Expected tracks as clrface writes them, got something else in {name} ({error}): have them made anew."
            ) from error

    @staticmethod
    def load(path: Path) -> Tracks:
        """What `save` wrote, edited or not; CLRFaceError for anything else."""
        try:
            return Tracks.from_text(path.read_bytes(), path.name)
        except OSError as error:
            raise CLRFaceError(
                f"Expected a file of tracks at {path}, which cannot be read ({error.strerror}): check it."
            ) from error


def _as_json(tracks: Tracks) -> str:
    """The text of the file: short enough to read, rounded to hundredths of a pixel."""
    head = {"clrface_tracks": FORMAT, "frames": tracks.frames, "size": tracks.size, "cuts": tracks.cuts}
    lines = [json.dumps(head)[:-1] + ', "tracks": [']
    for place, track in enumerate(tracks.tracks):
        about = {"id": track.id, "first": track.first, "severity": track.severity, "strength": track.strength}
        lines.append(" " + json.dumps(about)[:-1] + ', "faces": [')
        for row in range(len(track)):
            face = {
                "score": round(float(track.scores[row]), 3),
                "box": np.round(track.boxes[row], 2).tolist(),
                "points": np.round(track.points[row], 2).tolist(),
            }
            lines.append("  " + json.dumps(face) + ("," if row + 1 < len(track) else ""))
        lines.append(" ]}" + ("," if place + 1 < len(tracks.tracks) else ""))
    return "\n".join([*lines, "]}", ""])


def _from_json(data: dict[str, Any]) -> Tracks:
    """ValueError and the like where something is missing, or of another kind or shape."""
    if data["clrface_tracks"] != FORMAT:
        raise ValueError(f"format {data['clrface_tracks']!r}")
    frames, (width, height) = int(data["frames"]), data["size"]
    tracks = tuple(_track(each, frames) for each in data["tracks"])
    if len({track.id for track in tracks}) < len(tracks):
        raise ValueError("two tracks of one number")
    return Tracks(frames, (int(width), int(height)), tuple(sorted(int(cut) for cut in data["cuts"])), tracks)


def _track(data: dict[str, Any], frames: int) -> Track:
    faces, severity, strength = data["faces"], data.get("severity"), data.get("strength")
    points = np.array([face["points"] for face in faces], np.float64).reshape(len(faces), 5, 2)
    boxes = np.array([face["box"] for face in faces], np.float64).reshape(len(faces), 4)
    scores = np.array([face["score"] for face in faces], np.float64)
    track = Track(int(data["id"]), int(data["first"]), points, boxes, scores, severity, strength)
    if not faces or track.id < 0 or track.first < 0 or track.last >= frames:
        raise ValueError(f"track {track.id} is outside the video's {frames} pictures")
    if not all(np.isfinite(each).all() for each in (points, boxes, scores)):
        raise ValueError(f"track {track.id} has places that are no numbers")
    if (severity is not None and not severity >= 0) or (strength is not None and not 0 <= strength <= 1):
        raise ValueError(f"track {track.id} has a severity below 0, or a strength outside 0 to 1")
    return track
