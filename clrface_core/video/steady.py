"""One face through the pictures of its track, restored so that nothing moves in it but the face itself.

What flickers in a face that is restored picture by picture is noise of the input that the networks amplify, and detail
that they invent anew each time. So

1. the crop that they see is averaged over time, where what was there before fits what is there now;
2. detail, by which the restored face differs from the faithful estimate, is invented in some pictures only (keys), and
   in between moves along with the face; at a key the new detail is blended into what was there before.

Where the former picture does not fit, in a blink or behind a hand, the picture stands alone, and if that is much, it
becomes a key. Coarse colour and light are always the picture's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CLRFaceError
from ..fidelity import low_pass
from ..picture import FACE_SIZE
from .flow import SIDE, chained, flow, moved_by

COARSE = 16.0
"""Sigma, in pixels of a 512 px crop, from which on a crop's colour and light are its own."""
LOOK = 2.0
"""Sigma in reduced pixels over which it is judged whether crops fit."""
FIT, UNFIT = 1.6, 3.0
"""Differences, in the typical one of the crop, up to which the former crop counts fully, and from which not at all."""
SURELY_FIT, SURELY_UNFIT = 0.008, 0.08
"""Differences, of 1, below which it always fits, and from which on it never does."""
REDO = 0.04
"""Share of the face that does not fit its key any more, from which on there is a new one."""


@dataclass(frozen=True)
class Steadying:
    """How a video is kept from flickering; CLRFaceError for values out of range.

    memory: share of what was there before in the crop that the networks see, in [0,1); 0 is none.
    key_every: from how many pictures to the next detail is invented anew; 1 is in all of them.
    key_memory: share of the former detail at a key, in [0,1).
    """

    memory: float = 0.7
    key_every: int = 4
    key_memory: float = 0.7

    def __post_init__(self) -> None:
        for name in ("memory", "key_memory"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise CLRFaceError(f"Expected {name} from 0 to below 1, got {value}: 0.7 is usual, 0 is none.")
        if self.key_every < 1:
            raise CLRFaceError(f"Expected key_every of at least 1, got {self.key_every}: 4 is usual.")


MIDDLE = slice(SIDE // 5, SIDE - SIDE // 5)
"""Rows and columns of reduced crops in which the face is; the background may move otherwise."""

Estimate = Callable[[Tensor], Tensor]
"""A crop (3,S,S) in [0,1] to its faithful estimate, likewise."""
Invent = Callable[[Tensor, Tensor], Tensor]
"""A crop and its estimate to the restored face, likewise."""


class SteadyFace:
    """One track's face; its crops (3,S,S) in [0,1] come one after the other."""

    def __init__(self, estimate: Estimate, invent: Invent, settings: Steadying = Steadying()) -> None:
        self._estimate, self._invent, self._settings = estimate, invent, settings
        self._raw: Tensor | None = None
        self._result: Tensor | None = None
        self._seen = self._detail = self._shown = torch.empty(0)
        self._to_key, self._key = torch.empty(0), torch.empty(0)
        self._age = 0

    def restore(self, crop: Tensor) -> Tensor:
        """The next crop, restored. The same one again gives the same again."""
        if self._raw is None or self._result is None:
            self._seen = crop
            self._result = self._as_key(crop, self._estimate(crop))
        elif not torch.equal(crop, self._raw):
            self._result = self._next(crop, self._raw)
        self._raw = crop
        return self._result

    def _next(self, crop: Tensor, former: Tensor) -> Tensor:
        offsets = flow(former, crop)
        self._seen = self._averaged(crop, moved_by(self._seen, offsets))
        estimate = self._estimate(self._seen)
        self._to_key = chained(offsets, self._to_key)
        fits = self._fit_of_key(crop)
        self._age += 1
        kept = moved_by(self._detail, self._to_key)
        if self._age >= self._settings.key_every or _unfit_share(fits) > REDO:
            return self._as_key(crop, estimate, kept, fits)
        return (estimate + kept * _enlarged(fits, crop.shape[-1])).clamp(0, 1)

    def _averaged(self, crop: Tensor, before: Tensor) -> Tensor:
        """The crop, and in it what was there before where that fits; coarse colour and light are the crop's."""
        share = self._settings.memory * _enlarged(fit(crop, before), crop.shape[-1])
        mean = torch.lerp(crop, before, share)
        return mean + low_pass((crop - mean)[None], COARSE * crop.shape[-1] / FACE_SIZE)[0]

    def _fit_of_key(self, crop: Tensor) -> Tensor:
        """How well the crop of the last key, moved here, fits this one: (1,SIDE,SIDE) in [0,1]."""
        return fit(crop, moved_by(self._key, self._to_key))

    def _as_key(self, crop: Tensor, estimate: Tensor, kept: Tensor | None = None, fits: Tensor | None = None) -> Tensor:
        """Invent detail here, and let what was there before take part in it."""
        detail = self._invent(self._seen, estimate) - estimate
        if kept is not None and fits is not None:
            detail = torch.lerp(detail, kept, self._settings.key_memory * _enlarged(fits, crop.shape[-1]))
        self._detail, self._key, self._age = detail, _small(crop), 0
        self._to_key = crop.new_zeros(2, SIDE, SIDE)
        return (estimate + detail).clamp(0, 1)


def _small(crop: Tensor) -> Tensor:
    return F.interpolate(crop[None], (SIDE, SIDE), mode="area")[0]


def fit(crop: Tensor, before: Tensor) -> Tensor:
    """How well what was there before fits a crop, (1,SIDE,SIDE) in [0,1]; either may be reduced already.

    A difference counts against what is typical of the crop: noise makes one everywhere, a blink in one place.
    """
    difference = (_small(crop) - _small(before)).abs().mean(0, keepdim=True)
    local = low_pass(difference[None], LOOK)[0]
    typical = float(local[:, MIDDLE, MIDDLE].median())
    least, most = max(FIT * typical, SURELY_FIT), min(max(UNFIT * typical, 2 * SURELY_FIT), SURELY_UNFIT)
    return ((most - local) / max(most - least, 1e-6)).clamp(0, 1)


def _unfit_share(fits: Tensor) -> float:
    """How much of the face does not fit."""
    return float(1 - fits[:, MIDDLE, MIDDLE].mean())


def _enlarged(fits: Tensor, side: int) -> Tensor:
    return F.interpolate(fits[None], (side, side), mode="bilinear", align_corners=False)[0]
