"""How light the skin of a photographed face is, and what restoring does for the lighter and the darker ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..cases import SIDE

TONES = (("light", 41.0), ("intermediate", 28.0), ("tan", 10.0), ("dark", -90.0))
"""Groups and the least angle of each in degrees: those of Chardon et al. 1991, the two lightest and the two darkest
of the six joined."""
CHEEKS = ((160, 195), (317, 352))
"""Columns of the two cheeks in an aligned face of 512 px; their rows are ROWS."""
ROWS = (300, 340)


def typology_angle(truth: Tensor) -> float | None:
    """Individual typology angle atan((L* - 50) / b*) in degrees of both cheeks' median colour; None for a grey face.

    truth: an aligned face (3,S,S) in [0,1], sRGB. Light and white balance of the photograph enter: this tells how
    skin looks in it, and nothing about where a person is from.
    """
    scale = truth.shape[1] / SIDE
    top, bottom = (round(row * scale) for row in ROWS)
    sides = [truth[:, top:bottom, round(left * scale) : round(right * scale)].flatten(1) for left, right in CHEEKS]
    pixels = torch.cat(sides, dim=1).cpu().double()
    if float((pixels.amax(0) - pixels.amin(0)).max()) < 1e-3:
        return None
    lightness, yellowness = (values.median().item() for values in _lab(pixels))
    return math.degrees(math.atan2(lightness - 50, yellowness))


def _lab(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """L* and b* (N,) of sRGB colours (3,N) in [0,1], under D65 (IEC 61966-2-1 and CIE 15)."""
    linear = torch.where(pixels > 0.04045, ((pixels + 0.055) / 1.055) ** 2.4, pixels / 12.92)
    y = linear.new_tensor([0.212671, 0.715160, 0.072169]) @ linear
    z = linear.new_tensor([0.019334, 0.119193, 0.950227]) @ linear / 1.08883
    f_y, f_z = (torch.where(v > (6 / 29) ** 3, v ** (1 / 3), v * (29 / 6) ** 2 / 3 + 4 / 29) for v in (y, z))
    return 116 * f_y - 16, 200 * (f_y - f_z)


def tone_of(angle: float) -> str:
    """The group of an angle."""
    return next(name for name, least in TONES if angle >= least or name == TONES[-1][0])


def tone_lines(faces: Sequence[Mapping[str, Any]], outputs: Sequence[str], column: str, before: str) -> list[str]:
    """A table of one set: the change of `column` against the output `before`, by tone; no lines without tones."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for face in faces:
        if face.get("tone") is not None:
            groups.setdefault(tone_of(face["tone"]), []).append(face)
    names = [name for name, _ in TONES if name in groups]
    if not names:
        return []
    heads = [f"{name} ({len(groups[name])})" for name in names]
    lines = ["| output | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(names)]
    for output in outputs:
        cells = [_change(groups[name], output, column, before) for name in names]
        lines.append(f"| {output} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _change(faces: Sequence[Mapping[str, Any]], output: str, column: str, before: str) -> str:
    """Mean and mean change of a column, over the faces that have a number in both."""
    pairs = [(face["outputs"][output].get(column), face["outputs"][before].get(column)) for face in faces]
    both = [(after, start) for after, start in pairs if after is not None and start is not None]
    if not both:
        return "–"
    mean = sum(after for after, _ in both) / len(both)
    return f"{mean:.3f}" + (f" ({mean - sum(start for _, start in both) / len(both):+.3f})" if output != before else "")
