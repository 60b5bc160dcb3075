"""The report of an archive: a Parquet file with a row for every photo."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import CLRFaceError
from ..photo.replace_file import temporary_beside
from ..storage import is_remote, make_folder, plain_errors, put_file
from .worker import Record

GROUP = 1000
"""Rows that are written together."""

MARK = b"clrface"
"""The entry of a report's metadata that says what the results were made with; no other file has it."""


class Report:
    """Rows to a Parquet file, which appears at `path` when the report is closed; memory does not grow with it.

    Columns: input, output (null where there is none), error (null where there is none), skipped (done before), faces
    (found), restored, seconds, worker (machine and process), and record, all that `--json` says of the photo. The
    file's metadata say under "clrface" what the results were made with.
    CLRFaceError where another file is at `path` and may not be replaced, and without pyarrow.
    """

    def __init__(self, path: Path, made_with: Mapping[str, Any], *, overwrite: bool = False) -> None:
        try:
            import pyarrow as arrow
            from pyarrow import parquet
        except ImportError as error:
            raise CLRFaceError(
                "Expected the package pyarrow for a report, found none: pip install 'clr-face[ray]'."
            ) from error
        if not overwrite:
            _spare(path)
        text, whole, flag = arrow.string(), arrow.int32(), arrow.bool_()
        columns = {
            "input": text, "output": text, "error": text, "skipped": flag, "faces": whole, "restored": whole,
            "seconds": arrow.float64(), "worker": text, "record": text,
        }  # fmt: skip
        said = json.dumps(made_with, default=str).encode()
        self._schema = arrow.schema(list(columns.items()), metadata={MARK: said})
        self._table = arrow.Table.from_pylist
        self._path = path
        if not is_remote(path):
            make_folder(path.parent)
        self._temporary = Path(tempfile.mkstemp(".parquet")[1]) if is_remote(path) else temporary_beside(path)
        self._writer = parquet.ParquetWriter(self._temporary, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []

    def add(self, record: Record) -> None:
        """One row more."""
        self._rows.append(_row(record))
        if len(self._rows) == GROUP:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(self._table(self._rows, schema=self._schema))
        self._rows.clear()

    def close(self) -> None:
        """Put the file in its place."""
        self._flush()
        self._writer.close()
        if is_remote(self._path):
            put_file(self._temporary, self._path)
            self._temporary.unlink()
        else:
            os.replace(self._temporary, self._path)

    def __enter__(self) -> Report:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()  # also of a run that was interrupted: what was done is worth knowing


def _row(record: Record) -> dict[str, Any]:
    faces = record.get("faces")
    return {
        "input": _text(record["input"]),
        "output": _text(record["output"]),
        "error": _text(record["error"]),
        "skipped": record.get("skipped", False),
        "faces": None if faces is None else len(faces),
        "restored": None if faces is None else sum(face["restored"] for face in faces),
        "seconds": record.get("seconds"),
        "worker": record.get("worker"),
        "record": json.dumps(record),
    }


def _text(value: str | None) -> str | None:
    """Names that are no UTF-8 can be seen in a column of text, though not kept."""
    return None if value is None else value.encode("utf-8", "backslashreplace").decode()


def _spare(path: Path) -> None:
    """CLRFaceError unless the place is free, or taken by an earlier report."""
    from pyarrow import ArrowException, parquet

    try:
        with plain_errors(path), path.open("rb") as file:
            ours = MARK in (parquet.read_schema(file).metadata or {})
    except FileNotFoundError:
        return
    except ArrowException:
        ours = False
    if not ours:
        raise CLRFaceError(
            f"Expected a free name for the report, but {path} is there and clrface did not write it: "
            "add --overwrite, or change --report."
        )
