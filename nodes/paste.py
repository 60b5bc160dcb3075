"""Face Paste: crops of any size back into their pictures."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..clrface_core.faces.paste import Blending, paste_batch
from ..clrface_core.faces.region import REGIONS
from .progress import Progress
from .tensors import blank, each_picture, needs_crops, photos, region_masks, with_faces
from .types import CATEGORY, Alignment, settings

USUAL = Blending()


def paste_inputs() -> list[io.Input]:
    """How faces are put back, alike here and on the node that does all."""
    return [
        io.Float.Input(
            "feather",
            default=USUAL.feather,
            min=0.0,
            max=0.45,
            step=0.01,
            tooltip="Width of the soft edge, as a share of the face's crop.\n0 is a hard edge.",
        ),
        io.Boolean.Input(
            "color_match",
            default=USUAL.color_match,
            tooltip="Take colour and shading from the photo.\nDetail stays restored.",
        ),
        io.Float.Input(
            "blend",
            default=USUAL.blend,
            min=0.0,
            max=1.0,
            step=0.05,
            tooltip="How much of the restored face shows.\n1 replaces the face, 0 leaves it.",
        ),
        io.Float.Input(
            "detail",
            default=USUAL.detail,
            min=0.0,
            max=1.0,
            step=0.05,
            tooltip="Share of the photo's own fine detail to keep.\nFor faces larger than 512 px.",
            advanced=True,
        ),
        io.Float.Input(
            "grain",
            default=USUAL.grain,
            min=0.0,
            max=1.0,
            step=0.05,
            tooltip="Share of the photo's own grain that a face gets back.\nWhere the photo has none it does nothing.",
            advanced=True,
        ),
        io.Combo.Input(
            "region",
            options=list(REGIONS),
            default=USUAL.region,
            tooltip="What of each face is put back.\ncrop: nearly all of it. face: an oval by its landmarks, so that "
            "hair, hat, hands and background stay the photo's.",
        ),
    ]


def mask_input() -> io.Input:
    """Where faces may be put in, alike here and on the node that does all."""
    return io.Mask.Input(
        "mask",
        optional=True,
        tooltip="Where faces may be put in, over the whole photo: painted, or from ComfyUI's 'Draw Face Mask "
        "(MediaPipe)'.\nBlack keeps the photo. Its edge is the mask's own: blur the mask for a soft one.",
    )


def said(faces: int, changed: Tensor, mask: Tensor | None, left: int = 0) -> list[str]:
    """Why a picture came out as it went in, where it did: what the node's view puts into words.

    left: how many of the faces were left alone on purpose (see `Restoration.left_alone`).
    """
    if not faces:
        return ["no_faces"]
    if left == faces:
        return ["left_alone"]
    return ["black_mask"] if mask is not None and not changed.any() else []


class FacePaste(io.ComfyNode):
    """Crops to photos."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CLRFaceFacePaste",
            display_name="Face Paste",
            category=CATEGORY,
            description=(
                "Puts faces back where they were cut out. Crops may have any size by now: upscale them before.\n"
                "Every pixel outside the mask stays exactly as it was."
            ),
            has_intermediate_output=True,
            search_aliases=["paste face", "uncrop face", "face blend", "composite face"],
            inputs=[
                io.Image.Input(
                    "image", tooltip="The photos.\nThe originals, or enlarged ones of the same proportions."
                ),
                io.Image.Input(
                    "crops", lazy=True, tooltip="The faces to put in.\nAny size, in the order they were cut out."
                ),
                Alignment.Input("alignment", tooltip="Where they lie.\nFrom where the crops were cut or chosen."),
                *paste_inputs(),
                mask_input(),
            ],
            outputs=[
                io.Image.Output(
                    "image", display_name="image", tooltip="The photos with their faces.\nAs many as went in."
                ),
                io.Mask.Output(
                    "mask",
                    display_name="mask",
                    tooltip="Where anything changed, and how much.\nBlack is untouched, to the bit.",
                ),
            ],
        )

    @classmethod
    def check_lazy_status(cls, alignment: Any, crops: Any = None, **unused: Any) -> list[str]:
        return needs_crops(crops, alignment)

    @classmethod
    def execute(
        cls, image: Tensor, alignment: Any, crops: Tensor | None = None, mask: Tensor | None = None, **widgets: Any
    ) -> io.NodeOutput:
        originals = photos(image)
        faces = each_picture(torch.zeros(0, 1, 1, 3) if crops is None else crops, "crops")
        progress = Progress(alignment.frames)
        result = blank(alignment.frames, *image.shape[1:])
        changed = blank(*result.shape[:3])
        pasted = paste_batch(
            originals, faces, alignment, settings(Blending, widgets), region_mask=region_masks(mask, image)
        )
        for frame, (photo, where) in enumerate(pasted):
            before = image[frame if len(image) > 1 else 0]  # one picture serves all frames
            result[frame] = with_faces(before, photo, where).to(result)
            changed[frame] = where[0].to(changed)
            progress.advance(1)
        notes = said(len(alignment), changed, mask)
        return io.NodeOutput(result, changed, ui={"clrface_notes": notes})
