"""Parts of a document that a command writes: what stands between `<!-- name: ... -->` and `<!-- end of name -->`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path


def _parts(text: str, name: str) -> re.Match[str]:
    found = re.search(rf"(<!-- {name}\b[^>]*-->\n)(.*?)(<!-- end of {name} -->)", text, flags=re.S)
    if found is None:
        raise SystemExit(f"Expected <!-- {name} --> and <!-- end of {name} -->, found none: put them where it belongs.")
    return found


def part(text: str, name: str) -> str:
    """What stands between the marks of this name; SystemExit where there are none."""
    return _parts(text, name)[2].strip("\n")


def replaced(text: str, name: str, new: str) -> str:
    """`text` with `new` between the marks of this name; SystemExit where there are none."""
    found = _parts(text, name)
    return f"{text[: found.end(1)]}{new}\n{text[found.start(3) :]}"


def write(path: Path, name: str, new: str) -> None:
    """Put `new` between the marks of a file."""
    path.write_text(replaced(path.read_text(encoding="utf-8"), name, new), encoding="utf-8")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first hold numbers."""
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
