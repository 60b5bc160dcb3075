"""Fixtures shared by all tests: where the development data lies, and small reproducible pictures."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where a real ComfyUI is, and what to write anew."""
    group = parser.getgroup("CLR-Face")
    group.addoption("--comfyui", type=Path, help="a ComfyUI checkout: start its server and run every workflow in it")
    group.addoption("--comfyui-python", type=Path, help="the Python with ComfyUI's requirements; else this one")
    group.addoption("--screenshots", type=Path, help="a folder in which the browser tests leave what they saw")
    group.addoption("--metric-weights", type=Path, help="the folder that tools/import_metric_weights.py wrote")
    group.addoption("--ray", action="store_true", help="start Ray clusters on this machine and restore photos on them")
    group.addoption("--update-schemas", action="store_true", help="write the snapshot of the nodes' schemas anew")


@pytest.fixture(scope="session")
def tools() -> Callable[[str], ModuleType]:
    """`tools("workflows")` is tools/workflows.py, `tools("benchmarks.report")` is benchmarks/report.py.

    A plain `pytest` does not have the checkout on its path (and must not: ComfyUI has a `nodes` too).
    """
    for name in ("tools", "benchmarks"):
        if name not in sys.modules:
            spec = ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = [str(ROOT / name)]
            sys.modules[name] = importlib.util.module_from_spec(spec)
    return lambda name: importlib.import_module(name if "." in name else f"tools.{name}")


@pytest.fixture(scope="session")
def tool(tools: Callable[[str], ModuleType]) -> ModuleType:
    """tools/workflows.py, which knows how a saved graph becomes a prompt."""
    return tools("workflows")


@pytest.fixture
def shared_dir() -> Path:
    """The folder of development data beside the checkout; a user's clone has none."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared beside the checkout: this test needs the development data")
    return SHARED


@pytest.fixture
def shared_weights() -> Callable[[str], Path]:
    """`shared_weights(name)` is the path of a development weight file, or skips the test."""

    def find(name: str) -> Path:
        path = SHARED / "weights" / name
        if not path.is_file():
            pytest.skip(f"no {name} in ../shared/weights: this test needs the real weights")
        return path

    return find


@pytest.fixture
def metric_weights(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """`metric_weights(name)` is the path of a metric's weight file, or skips the test."""
    folders = [request.config.getoption("--metric-weights"), SHARED / "weights"]

    def find(name: str) -> Path:
        for folder in folders:
            if folder is not None and (folder / name).is_file():
                return folder / name
        pytest.skip(f"no {name}: give --metric-weights with the folder that holds it")

    return find


@pytest.fixture(scope="session")
def tiny_bundle() -> Any:
    """A tiny model for crops of 64 px whose networks do something: fresh ones return x_d, z_I and a constant."""
    from clrface_core.models.bundle import build

    torch.manual_seed(0)
    bundle = build("tiny")
    assert bundle.mask is not None
    with torch.no_grad():
        for network in (bundle.irn, bundle.refiner, bundle.mask):
            for parameter in network.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return bundle


@pytest.fixture(scope="session")
def tiny_file(tiny_bundle: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a file, in float32."""
    from clrface_core.models.bundle import save_bundle

    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_bundle(path, tiny_bundle, torch.float32)
    return path


@pytest.fixture
def smooth_picture() -> Callable[..., torch.Tensor]:
    """`smooth_picture(height, width, seed=0)` is a (3,H,W) picture in [0,1] with soft detail."""

    def make(height: int, width: int, seed: int = 0) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        coarse = torch.rand(1, 3, max(height // 16, 2), max(width // 16, 2), generator=generator)
        picture = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)
        return picture[0].clamp(0, 1)

    return make
