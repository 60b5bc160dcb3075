"""Measuring restorations of faces whose ground truth is known."""

from .quality import evaluate
from .report import Report

__all__ = ["Report", "evaluate"]
