"""The `clrface` command: one parser, one module of `commands` per sub-command, errors as one sentence each.

Exit status: 0 all done, 1 something failed (the rest was still done), 2 wrong usage, 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from . import __version__
from .commands import degrade, evaluate, import_vq, info, restore, serve, train
from .commands.console import complain
from .commands.ending import exit_status, signals_interrupt
from .errors import CLRFaceError


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command. A sub-command sets `run(args) -> exit status`, which loads PyTorch late."""
    parser = argparse.ArgumentParser(
        prog="clrface", description="Restore degraded faces and keep the person.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"clrface {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in (restore, serve, degrade, info, evaluate, train, import_vq):
        command.add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (`sys.argv` unless given) and return the exit status; wrong usage raises SystemExit(2)."""
    parser = build_parser()
    args = parser.parse_args(arguments)
    with signals_interrupt():
        try:
            return args.run(args)
        except CLRFaceError as error:
            complain(f"clrface: {error}")
            return 1
        except KeyboardInterrupt as interrupt:
            complain("clrface: interrupted")
            return exit_status(interrupt)
