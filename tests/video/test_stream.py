"""Videos in and out: as many pictures, at the same times, in the same colours, with the same sound."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from clrface_core.errors import CLRFaceError
from clrface_core.video.reading import opened, read_frames
from clrface_core.video.writing import Encoding, VideoWriter, container_of, note_in, whole_file
from tests.video.conftest import packets, scene

Video = Callable[..., Path]


def frames(count: int = 12) -> list[np.ndarray]:
    return [scene([(4 + 2 * at, 20)], at) for at in range(count)]


def rewrite(source: Path, target: Path, *, touched: bool = True, encoding: Encoding = Encoding(crf=0)) -> int:
    """Through the reader and the writer; the number of pictures. touched: say that every pixel changed."""
    count = 0
    with (
        opened(source) as original,
        whole_file(target) as file,
        VideoWriter(file, container_of(target), original, encoding, "a note") as writer,
    ):
        for frame in writer.frames():
            writer.write(frame, frame.rgb, torch.full((1, *frame.rgb.shape[1:]), float(touched)))
            count += 1
    return count


@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.mkv"])
def test_pictures_keep_number_and_times_and_sound_its_packets(video: Video, tmp_path: Path, name: str) -> None:
    times = [0, 512, 1536, 1600, 3000, 3512, 4024, 8000, 8512, 9024, 9536, 12000]
    source = video(tmp_path / "in.mp4", frames(), times=times, sound=True)
    assert rewrite(source, tmp_path / name) == 12
    was, now = packets(source, "video"), packets(tmp_path / name, "video")
    # Matroska counts milliseconds, and from the first packet of all: sound may begin before the pictures.
    shift = 1024 / 16000 if name.endswith("mkv") else 0
    assert [float(time) - shift for time, _ in now] == pytest.approx([float(time) for time, _ in was], abs=0.001)
    assert [content for _, content in packets(source, "audio")] == [
        content for _, content in packets(tmp_path / name, "audio")
    ]
    assert note_in(tmp_path / name) == "a note" and note_in(source) is None


@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"colorspace": 1, "color_range": 1},
        {"pix_fmt": "yuvj420p", "color_range": 2},
        {"pix_fmt": "yuv420p10le", "colorspace": 9, "color_range": 1},
    ],
    ids=["plain", "709", "full range", "10 bit"],
)
def test_colours_range_and_depth_stay(video: Video, tmp_path: Path, kind: dict[str, Any]) -> None:
    source = video(tmp_path / "in.mp4", frames(3), **kind)
    rewrite(source, tmp_path / "out.mp4")
    with opened(source) as was, opened(tmp_path / "out.mp4") as now:
        for name in ("pix_fmt", "colorspace", "color_range", "color_trc", "color_primaries"):
            assert getattr(was.streams.video[0].codec_context, name) == getattr(
                now.streams.video[0].codec_context, name
            )
    for before, after in zip(read_frames(source), read_frames(tmp_path / "out.mp4"), strict=True):
        assert float((before.rgb - after.rgb).abs().mean()) < 0.6 / 255


@pytest.mark.parametrize("rotation", [0, 90])
def test_what_is_not_touched_keeps_its_bits(video: Video, tmp_path: Path, rotation: int) -> None:
    source = video(tmp_path / "in.mp4", frames(3), rotation=rotation)
    rewrite(source, tmp_path / "out.mp4", touched=False)
    for before, after in zip(read_frames(source), read_frames(tmp_path / "out.mp4"), strict=True):
        assert torch.equal(before.rgb, after.rgb) and before.turns == after.turns == rotation // 90
        assert before.rgb.shape == ((3, 96, 72) if rotation else (3, 72, 96))


def test_only_the_mask_changes(video: Video, tmp_path: Path) -> None:
    source = video(tmp_path / "in.mp4", frames(1), rotation=90)
    [frame] = read_frames(source)
    mask = torch.zeros(1, *frame.rgb.shape[1:])
    mask[:, 10:20, 30:40] = 1
    with (
        opened(source) as original,
        whole_file(tmp_path / "out.mp4") as file,
        VideoWriter(file, "mp4", original, Encoding(crf=0)) as writer,
    ):
        writer.write(frame, torch.ones_like(frame.rgb), mask)
    [after] = read_frames(tmp_path / "out.mp4")
    assert float(after.rgb[:, 11:19, 31:39].min()) > 0.97
    assert torch.equal(after.rgb[:, :8], frame.rgb[:, :8]) and torch.equal(after.rgb[..., 42:], frame.rgb[..., 42:])


def test_a_failure_leaves_nothing(video: Video, tmp_path: Path) -> None:
    source = video(tmp_path / "in.mp4", frames(2))
    with pytest.raises(KeyError), whole_file(tmp_path / "out.mp4") as file:
        file.write_bytes(b"half")
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


def test_what_cannot_be_written_is_said_in_a_sentence(
    video: Video, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = video(tmp_path / "in.mp4", frames(2))
    with (
        pytest.raises(CLRFaceError, match="without any"),
        opened(source) as original,
        whole_file(tmp_path / "out.mp4") as file,
        VideoWriter(file, "mp4", original),
    ):
        pass  # as if nothing could be decoded

    def refuse(*given: Any) -> None:
        raise av.error.ArgumentError(22, "Invalid argument")

    monkeypatch.setattr(VideoWriter, "_mux", refuse)
    with pytest.raises(CLRFaceError, match=r"^Expected [^\n]*FFmpeg refuses \(Invalid argument\)"):
        rewrite(source, tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


@pytest.mark.parametrize("name", ["none.mp4", "text.mp4", "sound.mkv"])
def test_what_is_no_video_is_said_in_a_sentence(video: Video, tmp_path: Path, name: str) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "sound.mkv").write_bytes(b"\x1a\x45\xdf\xa3")
    with pytest.raises(CLRFaceError, match=r"^Expected a video[^\n]*\.$"):
        list(read_frames(tmp_path / name))


def test_sound_that_webm_cannot_hold(video: Video, tmp_path: Path) -> None:
    source = video(tmp_path / "in.mp4", frames(1), sound=True)
    with pytest.raises(CLRFaceError, match="audio that WebM can hold"):
        rewrite(source, tmp_path / "out.webm", encoding=Encoding())
    assert not (tmp_path / "out.webm").exists()


def test_encodings() -> None:
    assert Encoding().in_container("webm") == "av1" and Encoding().in_container("mp4") == "h264"
    with pytest.raises(CLRFaceError, match="codec"):
        Encoding("mpeg2")
    with pytest.raises(CLRFaceError, match="crf"):
        Encoding(crf=80)
    with pytest.raises(CLRFaceError, match="av1 in a WebM"):
        Encoding("h264").in_container("webm")
