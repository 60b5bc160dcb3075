"""Small videos made on the spot, and a detector that follows a bright square as if it were a face."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from torch import Tensor

from clrface_core.faces.detect import Face
from clrface_core.video.reading import converted, full_range
from tests.tiny import face_at

TICKS = 12800
"""Of the videos' clock, a second."""


def make_video(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    times: Sequence[int] | None = None,
    pix_fmt: str = "yuv420p",
    colorspace: Any = None,
    color_range: Any = None,
    rotation: int = 0,
    sound: bool = False,
) -> Path:
    """A video of pictures (H,W,3) uint8, at these ticks, by default 25 a second."""
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.options = width, height, pix_fmt, {"crf": "8"}
        stream.codec_context.time_base = Fraction(1, TICKS)
        if colorspace is not None:
            stream.codec_context.colorspace = colorspace
        if color_range is not None:
            stream.codec_context.color_range = color_range
        if rotation:
            stream.set_display_rotation(rotation)
        audio = file.add_stream("aac", rate=16000, layout="mono") if sound else None
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame = converted(frame, pix_fmt, full_range(), color_range, colorspace=colorspace)
            if color_range is not None:
                frame.color_range = color_range
            frame.pts = number * TICKS // 25 if times is None else times[number]
            frame.time_base = Fraction(1, TICKS)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
        if audio is not None:
            wave = np.sin(np.arange(8 * 1024) / 9)[None].astype(np.float32)
            for start in range(0, wave.shape[1], 1024):
                part = av.AudioFrame.from_ndarray(wave[:, start : start + 1024], format="fltp", layout="mono")
                part.sample_rate, part.pts = 16000, start
                file.mux(audio.encode(part))
            file.mux(audio.encode(None))
    return path


@pytest.fixture
def video() -> Callable[..., Path]:
    return make_video


def packets(path: Path, kind: str) -> list[tuple[Fraction, bytes]]:
    """(time, content) of the packets of one kind of stream, by time."""
    with av.open(str(path)) as file:
        found = [packet for packet in file.demux() if packet.dts is not None and packet.stream.type == kind]
        return sorted((packet.pts * packet.time_base, bytes(packet)) for packet in found)


def scene(at: Sequence[tuple[float, float]], number: int = 0, size: tuple[int, int] = (96, 72), side: int = 24) -> Any:
    """Picture (H,W,3) uint8 of a video: its number in the corner, on grey a square of its own colour at each place."""
    picture = np.full((size[1], size[0], 3), 90, np.uint8)
    picture[:8, :8] = 4 * number
    colours = np.random.default_rng(0).integers(120, 256, (len(at), 3), dtype=np.uint8)
    for (x, y), colour in zip(at, colours, strict=True):
        picture[round(y) : round(y) + side, round(x) : round(x) + side] = colour
    return picture


def as_tensor(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(picture).movedim(-1, 0).float() / 255


def number_in(picture: Tensor) -> int:
    """Which picture of a scene it is: its first corner says."""
    return round(float(picture[:, 1:7, 1:7].mean()) * 255 / 4)


class Squares:
    """A detector that knows where the squares are in every picture of a video (see `scene`).

    `follow` finds the nearest, if it is near.
    """

    def __init__(self, places: Sequence[Sequence[tuple[float, float]]], side: int = 24) -> None:
        self.places, self.side, self.searches = places, side, 0

    def _faces(self, image: Tensor) -> list[Face]:
        return [face_at(x, y, self.side) for x, y in self.places[number_in(image)]]

    def detect(self, image: Tensor, score_threshold: float) -> list[Face]:
        self.searches += 1
        return self._faces(image)

    def follow(self, image: Tensor, face: Face) -> Face:
        def away(other: Face) -> float:
            return float(np.hypot(*np.subtract(other.centre, face.centre)))

        near = [each for each in self._faces(image) if away(each) < self.side / 2]
        return min(near, key=away) if near else Face(face.box, 0.0, face.landmarks)
