"""A video's faces restored along their tracks: once over it to find them, once more to restore them.

Both passes hold one picture at a time, and what is kept of the ones before it is a few crops per face.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..diffusion.refine import Sampling
from ..errors import CLRFaceError
from ..faces.align import align_faces
from ..faces.detect import Face
from ..faces.paste import Blending
from ..faces.select import Detection
from ..photo import as_photo
from ..pipeline import Restorer
from ..references import References
from ..severity import in_photo, severity
from .along import AlongTracks
from .follow import Follower
from .reading import Source, opened, read_frames
from .steady import Steadying
from .tracks import Tracks
from .writing import Encoding, VideoWriter, container_of, whole_file

Progress = Callable[[dict[str, Any]], None]
"""Called after every picture with "stage" ("finding" or "restoring"), "frame" (its number), "frames" (how many there
are, or about; 0 where nobody knows) and "picture" (3,H,W). Whatever it raises ends the work and reaches the caller."""


@dataclass(frozen=True)
class VideoRestoration:
    """What became of a video.

    frames: pictures read, and written. tracks: all faces found. chosen: the numbers of those restored.
    left_alone: the numbers of chosen ones of which nothing shows, and why.
    """

    frames: int
    tracks: Tracks
    chosen: tuple[int, ...]
    left_alone: dict[int, str]


def find_tracks(
    restorer: Restorer, source: Source, detection: Detection = Detection(), *, callback: Progress | None = None
) -> Tracks:
    """The tracks of all faces in a video (a path, or an open file).

    detection: how faces are found; which of them are chosen is asked later.
    CLRFaceError where it cannot be read.
    """
    follower, frames = follower_for(restorer, detection), frames_in(source)
    for frame in read_frames(source):
        follower.see(frame.rgb)
        if callback is not None:
            callback({"stage": "finding", "frame": frame.number, "frames": frames, "picture": frame.rgb})
    return follower.tracks()


def follower_for(restorer: Restorer, detection: Detection) -> Follower:
    """Who follows faces for a restorer, and judges how degraded they are."""

    @torch.no_grad()
    def judge(rgb: Tensor, face: Face) -> float:
        crop, alignment = align_faces(rgb, [face], restorer.faces.bundle.size)
        [degraded] = severity(crop, restorer.faces.estimate(crop).to(crop))
        return in_photo(degraded, alignment.side(0))

    return Follower(restorer.detector, detection, restorer.faces.identity_net, judge)


def frames_in(source: Source) -> int:
    """How many pictures a video says that it has, or about; 0 where it does not."""
    with opened(source) as container:
        stream = container.streams.video[0]
        if stream.frames or not (stream.average_rate and container.duration):
            return int(stream.frames)
        return round(container.duration / 1_000_000 * stream.average_rate)


def restore_video(
    restorer: Restorer,
    source: Source,
    target: Path,
    sampling: Sampling = Sampling(),
    detection: Detection = Detection(),
    blending: Blending = Blending(),
    *,
    tracks: Tracks | None = None,
    references: References | Iterable[Any] | None = None,
    steadying: Steadying = Steadying(),
    encoding: Encoding = Encoding(),
    note: str = "",
    callback: Progress | None = None,
) -> VideoRestoration:
    """Restore the faces of a video, and write it: as many pictures, at the same times, with the same sound.

    source: a path, or an open file. target: a name ending in one of `kinds.CONTAINERS`.
    tracks: what `find_tracks` gave for this video, perhaps edited; without them they are found first.
    detection: how faces are found, and by the numbers of their tracks which ones are restored (see `Tracks.choose`).
    note: a line that `writing.note_in` finds in the result. The others: see `Restorer.restore`.
    CLRFaceError where it cannot be read or written, and for tracks that are of another video.
    """
    container = container_of(target)
    encoding.in_container(container)
    found = tracks if tracks is not None else find_tracks(restorer, source, detection, callback=callback)
    chosen, number = found.choose(detection), -1
    faces = AlongTracks(restorer, chosen, sampling, blending, references, steadying)
    with opened(source) as original, whole_file(target) as file:
        with VideoWriter(file, container, original, encoding, note) as writer:
            for frame in writer.frames():
                number = frame.number
                _check_fits(found, number, frame.rgb)
                done = faces.restore(number, as_photo(frame.rgb))
                writer.write(frame, done.image, done.mask)
                if callback is not None:
                    callback({"stage": "restoring", "frame": number, "frames": found.frames, "picture": done.image})
        if number + 1 != found.frames or number < 0:
            raise CLRFaceError(
                f"Expected a video of {found.frames} pictures, as its tracks say, got {number + 1}: make them anew."
            )
    return VideoRestoration(number + 1, found, tuple(track.id for track in chosen.tracks), faces.left_alone)


def _check_fits(tracks: Tracks, number: int, rgb: Tensor) -> None:
    """CLRFaceError unless the tracks can be of this video."""
    size = (rgb.shape[2], rgb.shape[1])
    if size != tracks.size or number >= tracks.frames:
        raise CLRFaceError(
            f"Expected tracks of this video, got those of one with {tracks.frames} pictures of "
            f"{tracks.size[0]}x{tracks.size[1]}: name the right file, or delete it to have it made anew."
        )
