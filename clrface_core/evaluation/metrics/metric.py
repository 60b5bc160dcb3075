"""What a metric is: a way of describing a picture, and the numbers that are read off descriptions.

A picture is described once, however many numbers follow: the cosine and the angle of two embeddings share them,
and the ground truth is not described again for every output.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Column:
    """How a number is shown: with its change against the input as a difference, or as a ratio."""

    name: str
    higher_is_better: bool
    digits: int = 3
    ratio: bool = False


@dataclass(frozen=True)
class Score:
    """A number of one face: `of` takes the description of an output and that of the truth.

    It raises CLRFaceError where a face has none (too small a picture, say): the report then names it.
    """

    column: Column
    of: Callable[[Any, Any], float]


@dataclass(frozen=True)
class SetScore:
    """A number of a set of faces: `of` takes (N,D) descriptions of outputs and truths, `least` <= N < `below`."""

    column: Column
    of: Callable[[Tensor, Tensor], float]
    least: int = 2
    below: float = float("inf")


@dataclass(frozen=True)
class Metric:
    """`describe` takes one picture (1,3,S,S), RGB in [0,1], on the device of the evaluation.

    name: what `--metrics` calls it. files: the weights that it read.
    recognises: whether descriptions are embeddings (1,D) of length 1 of who it is.
    """

    name: str
    describe: Callable[[Tensor], Any]
    scores: tuple[Score, ...] = ()
    set_scores: tuple[SetScore, ...] = ()
    files: tuple[Path, ...] = ()
    recognises: bool = False

    @property
    def columns(self) -> list[Column]:
        """Of everything that it measures, in the order of the table."""
        return [*(score.column for score in self.scores), *(score.column for score in self.set_scores)]
