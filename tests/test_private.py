"""A restoration speaks to nobody, and leaves nothing behind but its result."""

import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from clrface_core.cli import main
from clrface_core.photo import Photo, write_photo


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a socket was asked for during a restoration")

    for name in ("socket", "create_connection", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse)


@pytest.mark.usefixtures("no_sockets")
def test_a_restoration_opens_no_socket_and_writes_its_result_alone(
    tmp_path: Path, tiny_file: Path, smooth_picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssertionError, match="a socket"):
        socket.socket()
    for folder in ("home", "temp", "in"):
        (tmp_path / folder).mkdir()
    for variable, folder in (("HOME", "home"), ("XDG_CACHE_HOME", "home"), ("TMPDIR", "temp")):
        monkeypatch.setenv(variable, str(tmp_path / folder))
    monkeypatch.chdir(tmp_path)
    write_photo(tmp_path / "in" / "face.png", Photo(smooth_picture(64, 64)))
    common = ["-o", "out", "--model", str(tiny_file), "--device", "cpu", "--quiet", "--guidance-scale", "1"]
    assert main(["restore", "in", *common]) == 0
    assert main(["restore", "in", *common, "--aligned", "--format", "jpg"]) == 0
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["in/face.png", "out/face.jpg", "out/face.png"]
    assert torch.is_grad_enabled()
