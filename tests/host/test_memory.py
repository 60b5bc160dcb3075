"""Memory in the real ComfyUI: two models at once, unloading, and what its flags for little memory change.

ComfyUI refuses --lowvram and --novram beside --cpu: what they do to a network, some of its layers loaded and the others
cast as they are used, is asked of core directly.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def measured(request: pytest.FixtureRequest, comfyui: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`measured("--disable-smart-memory")` is what memory_use.py saw with that flag of ComfyUI's."""
    python = request.config.getoption("--comfyui-python") or sys.executable
    known: dict[str, Any] = {}

    def measure(*flags: str) -> dict[str, Any]:
        key = " ".join(flags)
        if key not in known:
            script, folder = Path(__file__).with_name("memory_use.py"), tmp_path_factory.mktemp("models")
            command = [str(python), str(script), str(comfyui), str(ROOT), str(folder), "--", *flags]
            done = subprocess.run(command, capture_output=True, text=True, cwd=comfyui)
            assert done.returncode == 0, done.stderr[-3000:]
            known[key] = json.loads(done.stdout.splitlines()[-1])
            print(f"\n{key or 'no flag'}: {json.dumps(known[key])}")
        return known[key]

    return measure


def test_two_models_are_loaded_and_unloading_frees_them(measured: Any) -> None:
    seen = measured()
    one, two = seen["one"], seen["two"]
    assert one["ModuleDict"] > 30 and one["FaceModel"] > 5
    for name in ("ModuleDict", "FaceModel"):  # the networks of each loader, and its MODEL
        assert two[name] == pytest.approx(2 * one[name])
    assert seen["unloaded"] == {} and seen["gone"] == {"model": True, "MODEL": True}
    assert len(set(seen["pixels"])) == 1  # the second is the same file, and the first comes back


def test_a_refiner_of_which_a_quarter_is_loaded_gives_the_same(measured: Any) -> None:
    partly = measured()["partly"]
    assert 0 < partly["loaded"] < 0.35 * partly["size"]
    assert partly["cast as used"] > 0.5 * partly["layers"] > 10 and partly["difference"] < 1e-5


@pytest.mark.parametrize("flag", ["--disable-smart-memory", "--disable-dynamic-vram"])
def test_flags_for_little_memory_change_no_pixel(measured: Any, flag: str) -> None:
    assert measured(flag)["pixels"] == measured()["pixels"]
