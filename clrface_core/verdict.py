"""What becomes of each restored face of a photo: how much of it shows, or why nothing does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .faces.paste import Blending
from .severity import CLEAN, DEGRADED, strength_for

MOVED = "its restoration moved its points, so the face stays as it was"
BLURRED = "blurred beside a larger sharp face"
SHARP = "nothing to restore; strength 1 does it all the same"


class Verdict(NamedTuple):
    """How much of a restored face shows, in [0,1], and why it is nothing."""

    strength: float
    reason: str = ""


def judge(
    severities: Sequence[float], areas: Sequence[float], moved: Sequence[bool], blending: Blending
) -> list[Verdict]:
    """A verdict for each of a photo's faces: how degraded, how large in the photo, and whether its points moved."""
    sharp = max((area for area, degraded in zip(areas, severities, strict=True) if degraded <= CLEAN), default=0.0)

    def one(degraded: float, area: float, gone: bool) -> Verdict:
        if gone:
            return Verdict(0.0, MOVED)
        if blending.skip_blurred and degraded >= DEGRADED and area < sharp:
            return Verdict(0.0, BLURRED)
        if blending.strength is not None:
            return Verdict(blending.strength)
        strength = strength_for(degraded)
        return Verdict(strength, "" if strength else SHARP)

    return [one(*each) for each in zip(severities, areas, moved, strict=True)]
