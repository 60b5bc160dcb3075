"""ComfyUI's server, where the nodes run in one."""

from __future__ import annotations

import importlib
from typing import Any


def running_server() -> Any:
    """The server, to add routes and handlers to before it starts; None in a host that only runs graphs."""
    server = getattr(importlib.import_module("server").PromptServer, "instance", None)
    return server if hasattr(server, "add_on_prompt_handler") else None
