"""Select Faces: some of the crops, by number, size, order and side."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..clrface_core.errors import CLRFaceError
from ..clrface_core.faces.detect import ORDERS
from ..clrface_core.faces.select import SIDES, choose
from .tensors import check_image, needs_crops, or_none
from .types import CATEGORY, Alignment


class SelectFaces(io.ComfyNode):
    """Crops to fewer crops."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CLRFaceSelectFaces",
            display_name="Select Faces",
            category=CATEGORY,
            description="Keeps the faces that pass every filter; the others stay as they are in the picture.",
            search_aliases=["choose face", "pick face", "face index", "filter faces"],
            inputs=[
                Alignment.Input("alignment", tooltip="The faces and where they lie.\nFrom 'Detect & Align Faces'."),
                io.String.Input(
                    "faces",
                    default="all",
                    tooltip="all, largest, or numbers of the preview, such as 0,2-4.\nClick faces there to fill it.",
                ),
                io.Combo.Input(
                    "order",
                    options=list(ORDERS),
                    default="area",
                    tooltip="Which faces come first.\nMatters where 'at_most' leaves some out.",
                ),
                io.Combo.Input(
                    "side",
                    options=list(SIDES),
                    default="any",
                    tooltip="The part of the picture in which the face's centre lies.\nany takes all.",
                ),
                io.Int.Input(
                    "min_size",
                    default=0,
                    min=0,
                    max=8192,
                    tooltip="Smallest box, in pixels of the picture.\n0 takes all.",
                ),
                io.Int.Input(
                    "at_most",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="Faces per picture, the first in order.\n0 takes all.",
                ),
                io.Image.Input(
                    "crops",
                    optional=True,
                    lazy=True,
                    tooltip="The faces, if another node changed them.\nElse those that come with the alignment.",
                ),
            ],
            outputs=[
                io.Image.Output("crops", display_name="crops", tooltip="The chosen faces.\nFor 'IRN Init'."),
                Alignment.Output(
                    "alignment", display_name="alignment", tooltip="Where the chosen faces lie.\nFor 'Face Paste'."
                ),
                io.Int.Output(
                    "count",
                    display_name="count",
                    tooltip="How many faces were chosen.\n0 leaves every picture as it is.",
                ),
            ],
        )

    @classmethod
    def check_lazy_status(cls, alignment: Any, **given: Any) -> list[str]:
        return needs_crops(given["crops"], alignment) if "crops" in given else []  # else nothing is connected there

    @classmethod
    def execute(cls, alignment: Any, crops: Tensor | None = None, **filters: Any) -> io.NodeOutput:
        if crops is not None:
            check_image(crops, "crops")
        if crops is not None and len(crops) != len(alignment):
            raise CLRFaceError(
                f"Expected {len(alignment)} crops for this alignment, got {len(crops)}: connect both from one node."
            )
        chosen = choose(alignment, **filters | {"faces": filters["faces"] or "all"})
        left = (alignment if crops is None else replace(alignment, crops=crops)).select(chosen)
        return io.NodeOutput(or_none(left.crops), left, len(chosen))
