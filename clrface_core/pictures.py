"""Many pictures, or the frames of a video, one after the other: memory holds no more than a few of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from .faces.detect import Detector
from .faces.paste import paste_batch
from .faces.select import FaceBatch, cut_faces, find_faces
from .stages import FaceStages, Progress, Sampling


@dataclass
class _Waiting:
    """A picture whose faces are not all restored yet."""

    picture: Tensor
    region: Tensor | None
    batch: FaceBatch
    crops: deque[Tensor]
    restored: list[Tensor] = field(default_factory=list)


def restore_pictures(
    pictures: Iterable[Tensor],
    stages: FaceStages,
    detector: Detector,
    sampling: Sampling,
    *,
    finding: Mapping[str, Any] | None = None,
    pasting: Mapping[str, Any] | None = None,
    region_masks: Tensor | Sequence[Tensor] | None = None,
    callback: Progress | None = None,
) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Restored picture (3,H,W), blend mask (1,H,W) and number of faces, for every picture and in their order.

    pictures: (3,H,W) float in [0,1]. finding, pasting: settings of `find_faces` and `paste_faces`. region_masks:
    (1 or as many as pictures,H,W). callback: see `stages.Progress`; faces are counted within their micro-batch, and
    there are also "pictures" (how many were looked at so far) and "share" (of the faces found in them, in [0,1],
    the work that is done).
    Faces go through the networks `stages.batch_size` at a time, across pictures, and are numbered throughout:
    the result is that of cutting all faces out first, restoring them as one batch, and pasting them.
    """
    line: deque[_Waiting] = deque()
    done, index = 0, 0
    for index, picture in enumerate(pictures):
        [faces] = find_faces(picture[None], detector, **(finding or {}))
        crops, batch = cut_faces(picture[None], [faces])
        region = None if region_masks is None else region_masks[0 if len(region_masks) == 1 else index][None]
        line.append(_Waiting(picture, region, batch, deque(crops)))
        while _crops_in(line) >= stages.batch_size:
            done += _restore_some(line, done, stages, sampling, _told(callback, index + 1, done, line))
        yield from _finished(line, pasting or {})
    while _crops_in(line):
        done += _restore_some(line, done, stages, sampling, _told(callback, index + 1, done, line))
    yield from _finished(line, pasting or {})


def _told(callback: Progress | None, pictures: int, done: int, line: Iterable[_Waiting]) -> Progress | None:
    """The callback, told how far all of the work has come."""
    if callback is None:
        return None
    found = done + _crops_in(line)

    def report(event: dict[str, Any]) -> None:
        step = (event["i"] + 1) / event["total"]
        callback({**event, "pictures": pictures, "share": (done + step * len(event["faces"])) / found})

    return report


def _crops_in(line: Iterable[_Waiting]) -> int:
    return sum(len(item.crops) for item in line)


def _restore_some(
    line: Iterable[_Waiting],
    done: int,
    stages: FaceStages,
    sampling: Sampling,
    callback: Progress | None,
) -> int:
    """One micro-batch of the crops in line; returns how many it held."""
    owners = [item for item in line for _ in item.crops][: stages.batch_size]
    crops = torch.stack([item.crops.popleft() for item in owners])
    numbers = range(done, done + len(crops))
    restored = stages.restore_crops(crops, **asdict(sampling), numbers=numbers, callback=callback)
    for item, face in zip(owners, restored, strict=True):
        item.restored.append(face)
    return len(crops)


def _finished(line: deque[_Waiting], pasting: Mapping[str, Any]) -> Iterator[tuple[Tensor, Tensor, int]]:
    """The pictures at the head of the line whose faces are all restored, put together."""
    while line and not line[0].crops:
        item = line.popleft()
        [(picture, mask)] = paste_batch(item.picture[None], item.restored, item.batch, item.region, **pasting)
        yield picture, mask, len(item.batch)
