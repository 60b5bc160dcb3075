"""The first pass over a video: find its faces now and then, follow them in between, and tell people apart.

A search of the whole picture costs far more than a look at where a face just was. So the picture is searched every so
many frames, at cuts, and where a face got lost; in between each face is looked for around its last place. A recognition
network says at every search whether a track still shows the person with whom it began.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..faces.align import align_faces
from ..faces.detect import Detector, Face
from ..faces.select import Detection, find_faces
from .scenes import Cuts
from .tracks import Track, Tracks

EVERY = 10
"""Frames from one search of the whole picture to the next."""
LOST = 0.5
"""Score below which a followed face is no longer there."""
MISSED = (2, 4, 7, 11)
"""Frames after which the picture is searched for a face that got lost."""
BRIDGED = 12
"""Frames for which a face may be gone, and be the same track when it is back."""
LEAST_SEEN = 3
"""Frames in which a face is seen, or it is none."""
NEAR = 0.6
"""How far, in sizes of the face, a face may be found from where its track is expected to be."""
STRANGER = 0.3
"""Cosine to its track below which a face is somebody else's."""
TELLING = 24.0
"""Size of a face in pixels from which the recognition network says anything."""
CROP = 192
"""Side of the crops that are shown to it."""

JUDGED = 12
"""How often at most a track's face is judged."""

Embed = Callable[[Tensor], Tensor]
Judge = Callable[[Tensor, Face], float]


@dataclass
class _Path:
    """A track in the making: the frames in which it was seen, who that is, and up to where that is sure."""

    faces: dict[int, Face]
    person: Tensor | None = None
    checked: int = 0
    ended: bool = False
    severities: list[float] = field(default_factory=list)

    @property
    def last(self) -> int:
        return max(self.faces)

    def expected(self, number: int) -> Face:
        """Where it should be in a frame: its last place, moved on as it moved before."""
        last = self.faces[self.last]
        before = self.faces.get(self.last - 1)
        if before is None:
            return last
        step = (last.landmarks - before.landmarks).mean(0)
        ahead = min(number - self.last, 3)
        dx, dy = (step * ahead).tolist()
        x0, y0, x1, y1 = last.box
        return Face((x0 + dx, y0 + dy, x1 + dx, y1 + dy), last.score, last.landmarks + step * ahead)


class Follower:
    """Takes the frames of a video one after the other, and gives its tracks at the end.

    embed: aligned faces (B,3,S,S) to unit vectors (B,D) that say who it is; without it only places tell.
    judge: how degraded a face of a picture (3,H,W) is; asked at some of the searches.
    every: frames between searches of the whole picture; 1 where the detector cannot follow.
    """

    def __init__(
        self,
        detector: Detector,
        detection: Detection = Detection(),
        embed: Embed | None = None,
        judge: Judge | None = None,
        *,
        every: int = EVERY,
    ) -> None:
        self._detector, self._detection, self._embed, self._judge = detector, detection, embed, judge
        self._every = every if hasattr(detector, "follow") else 1
        self._cuts, self._scene = Cuts(), 0
        self._bounds: list[int] = []
        self._paths: list[_Path] = []
        self._number, self._searched = 0, 0
        self._size = (0, 0)
        self._recent: deque[Tensor] = deque(maxlen=self._every)

    def see(self, rgb: Tensor) -> None:
        """The next frame (3,H,W) in [0,1]."""
        number = self._number
        self._size = (rgb.shape[2], rgb.shape[1])
        picture = (rgb * 255).round().byte()
        if self._recent and torch.equal(picture, self._recent[-1]):  # a look would give slightly other places
            self._stay(number)
        else:
            self._look(rgb, number)
        for path in self._open():
            path.ended = number - path.last > BRIDGED
        self._recent.append(picture)
        self._number += 1

    def _stay(self, number: int) -> None:
        """The picture is shown again: faces are where they were."""
        for path in self._open():
            if path.last == number - 1:
                path.faces[number] = path.faces[path.last]

    def _look(self, rgb: Tensor, number: int) -> None:
        """Follow the faces, and search for more where it is time to."""
        if self._cuts.begins(rgb):
            self._bounds.append(number)
            self._recent.clear()
            for path in self._open():
                path.ended = True
        followed = self._follow(rgb, number)
        lost = any(number - path.last in MISSED for path in self._open())
        if number in (0, *self._bounds[-1:]) or lost or number - self._searched >= self._every:
            self._search(rgb, number, followed)
            self._searched = number
            self._judge_some(rgb, number)

    def tracks(self) -> Tracks:
        """What was found, numbered by when it begins and then in the order that `Detection` names."""
        scenes = [0, *self._bounds, self._number]
        shortest = min((b - a for a, b in pairwise(scenes) if b > a), default=1)
        least = min(LEAST_SEEN, shortest)
        made = [_bridged(path) for path in self._paths if len(path.faces) >= least]
        made.sort(key=lambda track: track.first)
        numbered = tuple(replace(track, id=place) for place, track in enumerate(made))
        return Tracks(self._number, self._size, tuple(self._bounds), numbered)

    def _open(self) -> list[_Path]:
        return [path for path in self._paths if not path.ended]

    def _follow(self, rgb: Tensor, number: int) -> list[_Path]:
        """Look for each open track around where it should be; those that were seen."""
        if not hasattr(self._detector, "follow"):
            return []
        seen: list[_Path] = []
        for path in self._open():
            if path.last < number - 1:
                continue
            face = self._detector.follow(rgb, path.expected(number))
            if face.score >= LOST and face.area > 0 and not any(_same(face, other.faces[number]) for other in seen):
                path.faces[number] = face
                seen.append(path)
        return seen

    def _search(self, rgb: Tensor, number: int, followed: Sequence[_Path]) -> None:
        """Find all faces of the frame, and say whose they are."""
        found = find_faces(rgb, self._detector, self._detection)
        if hasattr(self._detector, "follow"):  # so that all places are measured in the same way
            found = [face if again.score < LOST else again for face in found if (again := self._again(rgb, face))]
        seen = [path.faces[number] for path in followed]
        found = [face for face in found if not any(_same(face, other) for other in seen)]
        people = self._people(rgb, [*seen, *found])
        for path, person in zip(followed, people, strict=False):
            self._check(path, path.faces[number], person, number)
        orphans = [path.faces.pop(number) for path in followed if path.ended]
        lost = [person for path, person in zip(followed, people, strict=False) if path.ended]
        self._assign(number, [*orphans, *found], [*lost, *people[len(seen) :]])

    def _judge_some(self, rgb: Tensor, number: int) -> None:
        """Judge the faces of this frame, at the first searches of their tracks and then more and more rarely."""
        for path in self._open() if self._judge else []:
            age = number - min(path.faces)
            if path.last == number and len(path.severities) < JUDGED and age >= len(path.severities) ** 2 * 5:
                path.severities.append(self._judge(rgb, path.faces[number]))  # type: ignore[misc]

    def _again(self, rgb: Tensor, face: Face) -> Face:
        return self._detector.follow(rgb, face)  # type: ignore[attr-defined]

    def _people(self, rgb: Tensor, faces: Sequence[Face]) -> list[Tensor | None]:
        """Who they are, where that can be told."""
        telling = [face for face in faces if face.size >= TELLING] if self._embed else []
        if not telling or self._embed is None:
            return [None] * len(faces)
        vectors = iter(self._embed(align_faces(rgb, telling, CROP)[0]).float().cpu())
        return [next(vectors) if face.size >= TELLING else None for face in faces]

    def _check(self, path: _Path, face: Face, person: Tensor | None, number: int) -> None:
        """End a track at the last search at which it was sure to be its person, if it is somebody else's now."""
        if person is not None and path.person is not None and float(person @ path.person) < STRANGER:
            for later in [at for at in path.faces if path.checked < at < number]:
                del path.faces[later]
            path.ended = True
            return
        _remember(path, person, number)

    def _assign(self, number: int, found: Sequence[Face], people: Sequence[Tensor | None]) -> None:
        """Give faces to the tracks that miss theirs, the nearest and most alike first; the others begin new ones."""
        from scipy.optimize import linear_sum_assignment  # a tenth of a second, and photos do not need it

        waiting = [path for path in self._open() if path.last < number]
        cost = np.full((len(waiting), len(found)), np.inf)
        for row, path in enumerate(waiting):
            for column, (face, person) in enumerate(zip(found, people, strict=True)):
                cost[row, column] = _cost(path, face, person, number)
        taken: set[int] = set()
        for row, column in zip(*linear_sum_assignment(np.where(np.isinf(cost), 1e6, cost)), strict=True):
            if np.isfinite(cost[row, column]):
                waiting[row].faces[number] = found[column]
                _remember(waiting[row], people[column], number)
                self._look_back(waiting[row], number)
                taken.add(column)
        for column, face in enumerate(found):
            if column not in taken:
                path = _Path({number: face}, people[column], number)
                self._look_back(path, number)
                self._paths.append(path)

    def _look_back(self, path: _Path, number: int) -> None:
        """Follow a face that a search found back to where it came in, at most to the search before."""
        if not hasattr(self._detector, "follow"):
            return
        for before, picture in zip(range(number - 1, -1, -1), reversed(self._recent), strict=False):
            face = self._detector.follow(picture.float() / 255, path.faces[before + 1])
            others = [each.faces[before] for each in self._paths if before in each.faces]
            if face.score < LOST or face.area <= 0 or any(_same(face, other) for other in others):
                return
            path.faces[before] = face


def _same(one: Face, other: Face) -> bool:
    """Whether two faces of one frame are one: their centres are closer than two faces can be."""
    distance = float(np.hypot(*np.subtract(one.centre, other.centre)))
    return distance < 0.4 * max(one.size, other.size)


def _cost(path: _Path, face: Face, person: Tensor | None, number: int) -> float:
    """How badly a face fits a track, infinite where it cannot be its own."""
    known = path.expected(number)
    size = max(known.size, face.size)
    distance = float(np.hypot(*np.subtract(known.centre, face.centre))) / size
    gone = number - path.last
    if distance > NEAR * (1 + 0.1 * gone) or not 0.6 < known.size / face.size < 1.7:
        return float("inf")
    if person is None or path.person is None:
        return distance
    alike = float(person @ path.person)
    return float("inf") if alike < STRANGER else distance + 1 - alike


def _remember(path: _Path, person: Tensor | None, number: int) -> None:
    """Let a track know its person a little better."""
    path.checked = number
    if person is not None:
        path.person = person if path.person is None else normalize(path.person + 0.3 * person, dim=0)


def _bridged(path: _Path) -> Track:
    """The track, its gaps filled by straight lines."""
    numbers = np.array(sorted(path.faces))
    every = np.arange(numbers[0], numbers[-1] + 1)
    faces = [path.faces[number] for number in numbers]
    points = np.stack([face.landmarks.astype(np.float64).ravel() for face in faces])
    boxes = np.array([face.box for face in faces], np.float64)
    filled = [np.stack([np.interp(every, numbers, column) for column in values.T], 1) for values in (points, boxes)]
    scores = np.zeros(len(every))
    scores[numbers - every[0]] = [face.score for face in faces]
    severity = float(np.median(path.severities)) if path.severities else None
    return Track(0, int(numbers[0]), filled[0].reshape(-1, 5, 2), filled[1], scores, severity)
