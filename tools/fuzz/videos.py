"""Damaged videos, and files of tracks that say something else."""

from __future__ import annotations

import contextlib
import json
import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from clrface_core.errors import CLRFaceError
from clrface_core.faces.select import Detection
from clrface_core.video.reading import opened, pyav
from clrface_core.video.tracks import Track, Tracks
from clrface_core.video.writing import Encoding, VideoWriter, note_in, whole_file

from .entrances import Case, Wrong, check_picture
from .mutate import mutate_bytes, mutate_json

FRAMES = 4


def sample(path: Path, codec: str, pix_fmt: str = "yuv420p", *, sound: bool = False) -> bytes:
    """A small good video."""
    av = pyav()
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, pix_fmt
        audio = file.add_stream("aac", rate=16000, layout="mono") if sound else None
        for number in range(FRAMES):
            pixels = np.random.default_rng(number).integers(0, 256, (32, 48, 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
        if audio is not None:
            part = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            part.sample_rate, part.pts = 16000, 0
            file.mux(audio.encode(part))
            file.mux(audio.encode(None))
    return path.read_bytes()


def videos(folder: Path) -> Case:
    """Damaged files, read and written again."""
    pyav().logging.set_level(None)
    samples = {
        ".mp4": [sample(folder / "a.mp4", "libx264", sound=True), sample(folder / "b.mp4", "mpeg4")],
        ".mkv": [sample(folder / "a.mkv", "libx264", sound=True), sample(folder / "b.mkv", "mjpeg", "yuvj420p")],
        ".avi": [sample(folder / "a.avi", "mpeg4")],
    }
    others = [data for group in samples.values() for data in group]
    target = folder / "out.mp4"

    def case(draw: random.Random) -> str:
        suffix = draw.choice(list(samples))
        path = folder / f"in{suffix}"
        path.write_bytes(mutate_bytes(draw.choice(samples[suffix]), draw, others))
        note_in(path)
        try:
            with (
                opened(path) as original,
                whole_file(target) as file,
                VideoWriter(file, "mp4", original, Encoding(crf=30)) as writer,
            ):
                for frame in writer.frames():
                    check_picture(frame.rgb)
                    writer.write(frame, 1 - frame.rgb, torch.ones(1, *frame.rgb.shape[1:]))
        except CLRFaceError:
            return "refused"
        finally:
            left = [each.name for each in folder.iterdir() if each.name.startswith(".")]
            for name in left:
                (folder / name).unlink()
        if left:
            raise Wrong(f"left over: {left}")
        with contextlib.suppress(FileNotFoundError):
            target.unlink()
        return "taken"

    return case


def tracks(folder: Path) -> Case:
    """Files of tracks, edited beyond sense."""
    points = np.arange(40, dtype=np.float64).reshape(4, 5, 2)
    some = Track(3, 1, points, np.tile([1.0, 2, 20, 30], (4, 1)), np.ones(4), 0.4, 0.5)
    good, path = json.loads(Tracks(8, (48, 32), (5,), (some,)).as_text()), folder / "tracks.json"

    def case(draw: random.Random) -> str:
        text = json.dumps(mutate_json(good, draw)).encode()
        path.write_bytes(mutate_bytes(text, draw, [text]) if draw.random() < 0.3 else text)
        try:
            found = Tracks.load(path)
            kept = found.choose(Detection(faces=draw.choice(("all", "largest"))))
            again = Tracks.from_text(found.as_text())
        except CLRFaceError:
            return "refused"
        if len(kept.tracks) > len(found.tracks) or len(again.tracks) != len(found.tracks):
            raise Wrong("tracks that were not there")
        for track in found.tracks:
            if not (np.isfinite(track.points).all() and 0 <= track.first <= track.last < found.frames):
                raise Wrong("a track that is nowhere")
        return "taken"

    return case
