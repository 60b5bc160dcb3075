"""Archives without Ray: from and to stores, over threads, with a report."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clrface_core.storage import as_path

from .conftest import COUNT, contents

Restore = Callable[..., int]


def read_report(path: Path) -> list[dict[str, Any]]:
    from pyarrow import parquet

    return parquet.read_table(path).to_pylist()


@pytest.fixture
def store(album: Path) -> Iterator[str]:
    """The URL of a store in memory that holds the album in a folder and one photo deeper."""
    pytest.importorskip("upath", reason="needs universal-pathlib, of the extras `ray` and `test`")
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.store.clear()
    for path in album.iterdir():
        memory.pipe_file(f"/bucket/in/{path.name}", path.read_bytes())
    memory.pipe_file("/bucket/in/deeper/deep.jpg", (album / "000.jpg").read_bytes())
    yield "memory://bucket"
    memory.store.clear()


def test_from_store_to_store(store: str, single: dict[str, bytes], restore: Restore) -> None:
    assert restore(f"{store}/in", "-o", f"{store}/out") == 0
    assert contents(as_path(f"{store}/out")) == single
    assert restore(f"{store}/in", "-o", f"{store}/in/all", "--recursive") == 0
    assert as_path(f"{store}/in/all/deeper/deep.png").exists() and len(single) == COUNT


def test_results_in_a_store_are_no_input_and_are_resumed(
    store: str, restore: Restore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert restore(f"{store}/in", "-o", f"{store}/in") == 0
    as_path(f"{store}/in/001.png").unlink()
    capsys.readouterr()
    assert restore(f"{store}/in", "-o", f"{store}/in", "--resume", "--json") == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert [result.get("skipped", False) for result in results] == [True, False, *[True] * (COUNT - 2)]


def test_what_a_store_lacks_is_said(store: str, restore: Restore, capsys: pytest.CaptureFixture[str]) -> None:
    assert restore(f"{store}/none.jpg", f"{store}/empty", f"{store}/in/000.jpg", "-o", f"{store}/out") == 1
    said = capsys.readouterr().err
    assert "memory://bucket/none.jpg: Expected a picture or a folder, found nothing there" in said
    assert as_path(f"{store}/out/000.png").exists()


def test_a_file_in_a_store_that_is_not_ours_stays(
    store: str, restore: Restore, capsys: pytest.CaptureFixture[str]
) -> None:
    as_path(f"{store}/out").mkdir()
    as_path(f"{store}/out/000.png").write_bytes(b"mine")
    assert restore(f"{store}/in/000.jpg", f"{store}/in/001.jpg", "-o", f"{store}/out") == 1
    assert "clrface did not write it" in capsys.readouterr().err
    assert as_path(f"{store}/out/000.png").read_bytes() == b"mine" and as_path(f"{store}/out/001.png").exists()


def test_threads_and_their_report(
    album: Path, single: dict[str, bytes], restore: Restore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyarrow", reason="needs pyarrow, of the extra `ray`")
    from pyarrow import parquet

    bad = tmp_path / "bad.jpg"
    bad.write_text("no picture")
    report, out = tmp_path / "out/report.parquet", tmp_path / "out"
    assert restore(album, bad, "-o", out, "--workers", "3", "--report", report) == 1
    assert contents(out) == single
    rows = {Path(row["input"]).name: row for row in read_report(report)}
    assert len(rows) == COUNT + 1 and "Expected a picture" in rows["bad.jpg"]["error"]
    first = rows["000.jpg"]
    assert first["error"] is None and Path(first["output"]) == out / "000.png" and not first["skipped"]
    assert json.loads(first["record"])["output"] == first["output"] and first["worker"] and first["seconds"] >= 0
    assert json.loads(parquet.read_schema(report).metadata[b"clrface"])["model"] == "tiny"
    capsys.readouterr()
    assert restore(album, "-o", out, "--report", report, "--resume") == 0
    assert [row["skipped"] for row in read_report(report)] == [True] * COUNT
    assert sorted(path.name for path in out.iterdir()) == [*sorted(single), "report.parquet"]


def test_a_report_replaces_no_other_file(
    album: Path, restore: Restore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyarrow", reason="needs pyarrow, of the extra `ray`")
    other = tmp_path / "numbers.parquet"
    other.write_bytes(b"not ours")
    assert restore(album, "-o", tmp_path / "out", "--report", other) == 1
    assert "clrface did not write it" in capsys.readouterr().err and other.read_bytes() == b"not ours"
    assert restore(album, "-o", tmp_path / "out", "--report", other, "--overwrite") == 0
    assert len(read_report(other)) == COUNT


def test_a_store_that_speaks_s3(
    album: Path, single: dict[str, bytes], restore: Restore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("s3fs", reason="needs s3fs")
    server = pytest.importorskip("moto.server", reason="needs moto[server], an S3 server for tests")
    import s3fs

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    running.start()
    try:
        address = "http://{}:{}".format(*running.get_host_and_port())
        for name, value in {"ENDPOINT_URL": address, "ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()
        files = s3fs.S3FileSystem()
        files.mkdir("bucket")
        files.put(str(album), "bucket/in", recursive=True)
        assert restore("s3://bucket/in", "-o", "s3://bucket/out") == 0
        assert {Path(name).name: files.cat_file(name) for name in files.ls("bucket/out")} == single
        assert restore("s3://bucket/in/none.jpg", "-o", "s3://bucket/out") == 1
    finally:
        running.stop()
        s3fs.S3FileSystem.clear_instance_cache()
