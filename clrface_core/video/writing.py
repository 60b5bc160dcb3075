"""Pictures back into a video: with the timestamps, colours and sound of the one that they came from."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CLRFaceError
from ..photo.opening import shown
from ..photo.replace_file import HOST
from .kinds import CONTAINERS
from .reading import Frame, converted, decoded, depth_of, full_range, opened, pyav, range_of, reason

if TYPE_CHECKING:
    import av

ENCODERS = {"h264": "libx264", "av1": "libsvtav1"}
CODECS = ("auto", *ENCODERS)
QUALITY = {"h264": 18, "av1": 24}
"""CRF where none is named: no loss that the eye sees at normal distance."""
WORST = {"h264": 51, "av1": 63}
NOTE = "clrface"
"""Name of the entry in a video's metadata that says that clrface wrote it, and from what."""
IN_WEBM = {"audio": ("opus", "vorbis"), "subtitle": ("webvtt",)}
"""Codecs that may go into WebM beside the pictures."""


@dataclass(frozen=True)
class Encoding:
    """How a video is written; CLRFaceError for values out of range.

    codec: "h264", "av1", or "auto": AV1 in WebM and H.264 elsewhere. crf: constant rate factor, 0 is without loss
    (in H.264), 51 (63 in AV1) the worst; None is 18, and 24 in AV1.
    """

    codec: str = "auto"
    crf: float | None = None

    def __post_init__(self) -> None:
        if self.codec not in CODECS:
            raise CLRFaceError(f"Expected a codec among {', '.join(CODECS)}, got {self.codec!r}: choose one.")
        most = WORST.get(self.codec, 51)
        if self.crf is not None and not 0 <= self.crf <= most:
            raise CLRFaceError(f"Expected a crf from 0 to {most}, got {self.crf}: 18 is usual, lower is better.")

    def in_container(self, container: str) -> str:
        """The codec for a kind of file; CLRFaceError where it cannot hold that."""
        codec = ("av1" if container == "webm" else "h264") if self.codec == "auto" else self.codec
        if container == "webm" and codec != "av1":
            raise CLRFaceError(f"Expected av1 in a WebM file, got {codec}: choose it, or a name ending in .mp4.")
        return codec


def container_of(path: Path) -> str:
    """The kind of file that a name ends in; CLRFaceError for one that is not written."""
    if path.suffix.lower() not in CONTAINERS:
        raise CLRFaceError(f"Expected a video's name ending in {', '.join(CONTAINERS)}, got {path.name}: rename it.")
    return CONTAINERS[path.suffix.lower()]


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file beside `path` to be written; it takes that name when it is done, and is gone where that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".clrface-{HOST}-{os.getpid()}-{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def note_in(path: Path) -> str | None:
    """The note that clrface put into a video which it wrote; None in any other file."""
    try:
        with opened(path) as container:
            return next((value for key, value in container.metadata.items() if key.lower() == NOTE), None)
    except CLRFaceError:
        return None


class VideoWriter:
    """A video made like another: streams that are not pictures are copied, packet by packet."""

    def __init__(
        self,
        file: Path,
        container: str,
        source: av.container.InputContainer,
        encoding: Encoding = Encoding(),
        note: str = "",
    ) -> None:
        """file: what is written. container: its kind, one of `kinds.CONTAINERS`. source: the open original.
        note: see `note_in`."""
        self._codec = encoding.in_container(container)
        self._crf = QUALITY[self._codec] if encoding.crf is None else encoding.crf
        options = {"movflags": "use_metadata_tags+faststart"} if container in ("mp4", "mov") else {}
        self._source, self._input = source, source.streams.video[0]
        _check_streams(source, container)
        try:
            self._file = pyav().open(str(file), mode="w", format=container, options=options)
        except OSError as error:
            raise CLRFaceError(
                f"Expected to write {shown(file)}, which failed ({error.strerror}): change it."
            ) from error
        self._file.metadata.update({key: value for key, value in source.metadata.items() if key.lower() != NOTE})
        self._file.metadata[NOTE] = note or "restored"
        self._video = self._file.add_stream(ENCODERS[self._codec], rate=self._input.average_rate or 25)
        self._copies = {
            stream.index: self._file.add_stream_from_template(stream)
            for stream in source.streams
            if stream.type in ("audio", "subtitle") and stream.codec_context is not None
        }
        self._last: int | None = None
        self._durations: dict[int, int] = {}
        self._begun = False
        self._waiting: list[av.Packet] = []

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        try:
            if kind is None and not self._begun:
                raise CLRFaceError("Expected a video with pictures, got one without any that can be decoded: check it.")
            if kind is None:
                with _told():
                    self._mux(self._video.encode(None))
        finally:
            with _told() if kind is None else contextlib.suppress(pyav().error.FFmpegError):
                self._file.close()

    def frames(self) -> Iterator[Frame]:
        """The pictures of the source, while all that is not pictures is copied."""
        others: list[av.Packet] = []
        for frame in decoded(self._source, self._source.demux(), others):
            self._copy(others)
            yield frame
        self._copy(others)

    def _copy(self, packets: list[av.Packet]) -> None:
        while packets:
            self._copy_one(packets.pop(0))

    def _copy_one(self, packet: av.Packet) -> None:
        """Put in a packet of another stream of the source, as it is."""
        if packet.dts is None or packet.stream.index not in self._copies:
            return
        packet.stream = self._copies[packet.stream.index]
        if self._begun:
            with _told():
                self._file.mux(packet)
        else:  # the file's head, which comes first, tells what the pictures are
            self._waiting.append(packet)

    def write(self, frame: Frame, rgb: Tensor, mask: Tensor) -> None:
        """The next picture: that of `frame` with `rgb` (3,H,W) in [0,1] where `mask` (1,H,W) is above 0."""
        if not self._begun:
            self._begin(frame)
        picture = self._picture(frame, rgb, mask)
        picture.pts, picture.time_base = self._timestamp(frame.stored), self._input.time_base
        picture.pict_type = 0  # the decoder's would be taken for a wish
        self._durations[picture.pts] = frame.stored.duration or 0
        with _told():
            self._mux(self._video.encode(picture))

    def _begin(self, frame: Frame) -> None:
        """Set the encoder up for pictures like this one."""
        stored, context = frame.stored, self._video.codec_context
        context.width, context.height = stored.width, stored.height
        context.pix_fmt = "yuv420p10le" if depth_of(stored) > 8 else "yuv420p"
        context.time_base = self._input.time_base
        if self._input.sample_aspect_ratio:
            context.sample_aspect_ratio = self._input.sample_aspect_ratio
        for name in ("color_primaries", "color_trc", "colorspace"):
            setattr(context, name, getattr(stored, name))
        context.color_range = range_of(stored)
        lossless_av1 = self._codec == "av1" and self._crf == 0
        context.options = {"svtav1-params": "lossless=1"} if lossless_av1 else {"crf": f"{self._crf:g}"}
        if frame.turns:
            self._video.set_display_rotation(stored.rotation)
        self._begun = True
        with _told():
            for packet in self._waiting:
                self._file.mux(packet)
        self._waiting.clear()

    def _timestamp(self, stored: av.VideoFrame) -> int:
        """Its own, unless it is missing or does not come after the last one."""
        tick = self._input.time_base or Fraction(1, 25)
        step = round(1 / (tick * (self._input.average_rate or 25))) or 1
        pts = stored.pts
        if pts is None or (self._last is not None and pts <= self._last):
            pts = 0 if self._last is None else self._last + step
        self._last = pts
        return pts

    def _picture(self, frame: Frame, rgb: Tensor, mask: Tensor) -> av.VideoFrame:
        """What is encoded: the stored planes, and other values only where the mask is above 0."""
        stored, pix_fmt = frame.stored, self._video.codec_context.pix_fmt
        span = range_of(stored)
        picture = converted(stored, pix_fmt, span, span)
        changed = mask[0] > 0
        if changed.any():
            new = _from_rgb(torch.rot90(rgb, -frame.turns, (1, 2)), stored, pix_fmt)
            changed = torch.rot90(changed, -frame.turns, (0, 1)).contiguous()
            picture = _copy_of(picture)
            for old_plane, new_plane in zip(_planes(picture), _planes(new), strict=True):
                where = _reduced(changed, old_plane.shape)
                old_plane[where] = new_plane[where]
        for name in ("color_primaries", "color_trc", "colorspace"):
            setattr(picture, name, getattr(stored, name))
        picture.color_range = span
        return picture

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts or 0, 0)
            self._file.mux(packet)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What FFmpeg refuses to write as CLRFaceError; what the disk refuses stays as it is."""
    try:
        yield
    except pyav().error.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise CLRFaceError(
            f"Expected a video whose pictures and sound can be written, got one that FFmpeg refuses ({reason(error)}): "
            "convert it first, or choose another ending."
        ) from error


def _check_streams(source: av.container.InputContainer, container: str) -> None:
    """CLRFaceError where the sound of the source cannot be copied into a kind of file."""
    for stream in source.streams:
        allowed = IN_WEBM.get(stream.type) if container == "webm" else None
        if allowed and stream.codec_context is not None and stream.codec.canonical_name not in allowed:
            raise CLRFaceError(
                f"Expected {stream.type} that WebM can hold ({', '.join(allowed)}), got {stream.codec.canonical_name}: "
                "choose a name ending in .mkv or .mp4."
            )


def _from_rgb(rgb: Tensor, like: av.VideoFrame, pix_fmt: str) -> av.VideoFrame:
    """A picture (3,H,W) in [0,1] as planes of luma and chroma, with the matrix and range of another one."""
    av = pyav()
    deep = pix_fmt.endswith("10le")
    most, kind = (65535, np.uint16) if deep else (255, np.uint8)
    pixels = (rgb.clamp(0, 1) * most).round().movedim(0, -1).contiguous().cpu().numpy().astype(kind)
    picture = av.VideoFrame.from_ndarray(pixels, format="rgb48le" if deep else "rgb24")
    return converted(picture, pix_fmt, full_range(), range_of(like), colorspace=like.colorspace)


def _copy_of(picture: av.VideoFrame) -> av.VideoFrame:
    """Planes of one's own to write to: a decoder may still need those that it gave out."""
    copy = pyav().VideoFrame(picture.width, picture.height, picture.format.name)
    for ours, theirs in zip(_planes(copy), _planes(picture), strict=True):
        ours[:] = theirs
    return copy


def _planes(picture: av.VideoFrame) -> list[np.ndarray]:
    """The planes of a planar picture as arrays (h,w) that share its memory."""
    kind = np.dtype(np.uint16 if depth_of(picture) > 8 else np.uint8)

    def pixels(plane: av.video.plane.VideoPlane) -> np.ndarray:
        rows = np.frombuffer(memoryview(plane), kind).reshape(-1, plane.line_size // kind.itemsize)
        return rows[: plane.height, : plane.width]

    return [pixels(plane) for plane in picture.planes]


def _reduced(changed: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Where a plane of this size has a pixel that stands for a changed one."""
    if changed.shape == size:
        return changed.cpu().numpy()
    return F.adaptive_max_pool2d(changed[None, None].float(), size)[0, 0].bool().cpu().numpy()
