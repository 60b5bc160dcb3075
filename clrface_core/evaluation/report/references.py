"""References in a report: how often they were taken, and how near the outputs are to a stranger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...references import THRESHOLD


def reference_lines(tables: Mapping[str, Any]) -> list[str]:
    """`reference_tables` as Markdown."""
    lines = [
        "## References", "",
        f"How often references were taken for the same person (cosine from {THRESHOLD}):", "",
        "| references | faces | taken | lowest cosine | mean | highest |", "|---|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    for row in tables["matched"]:
        numbers = (row["lowest"], row["mean"], row["highest"])
        cells = [row["references"], row["faces"], row["used"], *(f"{number:.3f}" for number in numbers)]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    blocks = tables["stranger"]
    lines += ["", "Mean cosine to the stranger whose photo was the reference; it should not rise:", ""]
    lines += ["| output | " + " | ".join(block["network"] for block in blocks) + " |", "|---|" + "---:|" * len(blocks)]
    for output in blocks[0]["cosines"] if blocks else ():
        cells = [output, *(f"{block['cosines'][output]:.3f}" for block in blocks)]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]
