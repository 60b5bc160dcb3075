"""The result of an evaluation: numbers per face and per set, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

INPUT = "input"


@dataclass(frozen=True)
class Column:
    """How a metric is shown: with its change against the input as a difference, or as a ratio."""

    name: str
    higher_is_better: bool
    digits: int = 3
    ratio: bool = False


@dataclass
class Report:
    """Numbers of every face under every output ("input" is the degraded face itself).

    faces: one record a face: key, set, and per output a dict of metric to number. settings: what it takes to
    repeat it. missing: metric to the reason why it was left out. skipped: pictures left out, with the reason.
    """

    columns: list[Column]
    outputs: list[str]
    settings: dict[str, Any]
    faces: list[dict[str, Any]] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Means by set and output: {"set", "output", "faces", metric: mean}; sets in alphabetical order."""
        rows = []
        for name in sorted({face["set"] for face in self.faces}):
            members = [face for face in self.faces if face["set"] == name]
            for output in self.outputs:
                means = {
                    column.name: sum(face["outputs"][output][column.name] for face in members) / len(members)
                    for column in self.columns
                }
                rows.append({"set": name, "output": output, "faces": len(members), **means})
        return rows

    def markdown(self) -> str:
        """A table of the means, each with its change against the input; then what was left out."""
        titles = [f"{c.name} {'↑' if c.higher_is_better else '↓'}" for c in self.columns]
        lines = ["| " + " | ".join(["set", "output", "faces", *titles]) + " |"]
        lines.append("|" + "---|" * 2 + "---:|" * (1 + len(titles)))
        degraded: Mapping[str, Any] = {}
        for row in self.rows:
            if row["output"] == INPUT:
                degraded = row
            cells = [_cell(column, row, degraded) for column in self.columns]
            lines.append("| " + " | ".join([row["set"], row["output"], str(row["faces"]), *cells]) + " |")
        lines += [
            "",
            "In brackets: the change against the degraded input, as a difference or (×) as a ratio.",
        ]
        lines += ["", *(f"* {name}: {value}" for name, value in self.settings.items())]
        lines += [f"* Missing metric {name}: {reason}" for name, reason in self.missing.items()]
        lines += [f"* Left out: {reason}" for reason in self.skipped]
        return "\n".join(lines) + "\n"

    def json(self) -> str:
        """Everything, with the numbers of every single face."""
        content = {
            "settings": self.settings, "rows": self.rows, "missing": self.missing, "skipped": self.skipped,
            "faces": self.faces,
        }  # fmt: skip
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _cell(column: Column, row: Mapping[str, Any], degraded: Mapping[str, Any]) -> str:
    value, before = row[column.name], degraded[column.name]
    text = f"{value:.{column.digits}f}"
    if row is degraded:
        return text
    if column.ratio:
        return f"{text} ({value / before:.2f}×)" if before else text
    return f"{text} ({value - before:+.{column.digits}f})"
