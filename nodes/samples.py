"""The pictures and the video of the example graphs, put into ComfyUI's input folder when such a graph is opened."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import folder_paths

from .server import running_server

FOLDER = Path(__file__).resolve().parents[1] / "samples"

SAMPLES = {
    "grace-hopper.jpg": "grace-hopper.jpg",
    "astronaut.jpg": "astronaut.jpg",
    "grace-hopper-clean.jpg": "clean/grace-hopper.jpg",
    "astronaut-clean.jpg": "clean/astronaut.jpg",
    "two-faces.mp4": "two-faces.mp4",
}
"""Their names in the graphs, and where they are in this pack."""


def put_samples() -> list[str]:
    """Copy those that are not there, and name them. A file of the user's with such a name stays."""
    target = Path(folder_paths.get_input_directory())
    missing = [name for name in SAMPLES if not (target / name).exists()]
    for name in missing:
        shutil.copyfile(FOLDER / SAMPLES[name], target / name)
    return missing


def register_route() -> None:
    """POST /clrface/samples, which our part of the front-end sends (js/samples.js)."""
    server = running_server()
    if server is None:
        return
    from aiohttp import web

    @server.routes.post("/clrface/samples")
    async def put(request: Any) -> Any:
        return web.json_response(put_samples())
