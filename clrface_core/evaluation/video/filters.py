"""FFmpeg's filters against flicker, as something to compare with: they know nothing of faces or motion."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    import av

FILTERS = {"tmix": "frames=3", "deflicker": "size=5"} if find_spec("av") else {}
"""Filters that are tried, and their options; none without PyAV."""


def filtered(pictures: Sequence[Tensor], name: str, options: str) -> list[Tensor]:
    """As many pictures (3,H,W) in [0,1], of one size, after FFmpeg's filter of this name, in 16 bits."""
    import av

    graph = av.filter.Graph()
    height, width = pictures[0].shape[1:]
    nodes = [
        graph.add_buffer(width=width, height=height, format=av.VideoFormat("rgb48le"), time_base=Fraction(1, 25)),
        graph.add("format", "yuv444p16le"),
        graph.add(name, options),
        graph.add("format", "rgb48le"),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*nodes).configure()
    done: list[Tensor] = []
    for number, picture in enumerate(pictures):
        values = (picture.movedim(0, -1).double() * 65535).round().numpy().astype(np.uint16)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(values), format="rgb48le")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        graph.push(frame)
        done += _ready(graph)
    graph.push(None)
    return done + _ready(graph)


def _ready(graph: av.filter.Graph) -> list[Tensor]:
    done: list[Tensor] = []
    while True:
        try:
            values = graph.pull().to_ndarray().astype(np.float32) / 65535
        except (BlockingIOError, EOFError):  # not yet, or no more
            return done
        done.append(torch.from_numpy(values).movedim(-1, 0))
