"""Write the tables of docs/cli.md from the parser of `clrface`: what the command takes stands in one place only.

python -m tools.cli_page
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from clrface_core.cli import build_parser

from .marked import write

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "cli.md"


def sub_commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of the sub-commands, by name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def tables() -> str:
    """The tables. Sub-sub-commands with the same options share one."""
    parts: list[str] = []
    for name, parser in sub_commands(build_parser()).items():
        parts += [f"## clrface {name}", parser.description or "", *_groups(parser)]
        alike: dict[tuple[str, ...], list[str]] = {}
        for inner, sub_parser in sub_commands(parser).items():
            alike.setdefault(tuple(_groups(sub_parser)), []).append(inner)
        for tables, names in alike.items():
            parts += [f"### clrface {name} {', '.join(names)}", *tables]
    return "\n\n".join(filter(None, parts))


def _groups(parser: argparse.ArgumentParser) -> Iterator[str]:
    """One table of what stands in no group of its own, then one per group, with its name above it."""
    plain, *named = [group for group in parser._action_groups if group is not parser._positionals]
    if rows := [*_rows(parser, parser._positionals), *_rows(parser, plain)]:
        yield _table(rows)
    for group in named:
        yield f"**{(group.title or '').capitalize()}.**" + (f" {group.description}" if group.description else "")
        yield _table(list(_rows(parser, group)))


def _table(rows: Sequence[str]) -> str:
    return "\n".join(["| option | what it does |", "| --- | --- |", *rows])


def _rows(parser: argparse.ArgumentParser, group: argparse._ArgumentGroup) -> Iterator[str]:
    for action in group._group_actions:
        hidden = isinstance(action, (argparse._HelpAction, argparse._SubParsersAction))
        if not hidden and action.help is not argparse.SUPPRESS:
            yield f"| {_called(action)} | {_what(parser, action)} |"


def _called(action: argparse.Action) -> str:
    """The names of an option and what it takes."""
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    if action.nargs == 0:
        return names
    choices = "|".join(map(str, action.choices)) if action.choices else action.dest.upper()
    takes = action.metavar if isinstance(action.metavar, str) else choices
    return f"{names} `{takes}`".strip().replace("|", "\\|")


def _what(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    """Write it."""
    write(PAGE, "options", tables())


if __name__ == "__main__":
    main()
