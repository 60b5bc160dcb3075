"""A video as a stream of pictures, one at a time: what is read is forgotten before the next is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import CLRFaceError

if TYPE_CHECKING:
    import av

Source = Path | str | IO[bytes]


def pyav() -> Any:
    """PyAV; CLRFaceError where it is not installed, or too old to convert colours exactly."""
    try:
        import av
    except ImportError as error:
        raise CLRFaceError(
            "Expected the package av to read and write videos, got none: install it (pip install 'av>=18')."
        ) from error
    if not hasattr(av.video.reformatter.Interpolation, "ACCURATE_RND"):
        raise CLRFaceError(
            f"Expected the package av in version 18 or newer, got {av.__version__}: pip install --upgrade av."
        )
    return av


@dataclass(frozen=True)
class Frame:
    """One picture of a video.

    number: from 0. rgb: (3,H,W) float32 in [0,1], upright as it is shown. turns: quarter turns, counter-clockwise,
    from how it is stored to that. stored: as the decoder gave it, with its timestamp.
    """

    number: int
    rgb: Tensor
    turns: int
    stored: av.VideoFrame

    @property
    def time(self) -> float:
        """Seconds from the start of the video."""
        return float(self.stored.time or 0.0)


@contextmanager
def opened(source: Source) -> Iterator[av.container.InputContainer]:
    """The file, and its first video stream checked; CLRFaceError for what is no video."""
    av = pyav()
    if hasattr(source, "seek"):
        source.seek(0)
    name = source.name if isinstance(source, Path) else str(getattr(source, "name", source))
    try:
        container = av.open(source if hasattr(source, "read") else str(source), mode="r")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise CLRFaceError(f"Expected a video that can be read, got {name} ({reason(error)}): check it.") from error
    with container:
        if not container.streams.video:
            raise CLRFaceError(f"Expected a video, got {name} without any picture: name another file.")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise CLRFaceError(f"Expected a video that FFmpeg can decode, got {name}: convert it to H.264 first.")
        stream.thread_type = "AUTO"
        yield container


def reason(error: Exception) -> str:
    """What FFmpeg, or the system, says of an error."""
    return str(getattr(error, "strerror", None) or error)


def read_frames(source: Source) -> Iterator[Frame]:
    """The pictures of a video's first video stream in the order in which they are shown.

    CLRFaceError where it cannot be read, or the size of its pictures changes.
    """
    with opened(source) as container:
        yield from decoded(container, container.demux(container.streams.video[0]))


def decoded(
    container: av.container.InputContainer, packets: Iterator[av.Packet], others: list[av.Packet] | None = None
) -> Iterator[Frame]:
    """The pictures in these packets of an open video; packets of other streams are appended to `others`."""
    av = pyav()
    stream, number, size = container.streams.video[0], 0, None
    try:
        for packet in packets:
            if packet.stream is not stream:
                if others is not None:
                    others.append(packet)
                continue
            for stored in packet.decode():
                here = (stored.width, stored.height)
                size = size or here
                if here != size:
                    raise CLRFaceError(
                        f"Expected pictures of one size, got {size[0]}x{size[1]} and then {here[0]}x{here[1]}: "
                        "cut the video there and restore the parts."
                    )
                turns = round(stored.rotation / 90) % 4
                yield Frame(number, torch.rot90(rgb_of(stored), turns, (1, 2)).contiguous(), turns, stored)
                number += 1
    except av.error.FFmpegError as error:
        raise CLRFaceError(
            f"Expected a whole video, got one that is damaged after frame {number} ({reason(error)}): repair it first."
        ) from error


def full_range() -> Any:
    """The range of RGB."""
    return pyav().video.reformatter.ColorRange.JPEG


def converted(picture: av.VideoFrame, pix_fmt: str, span: Any, to: Any, *, colorspace: Any = None) -> av.VideoFrame:
    """The picture in another format, of values that span `span` and then `to`; colorspace: the matrix of the result.

    With exact rounding: FFmpeg's usual conversions there and back take one level of 255 of light away.
    """
    way = pyav().video.reformatter.Interpolation
    exact = way.BICUBIC | way.ACCURATE_RND | way.FULL_CHR_H_INT | way.FULL_CHR_H_INP
    options = {} if colorspace is None else {"dst_colorspace": colorspace}
    return picture.reformat(format=pix_fmt, src_color_range=span, dst_color_range=to, interpolation=exact, **options)


def depth_of(stored: av.VideoFrame) -> int:
    """Bits per channel."""
    return max((component.bits for component in stored.format.components), default=8)


def range_of(stored: av.VideoFrame) -> Any:
    """Whether its values span all of 0 to 255 ("JPEG") or 16 to 235 ("MPEG")."""
    ranges = pyav().video.reformatter.ColorRange
    return ranges.JPEG if stored.format.name.startswith("yuvj") else stored.color_range


def rgb_of(stored: av.VideoFrame) -> Tensor:
    """A decoded picture (3,H,W) float32 RGB in [0,1], as stored."""
    deep = depth_of(stored) > 8
    picture = converted(stored, "rgb48le" if deep else "rgb24", range_of(stored), full_range())
    pixels = picture.to_ndarray()
    values = torch.from_numpy(pixels.astype(np.float32, order="C"))
    return values.movedim(-1, 0).contiguous().div_(65535 if deep else 255)
