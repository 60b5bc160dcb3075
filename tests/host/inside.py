"""For scripts that run inside ComfyUI, without its server: the pack, its nodes, and how to run one.

The first two arguments of such a script are ComfyUI's checkout and this one; ComfyUI gets what stands after "--", and
always --cpu.
"""

import asyncio
import importlib
import importlib.util
import sys
from typing import Any

_given, _, _flags = (
    (sys.argv[1:], "", []) if "--" not in sys.argv
    else (sys.argv[1 : sys.argv.index("--")], "--", sys.argv[sys.argv.index("--") + 1 :])
)  # fmt: skip
COMFYUI, CHECKOUT, *ARGUMENTS = _given
sys.argv = ["main.py", "--cpu", *_flags]
sys.path.insert(0, COMFYUI)
importlib.import_module("comfy.options").enable_args_parsing()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

part = importlib.import_module

SAMPLERS = [
    "euler",
    "euler_ancestral",
    "heun",
    "dpm_2",
    "dpmpp_2m",
    "dpmpp_sde",
    "dpmpp_2m_sde",
    "uni_pc",
    "lcm",
    "ddim",
]
SCHEDULERS = ["simple", "karras", "sgm_uniform"]
"""Those of core that the tests and the table try."""


def _loaded() -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location(
        "pack", f"{CHECKOUT}/__init__.py", submodule_search_locations=[CHECKOUT]
    )
    assert spec is not None and spec.loader is not None
    sys.modules["pack"] = pack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack)

    async def listed() -> dict[str, Any]:
        extension = await pack.comfy_entrypoint()
        await extension.on_load()
        return {node.define_schema().node_id: node for node in await extension.get_node_list()}

    return asyncio.run(listed())


OURS = _loaded()
part("pack.nodes.memory").choose_dtype = lambda device: torch.float32  # type: ignore[attr-defined]


def run(kind: str, **given: Any) -> Any:
    """One of our nodes, with its defaults."""
    inputs = OURS[kind].define_schema().inputs
    usual = {
        each.id: each.default for each in inputs if not each.optional and getattr(each, "default", None) is not None
    }
    return OURS[kind].execute(**usual | given).args


def opened(name: str) -> torch.Tensor:
    """A picture of samples/, as an IMAGE."""
    pixels = np.asarray(Image.open(f"{CHECKOUT}/samples/{name}").convert("RGB"), np.float32) / 255
    return torch.from_numpy(pixels)[None]
