"""Where one scene of a video ends and another begins."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

SIZE = (27, 48)
"""Of the reduced pictures that are compared: movement within a scene changes them little."""
LEAST = 0.08
"""Mean difference from the picture before, of 1, that can be a cut."""
TIMES = 4.0
"""And how many times the usual difference of the scene so far it is."""
SHARE = 0.2
"""Of a new difference in what is usual."""


class Cuts:
    """Tells, picture by picture, whether a new scene begins."""

    def __init__(self) -> None:
        self._before: Tensor | None = None
        self._usual = 0.0

    def begins(self, rgb: Tensor) -> bool:
        """Whether this picture (3,H,W) begins a scene; the first one of all does not count."""
        small = adaptive_avg_pool2d(rgb[None], SIZE)[0]
        before, self._before = self._before, small
        if before is None:
            return False
        difference = float((small - before).abs().mean())
        if difference > max(LEAST, TIMES * self._usual):
            self._usual = 0.0
            return True
        self._usual += SHARE * (difference - self._usual)
        return False
