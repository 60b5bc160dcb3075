"""MODEL in the real ComfyUI, without its server: core's samplers, schedulers, latent nodes and previews."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def seen(request: pytest.FixtureRequest, comfyui: Path) -> dict[str, Any]:
    python = request.config.getoption("--comfyui-python") or sys.executable
    script = Path(__file__).with_name("core_samplers.py")
    done = subprocess.run(
        [str(python), str(script), str(comfyui), str(ROOT)], capture_output=True, text=True, cwd=comfyui
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_cores_samplers_give_what_ours_gives(seen: dict[str, Any]) -> None:
    assert len(seen["equality"]) == 10
    for name, difference in seen["equality"].items():
        print(f"\n{name}: {difference:.1e}", end="")
        assert difference < (1e-2 if "guided" in name else 1e-4), name


def test_latent_nodes_and_stages(seen: dict[str, Any]) -> None:
    figures = seen["latent nodes"]
    print(f"\n{figures}")
    for same in ("carried along", "repeat", "from batch", "kept by a noise mask", "in two stages"):
        assert figures[same] < 1e-4, same
    assert figures["larger"] == [1, 640, 640, 3] and figures["changed within it"] > 0.1
    for close in ("flip", "from an empty latent"):
        assert figures[close] < 0.06, close


def test_ten_samplers_and_three_schedulers_restore(seen: dict[str, Any]) -> None:
    print(f"\nestimate: {seen['estimate']:.2f} dB")
    assert len(seen["table"]) == 30
    for name, (finite, decibels) in seen["table"].items():
        print(f"\n{name}: {decibels:.2f} dB", end="")
        assert finite and decibels > seen["estimate"] - 2.5, name


def test_cores_preview_shows_the_face(seen: dict[str, Any]) -> None:
    print(f"\ncorrelation {seen['preview']:.3f}")
    assert seen["preview"] > 0.9
