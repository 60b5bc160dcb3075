"""The result of an evaluation: numbers per face and per set, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..metrics.metric import Column
from .references import reference_lines
from .tones import tone_lines

INPUT = "input"


@dataclass
class Report:
    """Numbers of every face under every output ("input" is the degraded face itself).

    columns: in the order of the table. outputs: name to traits (see `outputs.Output`), in the order of the table.
    settings: what it takes to repeat it. files: name to SHA-256 of the model and of metric weights.
    faces: one record a face: key, set, tone (see `tones`), degradation, and per output a dict of column to number,
        None where it has none.
    sets: one record per set and output with the numbers that only a set has.
    missing: what was asked for and left out, to the reason why. skipped: pictures left out. gaps: numbers left out.
    verification: tables of face verification, see `verify`. references: see `matching`; empty without.
    pictures: plots and sheets beside the report, by title.
    """

    columns: list[Column]
    outputs: dict[str, dict[str, Any]]
    settings: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    faces: list[dict[str, Any]] = field(default_factory=list)
    sets: list[dict[str, Any]] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    verification: list[dict[str, Any]] = field(default_factory=list)
    references: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Means by set and output: {"set", "output", "faces", column: mean or None}; sets in alphabetical order."""
        only_of_sets = {(record["set"], record["output"]): record for record in self.sets}
        rows = []
        for name in sorted({face["set"] for face in self.faces}):
            members = [face for face in self.faces if face["set"] == name]
            for output in self.outputs:
                numbers = only_of_sets.get((name, output), {})
                means = {
                    c.name: numbers[c.name] if c.name in numbers else mean_of(members, output, c.name)
                    for c in self.columns
                }
                rows.append({"set": name, "output": output, "faces": len(members), **means})
        return rows

    def markdown(self) -> str:
        """A table per set of the means, each with its change against the input; then what it takes to repeat it."""
        lines = ["# Evaluation", ""]
        rows = self.rows
        for name in dict.fromkeys(row["set"] for row in rows):
            members = [row for row in rows if row["set"] == name]
            lines += [f"## Set {name}, {members[0]['faces']} faces", "", *self._table(members), ""]
        lines += [
            "Means over the faces; in brackets the change against the degraded input, as a difference or (×) as a "
            "ratio; in bold the best of a column. Sets differ: their numbers are not to be compared or averaged.",
            "",
        ]
        lines += self._by_tone()
        for block in self.verification:
            lines += verification_lines(block)
        lines += reference_lines(self.references) if self.references else []
        lines += [f"![{title}]({name})\n" for title, name in self.pictures.items()]
        lines += ["## Settings", "", *(f"* {name}: {_plain(value)}" for name, value in self.settings.items())]
        lines += [f"* SHA-256 of {name}: `{digest}`" for name, digest in self.files.items()]
        lines += self._left_out()
        return "\n".join(lines) + "\n"

    def _table(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        columns = [c for c in self.columns if any(row[c.name] is not None for row in rows)]
        titles = [f"{c.name} {'↑' if c.higher_is_better else '↓'}" for c in columns]
        lines = ["| " + " | ".join(["output", *titles]) + " |", "|---|" + "---:|" * len(columns)]
        degraded = next(row for row in rows if row["output"] == INPUT)
        best = {c.name: _best(c, rows) for c in columns}
        for row in rows:
            cells = [_cell(c, row, degraded, row[c.name] == best[c.name]) for c in columns]
            lines.append("| " + " | ".join([row["output"], *cells]) + " |")
        return lines

    def _by_tone(self) -> list[str]:
        """Identity by how light the skin is, set by set; by the last network that recognises people."""
        columns = [column.name for column in self.columns if column.name.endswith("cosine")]
        lines = []
        for name in sorted({face["set"] for face in self.faces}) if columns else ():
            members = [face for face in self.faces if face["set"] == name]
            table = tone_lines(members, list(self.outputs), columns[-1], INPUT)
            lines += [f"### {columns[-1]} by skin tone, set {name}", "", *table] if table else []
        if not lines:
            return []
        note = (
            "Groups by the individual typology angle of the cheeks in the clean photograph (light above 41 degrees, "
            "intermediate above 28, tan above 10, dark below): how skin looks there, light and white balance included. "
            "In brackets the number of faces, and the change against the degraded input."
        )
        return [*lines, note, ""]

    def _left_out(self) -> list[str]:
        lines = [f"* Missing {name}: {reason}" for name, reason in self.missing.items()]
        lines += [f"* Left out: {reason}" for reason in self.skipped]
        lines += [f"* No number: {reason}" for reason in self.gaps]
        return ["", "## Left out", "", *lines] if lines else []

    def json(self) -> str:
        """Everything, with the numbers of every single face."""
        content = {
            "settings": self.settings, "files": self.files, "outputs": self.outputs, "rows": self.rows,
            "missing": self.missing, "skipped": self.skipped, "gaps": self.gaps, "verification": self.verification,
            "references": self.references, "faces": self.faces,
        }  # fmt: skip
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def mean_of(faces: Sequence[Mapping[str, Any]], output: str, column: str) -> float | None:
    """The mean of a column over those faces that have a number there; None where none has."""
    found = [face["outputs"][output].get(column) for face in faces]
    numbers = [number for number in found if number is not None]
    return sum(numbers) / len(numbers) if numbers else None


def verification_lines(block: Mapping[str, Any]) -> list[str]:
    """One table of face verification: a row per kind of probe, a column per false-accept rate."""
    rates = [f"TAR at FAR {rate}" for rate in block["rates"]]
    lines = [
        f"## Verification by {block['network']}{', set ' + block['set'] if block['set'] else ''}",
        "",
        f"{block['genuine']} genuine and {block['impostor']} impostor pairs. {block['note']}",
        "",
        "| probe | " + " | ".join([*rates, "equal error rate"]) + " |",
        "|---|" + "---:|" * (len(rates) + 1),
    ]
    for row in block["probes"]:
        shares = [*row["true_accept"], row["equal_error"]]
        lines.append(f"| {row['output']} | " + " | ".join(f"{100 * share:.1f} %" for share in shares) + " |")
    return [*lines, ""]


def _plain(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)


def _best(column: Column, rows: Sequence[Mapping[str, Any]]) -> float | None:
    numbers = [row[column.name] for row in rows if row[column.name] is not None and row["output"] != INPUT]
    return (max if column.higher_is_better else min)(numbers) if len(numbers) > 1 else None


def _cell(column: Column, row: Mapping[str, Any], degraded: Mapping[str, Any], best: bool) -> str:
    value, before = row[column.name], degraded[column.name]
    if value is None:
        return "–"
    text = f"{value:.{column.digits}f}"
    if row is degraded or before is None:
        return text
    text = f"**{text}**" if best else text
    if column.ratio:
        return f"{text} ({value / before:.2f}×)" if before > 0 else text
    return f"{text} ({value - before:+.{column.digits}f})"
