"""`clrface restore` with a tiny model, and with a detector that finds what a test says."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from clrface_core.cli import main
from clrface_core.faces.detect import Face
from clrface_core.models.bundle import build, save_bundle
from tests.tiny import Given


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a file; its notes say that it has learned nothing."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    bundle = build("tiny")
    bundle.notes = {"data": "none"}
    save_bundle(path, bundle)
    return path


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Face]:
    """The faces that the detector finds in every picture: none, unless a test adds some."""
    given = Given()
    monkeypatch.setattr("clrface_core.pipeline.load_detector", lambda *args, **kwargs: given)
    return given.faces


@pytest.fixture
def restore(model: Path, found: list[Face]) -> Callable[..., int]:
    """`clrface restore` with the tiny model, one step, on the CPU."""

    def run(*arguments: object) -> int:
        fixed = ("--model", str(model), "--steps", "1", "--device", "cpu", "--dtype", "float32")
        return main(["restore", *map(str, arguments), *fixed])

    return run
