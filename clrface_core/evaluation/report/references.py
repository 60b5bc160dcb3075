"""References in a report: how often they were taken, what they changed, for whom, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...references import THRESHOLD


def reference_lines(tables: Mapping[str, Any]) -> list[str]:
    """`reference_tables` as Markdown."""
    lines = ["## References", "", f"How often references were taken for the same person (cosine from {THRESHOLD}):", ""]
    lines += _table(
        ["references", "of each", "faces", "taken", "lowest cosine", "mean", "highest"],
        [
            [row["references"], row["count"], row["faces"], row["used"], *_numbers(row, ("lowest", "mean", "highest"))]
            for row in tables["matched"]
        ],
    )
    changes = tables["changes"]
    lines += ["What they changed against the same without them, face by face: mean, and its standard error.", ""]
    names = list(changes[0]["changes"]) if changes else []
    lines += _table(
        ["output", *names],
        [[row["output"], *(f"{each['mean']:+.4f} ± {each['error']:.4f}" for each in row["changes"].values())]
         for row in changes],
    )  # fmt: skip
    if tables["for whom"]:
        first = tables["for whom"][0]
        lines += [f"The same of {first['output']}, {first['network']}, by how the reference shows the face:", ""]
        lines += _table(
            ["reference", "faces", "gain"],
            [
                [row["reference"], row["faces"], f"{row['mean']:+.3f} ± {row['error']:.3f}"]
                for row in tables["for whom"]
            ],
        )
    blocks = tables["stranger"]
    lines += ["Mean cosine to the stranger whose photo was the reference; it should not rise:", ""]
    lines += _table(
        ["output", *(block["network"] for block in blocks)],
        [[output, *(f"{block['cosines'][output]:.3f}" for block in blocks)] for output in blocks[0]["cosines"]]
        if blocks
        else [],
    )
    return lines + _time_lines(tables.get("seconds", []))


def _time_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return []
    return [
        "CPU seconds of one face, blind and with a reference, in turns, medians; and what taking up a reference costs:",
        "",
        *_table(
            ["steps", "blind", "with", "ratio", "taking up a photo"],
            [[row["steps"], *_numbers(row, ("blind", "with", "ratio", "photo"), 2)] for row in rows],
        ),
    ]


def _numbers(row: Mapping[str, Any], names: Sequence[str], digits: int = 3) -> list[str]:
    return [f"{row[name]:.{digits}f}" for name in names]


def _table(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Markdown, the first column to the left, and an empty line."""
    lines = ["| " + " | ".join(titles) + " |", "|---|" + "---:|" * (len(titles) - 1)]
    return [*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows), ""]
