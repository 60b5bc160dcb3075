"""Measuring restorations of faces whose ground truth is known."""

from .measure import evaluate
from .report.tables import Report

__all__ = ["Report", "evaluate"]
