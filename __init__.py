"""CLR-Face for ComfyUI: the nodes, and the folder of what the browser loads."""

from .nodes import comfy_entrypoint

WEB_DIRECTORY = "./js"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
