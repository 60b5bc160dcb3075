"""A real ComfyUI: its server on loopback, with a clone of this checkout in custom_nodes, and a client of its API."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode

import pytest

from tests.published import published_files

ROOT = Path(__file__).resolve().parents[2]
START, RUN = 900, 900
"""Seconds to wait for the server, and for one graph: a busy machine of two cores takes its time."""


class Host:
    """ComfyUI's API."""

    def __init__(self, address: str, base: Path, log: Path) -> None:
        self.address, self.base, self.log = address, base, log
        self.info: dict[str, Any] = {}

    def get(self, path: str, **query: str) -> bytes:
        with urllib.request.urlopen(f"http://{self.address}{path}?{urlencode(query)}", timeout=120) as answer:
            return answer.read()

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """What the server answers, also where it refuses."""
        request = urllib.request.Request(
            f"http://{self.address}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.loads(answer.read() or b"{}")
        except HTTPError as error:
            return json.loads(error.read())

    def queue(self, prompt: dict[str, Any], client: str = "", **extra: Any) -> str:
        answer = self.post("/prompt", {"prompt": prompt, "client_id": client, "extra_data": extra})
        assert "prompt_id" in answer, json.dumps(answer)[:2000]
        return answer["prompt_id"]

    def result(self, number: str) -> dict[str, Any]:
        """The history of a prompt, once it has ended."""
        end = time.monotonic() + RUN
        while time.monotonic() < end:
            history = json.loads(self.get(f"/history/{number}"))
            if number in history:
                return history[number]
            time.sleep(0.5)
        raise TimeoutError(f"prompt {number} took longer than {RUN} s")

    def picture(self, file: dict[str, str]) -> bytes:
        return self.get("/view", **file)


Start = Callable[..., AbstractContextManager[Host]]


def failure(result: dict[str, Any]) -> str:
    """The sentence on the node that failed, or nothing."""
    return " ".join(body["exception_message"].strip() for name, body in result["status"]["messages"] if "error" in name)


@pytest.fixture(scope="session")
def comfyui(request: pytest.FixtureRequest) -> Path:
    path = request.config.getoption("--comfyui")
    if path is None:
        pytest.skip("no --comfyui=PATH: this test needs a ComfyUI checkout")
    return path.resolve()


@pytest.fixture(scope="session")
def start(request: pytest.FixtureRequest, comfyui: Path) -> Start:
    """`with start(folder, "--option") as host:` is a server on a CPU, offline, with that folder as its base, and the
    sample pictures as input."""
    python = request.config.getoption("--comfyui-python") or sys.executable

    @contextmanager
    def started(base: Path, *options: str) -> Iterator[Host]:
        lay_out(base)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        log = base / "server.log"
        arguments = ["--cpu", "--listen", "127.0.0.1", "--port", str(port), "--base-directory", str(base), *options]
        arguments += ["--disable-api-nodes", "--database-url", "sqlite:///:memory:"]
        with log.open("wb") as output:
            server = subprocess.Popen(
                [str(python), "main.py", *arguments], cwd=comfyui, stdout=output, stderr=subprocess.STDOUT,
                env=os.environ | {"HF_HUB_OFFLINE": "1"},
            )  # fmt: skip
        try:
            host = _when_ready(Host(f"127.0.0.1:{port}", base, log), server)
            host.post("/clrface/samples", {})  # as the front-end does when an example graph is opened
            yield host
        finally:
            server.terminate()
            server.wait(60)

    return started


@pytest.fixture(scope="session")
def host(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The server of most tests, with nothing installed in it but this pack."""
    with start(tmp_path_factory.mktemp("comfyui")) as host:
        yield host


def lay_out(base: Path) -> None:
    """The folders of a ComfyUI, the pack as the registry unpacks it, and nodes for tests."""
    for name in ("custom_nodes", "input", "output", "temp", "user", "models"):
        (base / name).mkdir(exist_ok=True)
    for name in published_files():
        target = base / "custom_nodes" / "clr-face" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    shutil.copy2(Path(__file__).parent / "odd_pictures.py", base / "custom_nodes")


def _when_ready(host: Host, server: subprocess.Popen[bytes]) -> Host:
    end = time.monotonic() + START
    while time.monotonic() < end:
        assert server.poll() is None, host.log.read_text()[-3000:]
        try:
            host.info = json.loads(host.get("/object_info"))
        except OSError:
            time.sleep(1)
            continue
        return host
    raise TimeoutError(f"ComfyUI did not answer within {START} s: {host.log.read_text()[-3000:]}")
