"""A whole video through a tiny model: faces change, nothing else does, and as many pictures come out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from clrface_core import Blending, CLRFaceError, Detection, Restorer, Sampling
from clrface_core.models.bundle import Bundle
from clrface_core.photo import as_photo
from clrface_core.restorer import FaceRestorer
from clrface_core.video import Tracks, find_tracks, restore_video
from clrface_core.video.along import AlongTracks
from clrface_core.video.reading import read_frames
from clrface_core.video.writing import Encoding
from tests.video.conftest import Squares, scene

ALL = Blending(strength=1.0)


@pytest.fixture
def clip(video: Callable[..., Path], tmp_path: Path) -> Path:
    return video(tmp_path / "clip.mp4", [scene([(20 + at, 20)], at) for at in range(8)], sound=True)


@pytest.fixture
def restorer(tiny_bundle: Bundle) -> Restorer:
    return Restorer(FaceRestorer(tiny_bundle), Squares([[(20 + at, 20)] for at in range(8)]))


def test_a_video_is_restored(restorer: Restorer, clip: Path, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    done = restore_video(
        restorer, clip, tmp_path / "out.mp4", blending=ALL, encoding=Encoding(crf=0), callback=events.append
    )
    assert (done.frames, done.chosen, done.left_alone) == (8, (0,), {})
    assert [event["stage"] for event in events] == ["finding"] * 8 + ["restoring"] * 8
    assert all(event["frames"] == 8 for event in events)
    for number, (was, now) in enumerate(zip(read_frames(clip), read_frames(tmp_path / "out.mp4"), strict=True)):
        assert was.time == now.time
        changed = (was.rgb != now.rgb).any(0)
        assert changed[20:44, 20 + number : 44 + number].float().mean() > 0.3
        assert not changed[:, :10].any() and not changed[:10].any() and not changed[:, 60:].any()


def test_tracks_may_be_given_and_chosen(restorer: Restorer, clip: Path, tmp_path: Path) -> None:
    tracks = find_tracks(restorer, clip)
    with pytest.raises(CLRFaceError, match="got 3"):
        restore_video(restorer, clip, tmp_path / "out.mp4", detection=Detection(faces="3"), tracks=tracks)
    none = Tracks(tracks.frames, tracks.size)
    assert restore_video(restorer, clip, tmp_path / "out.mp4", tracks=none, encoding=Encoding(crf=0)).chosen == ()
    for was, now in zip(read_frames(clip), read_frames(tmp_path / "out.mp4"), strict=True):
        assert torch.equal(was.rgb, now.rgb)


@pytest.mark.parametrize("wrong", [Tracks(8, (10, 10)), Tracks(7, (96, 72)), Tracks(9, (96, 72))])
def test_tracks_of_another_video(restorer: Restorer, clip: Path, tmp_path: Path, wrong: Tracks) -> None:
    with pytest.raises(CLRFaceError, match="tracks"):
        restore_video(restorer, clip, tmp_path / "out.mp4", tracks=wrong)
    assert not (tmp_path / "out.mp4").exists()


def test_ending_it_leaves_nothing(restorer: Restorer, clip: Path, tmp_path: Path) -> None:
    def stop(event: dict[str, Any]) -> None:
        if event["stage"] == "restoring" and event["frame"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore_video(restorer, clip, tmp_path / "out.mp4", callback=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_the_same_picture_gives_the_same_picture(tiny_bundle: Bundle, smooth_picture: Any) -> None:
    """Whatever is kept from picture to picture: where nothing moves nothing flickers, to the bit."""
    picture = smooth_picture(72, 96)
    restorer = Restorer(FaceRestorer(tiny_bundle), Squares([[(20, 20)]] * 64))
    from clrface_core.video.restore import follower_for

    follower = follower_for(restorer, Detection())
    for _ in range(9):
        follower.see(picture.clone())
    faces = AlongTracks(restorer, follower.tracks(), Sampling(), ALL)
    results = [faces.restore(number, as_photo(picture.clone())).image for number in range(9)]
    assert not torch.equal(results[0], picture)
    assert all(torch.equal(result, results[0]) for result in results)
