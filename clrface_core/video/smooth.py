"""Points of a track without the detector's jitter, and without lag: a filter that looks as far ahead as back."""

from __future__ import annotations

import numpy as np

WINDOW = 15
"""Pictures, half a second of most videos, to which a parabola is fitted."""
STEP = 1024
"""Smoothed places are whole multiples of one over this many pixels: rounding errors would move a face that stands."""


def smoothed(points: np.ndarray, window: int = WINDOW) -> np.ndarray:
    """Places (N,...) of one scene, picture by picture, after Savitzky and Golay's filter (Anal. Chem. 36, 1964).

    At each picture it takes the value there of the parabola that fits the window around it best: what moves evenly,
    or with an even acceleration, keeps its place exactly. At the ends the first and last windows' parabolas serve.
    Pictures with the very same places show the same thing again: they count as one, and stay in one place.
    """
    if not len(points):
        return points
    moves = (points[1:] != points[:-1]).any(axis=tuple(range(1, points.ndim)))
    return _filtered(points[np.r_[True, moves]], window)[np.r_[0, np.cumsum(moves)]]


def _filtered(points: np.ndarray, window: int) -> np.ndarray:
    from scipy.signal import savgol_filter  # a tenth of a second, and photos do not need it

    width = min(window, len(points) - (len(points) + 1) % 2)
    if width < 3:
        return points
    start = points[:1]
    moved = savgol_filter(points - start, width, min(2, width - 1), axis=0, mode="interp")
    return np.round((start + moved) * STEP) / STEP
