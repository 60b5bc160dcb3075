"""Saying what happens, on streams that may be closed, full, or too poor for a name: it never stops the work."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from tqdm import tqdm


def say(line: str) -> bool:
    """A line on standard output; whether it got there."""
    return _write(sys.stdout, line)


def complain(line: str) -> bool:
    """A line on standard error; whether it got there."""
    return _write(sys.stderr, line)


def report(value: Any) -> bool:
    """A value as JSON on standard output; if it cannot be written, that is said on standard error."""
    done = say(json.dumps(value, indent=2))
    if not done:
        complain("clrface: Expected to print the report, but standard output is closed or full: the results are done.")
    return done


@contextlib.contextmanager
def reported_if_interrupted(head: Mapping[str, Any] | None) -> Iterator[list[dict[str, Any]]]:
    """A list of records; if the work is interrupted, they are reported below `head`, unless that is None."""
    records: list[dict[str, Any]] = []
    try:
        yield records
    except KeyboardInterrupt:
        if head is not None:
            report({**head, "interrupted": True, "results": records})
        raise


def _write(stream: TextIO | None, line: str) -> bool:
    if stream is None:  # closed before Python started
        return False
    encoding = getattr(stream, "encoding", None) or "utf-8"
    text = line.encode(encoding, "backslashreplace").decode(encoding)
    try:
        with tqdm.external_write_mode(file=stream):
            stream.write(text + "\n")
            stream.flush()
    except (OSError, ValueError):  # the reader has gone, the disk is full, the stream was closed
        _silence(stream)
        return False
    return True


def _silence(stream: TextIO) -> None:
    """Let what is still written to the stream go nowhere: Python itself would fail on it at the end."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)
