"""Prompts that were made for earlier versions of these nodes: settings were renamed, and others have come since.

ComfyUI's own replacement (`io.NodeReplace`) is for nodes whose id has gone, and none of ours has.
"""

from __future__ import annotations

from typing import Any

from .server import running_server

RENAMED = {
    "CLRFaceLatentRefineSampler": {"t0": "denoise", "identity": "guidance_scale"},
    "CLRFaceRestoreFaces": {"t0": "denoise", "identity": "guidance_scale"},
    "CLRFaceSelectFaces": {"numbers": "faces"},
}
"""Node id to the names that inputs had and have."""


def defaults_of(nodes: list[Any]) -> dict[str, dict[str, Any]]:
    """Node id to the settings that it cannot do without, and what each is by default."""
    schemas = [node.define_schema() for node in nodes]
    return {
        schema.node_id: {
            entry.id: entry.default
            for entry in schema.inputs
            if not entry.optional and getattr(entry, "default", None) is not None
        }
        for schema in schemas
    }


def updated(prompt: dict[str, Any], defaults: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The prompt with today's names, and with the defaults of settings that it does not have."""
    return {number: _updated(node, defaults) for number, node in prompt.items()}


def _updated(node: Any, defaults: dict[str, dict[str, Any]]) -> Any:
    kind = node.get("class_type") if isinstance(node, dict) else None
    if kind not in defaults or not isinstance(node.get("inputs"), dict):
        return node
    names = RENAMED.get(kind, {})
    inputs = {names.get(name, name): value for name, value in node["inputs"].items()}
    return {**node, "inputs": defaults[kind] | inputs}


def register(nodes: list[Any]) -> None:
    """Have ComfyUI's server show every prompt before it is checked."""
    server = running_server()
    if server is None:
        return
    defaults = defaults_of(nodes)

    def on_prompt(request: dict[str, Any]) -> dict[str, Any]:
        if isinstance(request.get("prompt"), dict):
            request["prompt"] = updated(request["prompt"], defaults)
        return request

    server.add_on_prompt_handler(on_prompt)
