"""Tracks: one person each, over gaps and past other people, cut with the scene, and the same after a round trip."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from clrface_core.errors import CLRFaceError
from clrface_core.faces.detect import Face
from clrface_core.faces.select import Detection
from clrface_core.video.follow import BRIDGED, Embed, Follower
from clrface_core.video.smooth import smoothed
from clrface_core.video.tracks import Track, Tracks
from tests.tiny import Colours
from tests.video.conftest import Squares, as_tensor, scene

Places = Sequence[Sequence[tuple[float, float]]]


def follow(places: Places, pictures: Sequence[Tensor] | None = None, embed: Embed | None = None) -> Tracks:
    follower = Follower(Squares(places), embed=embed)
    for number, at in enumerate(places):
        follower.see(as_tensor(scene(at, number)) if pictures is None else pictures[number])
    return follower.tracks()


def test_two_faces_are_two_tracks_and_the_picture_is_seldom_searched() -> None:
    places = [[(4 + at, 10.0), (60 - at / 2, 40.0)] for at in range(25)]
    squares = Squares(places)
    follower = Follower(squares)
    for number, at in enumerate(places):
        follower.see(as_tensor(scene(at, number)))
    tracks = follower.tracks()
    assert (tracks.frames, tracks.size, tracks.cuts) == (25, (96, 72), ())
    assert [(track.id, track.first, len(track)) for track in tracks.tracks] == [(0, 0, 25), (1, 0, 25)]
    assert squares.searches == 3
    for track, column in zip(tracks.tracks, (0, 1), strict=True):
        assert track.boxes[:, :2] == pytest.approx(np.array([at[column] for at in places]), abs=1e-4)


def test_a_gap_is_bridged_and_a_long_absence_ends_the_track() -> None:
    here: list[tuple[float, float]] = [(10.0, 10.0)]
    gone: list[tuple[float, float]] = []
    places: Places = [here] * 5 + [gone] * 4 + [[(14.0, 10.0)]] * 6 + [gone] * (BRIDGED + 3) + [here] * 14
    first, second = follow(places).tracks
    assert (first.first, first.last, second.first) == (0, 14, 15 + BRIDGED + 3)
    assert (first.scores == 0).nonzero()[0].tolist() == [5, 6, 7, 8]
    assert np.diff(first.boxes[4:10, 0]) == pytest.approx(4 / 5)


def test_a_face_that_comes_in_between_two_searches_is_followed_back_to_where_it_came_in() -> None:
    places: Places = [[]] * 13 + [[(10.0 + at, 10.0)] for at in range(12)]
    [track] = follow(places).tracks
    assert (track.first, track.last) == (13, 24)


def test_a_track_does_not_jump_to_another_person() -> None:
    """One stands, another walks through and takes the place; colour says who it is."""
    pictures, places = [], []
    for at in range(30):
        picture = scene([], at)
        x = 2 + 2 * at
        picture[20:44, 30:54] = (250, 60, 60)  # stands
        picture[20:44, x : x + 24] = (60, 60, 250)  # walks in front
        hidden = abs(x - 30) < 16
        places.append([(float(x), 20.0)] if hidden else [(30.0, 20.0), (float(x), 20.0)])
        pictures.append(as_tensor(picture))
    for track in follow(places, pictures, Colours()).tracks:
        reds = []
        for number in range(track.first, track.last + 1):
            column, row = (round(at) for at in track.face(number).centre)
            reds.append(bool(pictures[number][0, row, column] > 0.5))
        seen = [red for red, score in zip(reds, track.scores, strict=True) if score > 0]
        assert len(set(seen)) == 1, (track.id, track.first, seen)


def test_a_cut_ends_all_tracks() -> None:
    places: Places = [[(10.0, 10.0)]] * 12
    pictures = [as_tensor(scene([(10, 10)], at)) for at in range(12)]
    for picture in pictures[6:]:
        picture[:, 8:] = 1 - picture[:, 8:]
    tracks = follow(places, pictures)
    assert tracks.cuts == (6,)
    assert [(track.first, track.last) for track in tracks.tracks] == [(0, 5), (6, 11)]


def track(number: int, first: int = 0, frames: int = 4, size: float = 20.0, **more: float) -> Track:
    points = np.arange(frames * 10, dtype=float).reshape(frames, 5, 2) / 7
    boxes = np.tile([0.0, 0.0, size, size], (frames, 1))
    return Track(number, first, points, boxes, np.full(frames, 0.9), **more)


def test_tracks_are_chosen_by_number_size_and_scene() -> None:
    tracks = Tracks(8, (96, 72), (4,), (track(0), track(1, size=30), track(2, first=4), track(3, first=4, size=5)))

    def chosen(**wanted: object) -> list[int]:
        return [each.id for each in tracks.choose(Detection(**wanted)).tracks]  # type: ignore[arg-type]

    assert chosen() == [0, 1, 2, 3] and chosen(faces="1-2") == [1, 2]
    assert chosen(faces="largest") == [1, 2] and chosen(min_size=10) == [0, 1, 2] and chosen(at_most=1) == [0, 2]
    with pytest.raises(CLRFaceError, match="got 4"):
        chosen(faces="4")


def test_a_file_of_tracks_comes_back(tmp_path: Path) -> None:
    tracks = Tracks(9, (96, 72), (4,), (track(0, severity=0.2), track(3, first=4, strength=0.5)))
    tracks.save(tmp_path / "tracks.json")
    again = Tracks.load(tmp_path / "tracks.json")
    assert (again.frames, again.size, again.cuts) == (9, (96, 72), (4,))
    for one, other in zip(tracks.tracks, again.tracks, strict=True):
        for name in ("id", "first", "severity", "strength"):
            assert getattr(one, name) == getattr(other, name)
        assert other.points == pytest.approx(one.points, abs=0.005) and other.boxes == pytest.approx(one.boxes)


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", '{"clrface_tracks": 2, "frames": 1, "size": [1, 1], "cuts": [], "tracks": []}',
        '{"clrface_tracks": 1, "frames": 1, "size": [1, 1], "cuts": [], "tracks": [{"id": 0, "first": 5}]}',
        '{"clrface_tracks": 1, "frames": Infinity, "size": [1, 1], "cuts": [], "tracks": []}',
    ],
)  # fmt: skip
def test_a_file_that_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "tracks.json").write_text(text)
    with pytest.raises(CLRFaceError, match=r"^Expected tracks as clrface writes[^\n]*\.$"):
        Tracks.load(tmp_path / "tracks.json")


def test_smoothing_has_no_lag_and_takes_jitter_away() -> None:
    time = np.arange(60.0)[:, None, None]
    even = np.concatenate([3 + 0.25 * time, 100 - 0.01 * time**2], axis=2)
    assert smoothed(even) == pytest.approx(even, abs=1e-3)
    jitter = np.random.default_rng(0).normal(size=even.shape)
    left = np.diff(smoothed(even + jitter) - even, axis=0)
    assert left.std() < 0.25 * np.diff(jitter, axis=0).std()


def test_a_picture_that_is_shown_again_has_its_faces_in_the_same_places() -> None:
    """A look around a face's last place finds it a little elsewhere, though nothing has changed."""
    shown = [0, 0, 1, 2, 2, 2, 3, 4, 4]

    class Wanders(Squares):
        def follow(self, image: Tensor, face: Face) -> Face:
            found = super().follow(image, face)
            return replace(found, landmarks=found.landmarks + 0.1 * (face.landmarks - found.landmarks) + 0.3)

    follower = Follower(Wanders([[(20.0 + at, 10.0)] for at in range(5)]))
    for at in shown:
        follower.see(as_tensor(scene([(20.0 + at, 10.0)], at)))
    [track] = follower.tracks().tracks
    for places in (track.points, smoothed(track.points)):
        assert (np.diff(places, axis=0).reshape(8, -1).any(1) == np.diff(shown).astype(bool)).all()


def test_what_stands_still_is_smoothed_to_the_bit() -> None:
    place = np.random.default_rng(1).normal(size=(1, 5, 2)) * 100
    still = smoothed(np.repeat(place, 40, axis=0))
    assert (still == still[0]).all() and still[0] == pytest.approx(place[0], abs=1e-3)
    for frames in (1, 2, 3, 4):
        assert smoothed(np.repeat(place, frames, axis=0)).shape == (frames, 5, 2)
    assert torch.from_numpy(still).dtype == torch.float64
