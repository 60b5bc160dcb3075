"""One node per stage of the flow, and one for all of it."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io
from typing_extensions import override

from .degrade import DegradeFace
from .detect import DetectAlignFaces
from .detectors import register_folders
from .earlier import register as register_earlier
from .guidance import IdentityGuidanceNode
from .latents import IRNInit, VQDecode, VQEncode
from .mask import IdentityMask
from .models import LoadModel, register_folder
from .paste import FacePaste
from .references import ReferenceFaces
from .restore import RestoreFaces
from .sampler import LatentRefineSampler
from .samples import register_route
from .select import SelectFaces
from .similarity import FaceSimilarity
from .video import RestoreVideo

NODES: list[type[io.ComfyNode]] = [
    LoadModel, DetectAlignFaces, SelectFaces, VQEncode, IRNInit, IdentityMask, LatentRefineSampler, VQDecode,
    FacePaste, RestoreFaces, FaceSimilarity, DegradeFace, ReferenceFaces, IdentityGuidanceNode,
    RestoreVideo,
]  # fmt: skip


class CLRFaceExtension(ComfyExtension):
    """What ComfyUI asks for the nodes."""

    @override
    async def on_load(self) -> None:
        register_folder()
        register_folders()
        register_route()
        register_earlier(NODES)

    @override
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES


async def comfy_entrypoint() -> CLRFaceExtension:
    """ComfyUI's way in."""
    return CLRFaceExtension()
