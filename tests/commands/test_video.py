"""`clrface restore` of videos: which inputs they are, what is written, and what is said."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clrface_core.video import restore as video_restore
from clrface_core.video.kinds import begins_as_video, is_video
from tests.tiny import files_in, picture
from tests.video.conftest import Squares, make_video, packets, scene

Restore = Callable[..., int]


@pytest.fixture
def restore_clip(restore: Restore, monkeypatch: pytest.MonkeyPatch) -> Restore:
    """`clrface restore` with a detector that follows the square of `clip`."""
    squares = Squares([[(20 + at, 20)] for at in range(6)])
    monkeypatch.setattr("clrface_core.pipeline.load_detector", lambda *args, **kwargs: squares)
    return restore


def clip(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    return make_video(path, [scene([(20 + at, 20)], at) for at in range(6)], sound=True)


def test_a_video_to_a_file_with_a_report_and_resumed(restore_clip: Restore, tmp_path: Path, capsys: Any) -> None:
    source, done, tracks = clip(tmp_path / "clip.mp4"), tmp_path / "out.mp4", tmp_path / "tracks.json"
    options = (source, "-o", done, "--tracks", tracks, "--strength", "1", "--json", "--resume")
    assert restore_clip(*options) == 0
    [record] = json.loads(capsys.readouterr().out)["results"]
    assert (record["frames"], record["error"], record["cuts"]) == (6, None, [])
    assert [(track["id"], track["first"], track["last"], track["restored"]) for track in record["tracks"]] == [
        (0, 0, 5, True)
    ]
    assert len(packets(done, "video")) == 6
    assert restore_clip(*options) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["skipped"]
    tracks.write_text(tracks.read_text().replace('"strength": null', '"strength": 0.5'))
    assert restore_clip(*options) == 0
    assert "skipped" not in json.loads(capsys.readouterr().out)["results"][0]


def test_an_interrupted_run_reports_the_videos_it_has_done(
    restore_clip: Restore, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.mp4", "b.mp4"):
        clip(tmp_path / "in" / name)
    done = video_restore.restore_video

    def interrupted(restorer: Any, source: Path, *given: Any, **named: Any) -> Any:
        if source.name == "b.mp4":
            raise KeyboardInterrupt
        return done(restorer, source, *given, **named)

    monkeypatch.setattr(video_restore, "restore_video", interrupted)
    assert restore_clip(tmp_path / "in", "-o", tmp_path / "out", "--json") == 130
    told = json.loads(capsys.readouterr().out)
    assert told["interrupted"] and [Path(each["output"]).name for each in told["results"]] == ["a.mp4"]


def test_a_folder_of_pictures_and_videos(restore_clip: Restore, tmp_path: Path, capsys: Any) -> None:
    clip(tmp_path / "in" / "clip.mp4")
    clip(tmp_path / "in" / "clip.avi.mkv").rename(tmp_path / "in" / "clip.avi")
    assert restore_clip(tmp_path / "in", "-o", tmp_path / "out", "--strength", "1") == 0
    assert files_in(tmp_path / "out") == ["clip.mp4", "clip.mp4.mp4"]
    assert "6 frames, 1 of 1 tracks restored" in capsys.readouterr().out


def test_files_that_are_not_ours_stay(restore_clip: Restore, tmp_path: Path, capsys: Any) -> None:
    source = clip(tmp_path / "clip.mp4")
    before = source.read_bytes()
    assert restore_clip(source, "-o", source) == 1
    assert "which is the input" in capsys.readouterr().err
    other = clip(tmp_path / "other.mp4")
    assert restore_clip(source, "-o", other) == 1
    assert "clrface did not write it" in capsys.readouterr().err
    assert restore_clip(source, "-o", other, "--overwrite") == 0
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    "wrong",
    [
        ("-o", "out.png"), ("-o", "out.avi"), ("-o", "out.webm", "--codec", "h264", "--quiet"),
        ("-o", "out", "--aligned"), ("-o", "out", "--codec", "h264", "--crf", "60"),
    ],
)  # fmt: skip
def test_wrong_usage(restore_clip: Restore, tmp_path: Path, wrong: tuple[str, ...], monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    source = clip(tmp_path / "clip.mp4")
    try:
        assert restore_clip(source, *wrong) == 1
    except SystemExit as end:
        assert end.code == 2
    assert files_in(tmp_path) == ["clip.mp4"]


def test_what_is_a_video(tmp_path: Path) -> None:
    clip(tmp_path / "clip.mp4").rename(tmp_path / "clip")
    assert is_video(tmp_path / "clip") and is_video(Path("a.MOV"))
    assert not is_video(picture(tmp_path / "a.png")) and not is_video(tmp_path / "none")
    assert begins_as_video(b"\x1a\x45\xdf\xa3" + bytes(12)) and not begins_as_video(b"\0\0\0\x1cftypavif" + bytes(4))
