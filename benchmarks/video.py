"""What a video costs: time a picture and where it goes, and memory as the video gets longer.

    python -m benchmarks.video --frames 300                       # 720p, the two sample faces
    python -m benchmarks.video --frames 3000 --height 180 --tiny  # memory alone, with a tiny model

The clip is made of the sample pictures, moves slowly, and has fresh noise in every picture. Times are of the
processor, not of the clock: what else the machine does counts little.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import av
import numpy as np
import torch
from torch import Tensor

from clrface_core import Blending, Detection, Restorer
from clrface_core.evaluation.video.clips import Clip, fitted
from clrface_core.evaluation.video.run import degradation
from clrface_core.models.bundle import build
from clrface_core.photo import as_photo
from clrface_core.restorer import FaceRestorer
from clrface_core.video import along, reading, restore, steady, writing

SAMPLES = Path(__file__).resolve().parents[1] / "samples" / "clean"
STAGES: dict[str, tuple[Any, str]] = {
    "decode": (reading, "rgb_of"),
    "align": (along, "align_faces"),
    "movement": (steady.SteadyFace, "_averaged"),
    "estimate": (along, "_estimated"),
    "invent detail": (along, "_invented"),
    "paste": (along, "paste_faces"),
    "tone": (along, "keep_tone"),
    "encode": (writing.VideoWriter, "write"),
}
"""Functions of the second pass that are timed. "movement" leaves the search for it out, which is small."""


def scene(height: int) -> Tensor:
    """The two sample faces side by side, (3,height,W) in 16:9."""
    width = round(height * 16 / 9 / 2) * 2
    half = [fitted(as_photo(SAMPLES / name).rgb, height, at) for name, at in FACES.items()]
    picture = torch.full((3, height, width), 0.45)
    for place, face in enumerate(half):
        side = min(height, width // 2)
        left = (height - side) // 2
        picture[:, :, place * (width // 2) : place * (width // 2) + side] = face[:, :, left : left + side]
    return picture


FACES = {"grace-hopper.jpg": (256.0, 290.0, 560.0), "astronaut.jpg": (256.0, 190.0, 380.0)}
"""The sample pictures and the square of each that is shown: its middle and side."""


def make_clip(path: Path, frames: int, height: int) -> Clip:
    """Write it; two passes of a hand-held camera."""
    clip = Clip(scene(height), "hand", frames, degradation())
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.height, stream.width = clip.still.shape[1:]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "16", "preset": "veryfast"}
        truth, random = [clip.frame(at) for at in range(min(frames, 24))], np.random.default_rng(0)
        for number in range(frames):  # there and back, so that long clips cost little to make
            at = number % (2 * len(truth) - 2) if len(truth) > 1 else 0
            picture = truth[at if at < len(truth) else 2 * len(truth) - 2 - at].movedim(0, -1).numpy() * 255
            noisy = np.clip(picture + random.normal(0, 1, picture.shape), 0, 255).round().astype(np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(noisy, format="rgb24")))
        file.mux(stream.encode(None))
    return clip


@contextmanager
def timed(seconds: dict[str, float]) -> Iterator[None]:
    """Add up the processor time of STAGES."""

    def watched(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            start = time.process_time()
            try:
                return function(*args, **options)
            finally:
                seconds[name] += time.process_time() - start

        return run

    patches = [
        mock.patch.object(home, name, watched(stage, getattr(home, name))) for stage, (home, name) in STAGES.items()
    ]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()


def resident() -> float:
    """Megabytes of memory in use now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(frames: int, height: int, tiny: bool) -> dict[str, Any]:
    """Both passes over a clip; see the module."""
    restorer = Restorer.load()
    if tiny:
        restorer = Restorer(FaceRestorer(build("tiny"), restorer.faces.identity_net), restorer.detector)
    memory: list[tuple[int, float]] = []
    times: dict[str, float] = {}
    seconds: dict[str, float] = defaultdict(float)

    def note(event: dict[str, Any]) -> None:
        if event["stage"] == "restoring" and event["frame"] % 10 == 0:
            memory.append((event["frame"], resident()))

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "clip.mp4", Path(folder) / "out.mp4"
        clip = make_clip(source, frames, height)
        start = time.process_time()
        tracks = restore.find_tracks(restorer, source)
        times["find"] = (time.process_time() - start) / frames
        with timed(seconds):
            start = time.process_time()
            showing = Blending(strength=1.0) if tiny else Blending()  # an untrained model finds every face clean
            done = restore.restore_video(restorer, source, target, blending=showing, tracks=tracks, callback=note)
            times["restore"] = (time.process_time() - start) / frames
        written = sum(1 for _ in reading.read_frames(target))
    photos = []
    for _ in range(0 if tiny else 3):
        start = time.process_time()
        restorer.restore(clip.frame(0), detection=Detection())
        photos.append(time.process_time() - start)
    settled = np.array([each for each in memory if each[0] >= frames / 4])
    slope = float(np.polyfit(settled[:, 0], settled[:, 1], 1)[0] * 1000) if len(settled) > 2 else float("nan")
    stages = {name: seconds[name] / frames for name in STAGES}
    photo = float(np.median(photos)) if photos else float("nan")
    return {
        "frames in": done.frames,
        "frames out": written,
        "tracks": [(track.first, len(track)) for track in tracks.tracks],
        "seconds a frame": times,
        "second pass, by stage": stages | {"rest": times["restore"] - sum(stages.values())},
        "seconds a photo": photo,
        "of a photo": sum(times.values()) / photo,
        "MB per 1000 frames": slope,
        "MB": [round(each) for _, each in memory[:: max(len(memory) // 8, 1)]],
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--height", type=int, default=720)
    parser.add_argument("--tiny", action="store_true", help="a tiny untrained model, for memory alone")
    args = parser.parse_args()
    print(json.dumps(measure(args.frames, args.height, args.tiny), indent=1))


if __name__ == "__main__":
    main()
