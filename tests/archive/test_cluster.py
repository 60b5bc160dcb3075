"""Archives on Ray: what does not need a cluster, and with `pytest --ray` what does."""

import json
import os
import pickle
import signal
import threading
import uuid
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clrface_core.archive.cluster import Cluster, Share, _Actor, connected
from clrface_core.archive.worker import Worker
from clrface_core.cli import build_parser
from clrface_core.commands import options
from clrface_core.commands.files import Job
from clrface_core.errors import CLRFaceError

from .conftest import contents, fill

PHOTOS = 48


def test_addresses() -> None:
    for text in ("auto", "local", "10.0.0.1:6379", "head.example:6379", "[::1]:6379"):
        assert options.cluster(text) == text
    for text in ("in/", "photo.jpg", "s3://bucket/in", "head", ""):
        with pytest.raises(ArgumentTypeError, match="put --ray last"):
            options.cluster(text)


def test_ray_without_an_address_comes_last() -> None:
    parser = build_parser()
    assert parser.parse_args(["restore", "in", "-o", "out", "--ray"]).ray is True
    assert parser.parse_args(["restore", "in", "-o", "out", "--ray", "head:6379"]).ray == "head:6379"
    with pytest.raises(SystemExit):
        parser.parse_args(["restore", "--ray", "in", "-o", "out"])


def test_room_for_workers() -> None:
    machine = {"CPU": 16.0, "GPU": 2.0}
    assert [Share(1).fits(machine), Share(3).fits(machine), Share(32).fits(machine)] == [16, 5, 0]
    assert [Share(1, 1.0).fits(machine), Share(1, 0.25).fits(machine), Share(8, 0.25).fits(machine)] == [2, 8, 2]
    assert Share(1, 1.0).fits({"CPU": 16.0}) == 0


def test_a_worker_that_would_give_other_results_is_refused(tiny_file: Path, tmp_path: Path) -> None:
    said = ("restore", "a.jpg", "-o", tmp_path, "--model", tiny_file, "--device", "cpu", "--dtype", "float32")
    arguments = vars(build_parser().parse_args([str(each) for each in said]))
    made_with = Worker(arguments).loaded.made_with
    Worker(arguments, made_with=made_with)
    with pytest.raises(CLRFaceError, match="Expected the same clrface, dtype on all machines"):
        Worker(arguments, made_with=made_with | {"clrface": "0.0.1", "dtype": "bfloat16"})


def jobs_named(*names: str) -> list[Job]:
    return [Job(Path(name)) for name in names]


def work(jobs: Any) -> Iterator[dict[str, Any]]:
    for job in jobs:
        if job.source.name == "faulty":
            raise ZeroDivisionError
        yield {"input": str(job.source), "output": "there", "error": None}


def test_chunks_to_records() -> None:
    def records(alone: bool, *names: str) -> dict[int, dict[str, Any]]:
        chunk = pickle.dumps(list(enumerate(jobs_named(*names), 7)))
        answers = list(_Actor(lambda: work, alone)({"chunk": [chunk]}))
        return {number: json.loads(text) for each in answers for number, text in zip(*each.values(), strict=True)}

    assert {number: record["input"] for number, record in records(False, "a", "b").items()} == {7: "a", 8: "b"}
    with pytest.raises(ZeroDivisionError):
        records(False, "a", "faulty", "b")
    assert "got a fault of the program (ZeroDivisionError: )" in records(True, "faulty")[7]["error"]


def test_what_is_missing_is_done_alone_and_then_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk of which one job is heard of twice, another only when alone, and the last never."""
    passes: list[tuple[bool, list[int]]] = []

    def one_pass(self: Cluster, jobs: Any, load: Any, *, alone: bool) -> Iterator[tuple[int, dict[str, Any]]]:
        passes.append((alone, sorted(jobs)))
        heard = [1] if alone else [0, 0]
        yield from ((number, {"error": None}) for number in heard)

    monkeypatch.setattr(Cluster, "_pass", one_pass)
    cluster = Cluster(SimpleNamespace(nodes=lambda: [{"Alive": True, "Resources": {"CPU": 2.0}}]), Share())
    done = list(cluster.each(jobs_named("a", "b", "c"), lambda: work))
    assert [number for number, _ in done] == [0, 1, 2] and passes == [(False, [0, 1, 2]), (True, [1, 2])]
    assert "Expected a worker to outlive this picture, lost 4 over it" in done[2][1]["error"]


@pytest.fixture(scope="module")
def nodes(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The address of two nodes of one CPU, and the ids of the processes in them that a name is part of."""
    if not request.config.getoption("--ray"):
        pytest.skip("starts a Ray cluster, which takes a minute: add --ray")
    pytest.importorskip("ray", reason="needs Ray, of the extra `ray`")
    from ray.cluster_utils import Cluster as Nodes

    token = uuid.uuid4().hex
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLRFACE_TEST", token)  # tells the processes of these nodes from all others
        patch.setenv("RAY_worker_niceness", "0")  # 15 is usual: beside other work they would not start in time
        running = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        running.add_node(num_cpus=1)
        try:
            yield running.address, lambda name: _processes(token, name)
        finally:
            running.shutdown()


def _processes(token: str, name: str) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                environment, command = (folder / "environ").read_bytes(), (folder / "cmdline").read_bytes()
            except OSError:  # not ours, or gone
                continue
            if token.encode() in environment and name.encode() in command:
                found.append(int(folder.name))
    return found


def test_a_killed_worker_loses_nothing(nodes: Any, restore: Callable[..., int], tmp_path: Path) -> None:
    address, processes = nodes
    album, out = fill(tmp_path / "album", PHOTOS), tmp_path / "out"
    assert restore(album, "-o", tmp_path / "single", "--quiet") == 0
    killed: list[int] = []
    over = threading.Event()

    def kill() -> None:
        while not killed and not over.wait(0.05):
            if out.is_dir() and len(list(out.iterdir())) > 3:
                for process in processes("MapWorker")[:1]:
                    os.kill(process, signal.SIGKILL)
                    killed.append(process)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        assert restore(album, tmp_path / "none.jpg", "-o", out, "--ray", address) == 1  # one is missing
    finally:
        over.set()
        killer.join()
    assert killed
    assert contents(out) == contents(tmp_path / "single") and len(contents(out)) == PHOTOS
    assert len(list(out.iterdir())) == PHOTOS + 1  # and the report: nothing half done is left
    rows = _rows(out)
    assert len(rows) == len({row["input"] for row in rows}) == PHOTOS + 1
    assert [row["input"] for row in rows if row["error"]] == [str(tmp_path / "none.jpg")]
    assert restore(album, "-o", out, "--ray", address, "--resume") == 0
    assert all(row["skipped"] for row in _rows(out))


def _rows(folder: Path) -> list[dict[str, Any]]:
    from pyarrow import parquet

    return parquet.read_table(folder / "clrface-report.parquet").to_pylist()


def test_a_picture_that_kills_its_workers_is_known_in_the_end(nodes: Any) -> None:
    def load() -> Callable[[Any], Iterator[dict[str, Any]]]:
        def work(jobs: Any) -> Iterator[dict[str, Any]]:
            for job in jobs:
                if job.source.name == "3":
                    os._exit(1)
                if job.source.name == "5":
                    raise ZeroDivisionError
                yield {"input": str(job.source), "output": "there", "error": None}

        return work

    with connected(nodes[0]) as ray:
        done = dict(Cluster(ray, Share()).each([Job(Path(str(number))) for number in range(8)], load))
    assert sorted(done) == list(range(8))
    errors = {number: record["error"] for number, record in done.items() if record["error"]}
    assert sorted(errors) == [3, 5] and "lost 4 over it" in errors[3] and "ZeroDivisionError" in errors[5]


def test_what_is_wrong_on_a_cluster_is_one_sentence(
    nodes: Any, restore: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    album = fill(tmp_path / "album", 1)
    assert restore(album, "-o", tmp_path / "out", "--ray", nodes[0], "--worker-cpus", "2") == 1
    assert "Expected a cluster with room for a worker of 2 CPUs" in capsys.readouterr().err
    assert restore(album, "-o", tmp_path / "out", "--ray", nodes[0], "--reference", tmp_path / "none.jpg") == 1
    assert "none.jpg" in capsys.readouterr().err
    assert json.dumps(sorted(path.name for path in tmp_path.iterdir())) == '["album"]'
