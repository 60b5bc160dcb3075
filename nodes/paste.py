"""Face Paste: crops of any size back into their pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from .types import CATEGORY, Alignment


def paste_inputs() -> list[io.Input]:
    """How faces are put back, alike here and on the node that does all."""
    return [
        io.Float.Input(
            "feather",
            default=0.1,
            min=0.0,
            max=0.45,
            step=0.01,
            tooltip="Width of the soft edge, as a share of the face's crop.\n0 is a hard edge.",
        ),
        io.Boolean.Input(
            "color_match", default=False, tooltip="Take colour and shading from the photo.\nDetail stays restored."
        ),
        io.Float.Input(
            "blend",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.05,
            tooltip="How much of the restored face shows.\n1 replaces the face, 0 leaves it.",
        ),
        io.Float.Input(
            "detail",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.05,
            tooltip="Share of the photo's own fine detail to keep.\nFor faces larger than 512 px.",
            advanced=True,
        ),
    ]


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
            search_aliases=["paste face", "uncrop face", "face blend", "composite face"],
            inputs=[
                io.Image.Input(
                    "image", tooltip="The photos.\nThe originals, or enlarged ones of the same proportions."
                ),
                io.Image.Input("crops", tooltip="The faces to put in.\nAny size, in the order they were cut out."),
                Alignment.Input("alignment", tooltip="Where they lie.\nFrom where the crops were cut or chosen."),
                *paste_inputs(),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where faces may be put in, over the whole photo.\nBlack keeps the photo.",
                ),
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
    def execute(
        cls,
        image: Tensor,
        crops: Tensor,
        alignment: Any,
        feather: float,
        color_match: bool,
        blend: float,
        detail: float,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        from ..clrface_core.faces.paste import paste_batch
        from .host import Progress, blank, each_picture, photos

        originals, faces = photos(image), each_picture(crops, "crops")
        region = None if mask is None else region_mask(mask, image)
        progress = Progress(alignment.frames)
        result = blank(alignment.frames, *image.shape[1:])
        changed = blank(*result.shape[:3])
        pasted = paste_batch(
            originals, faces, alignment, region, feather=feather, color_match=color_match, blend=blend, detail=detail
        )
        for frame, (photo, where) in enumerate(pasted):
            untouched = image[frame if len(image) > 1 else 0]  # one picture serves all frames
            result[frame] = torch.where(where[0, ..., None] > 0, photo.movedim(0, -1), untouched.float()).to(result)
            changed[frame] = where[0].to(changed)
            progress.advance(1)
        return io.NodeOutput(result, changed)


def region_mask(mask: Tensor, image: Tensor) -> Sequence[Tensor]:
    """A MASK as masks (H,W) in [0,1] of the pictures' size, one for each of the IMAGE (B,H,W,3) or one for all."""
    from ..clrface_core.errors import CLRFaceError
    from .host import Each

    mask = mask.reshape(-1, 1, *mask.shape[-2:])
    if len(mask) not in (1, len(image)) or not torch.isfinite(mask).all() or 0 in mask.shape[2:]:
        raise CLRFaceError(
            f"Expected one finite mask for all pictures or {len(image)} of them, got {tuple(mask.shape)}: "
            "paint it over the picture."
        )
    size = image.shape[1:3]

    def fitted(index: int) -> Tensor:
        region = mask[index : index + 1].float()
        if region.shape[2:] != size:
            region = torch.nn.functional.interpolate(region, size=size, mode="bilinear", align_corners=False)
        return region[0, 0].clamp(0, 1)

    return Each(len(mask), fitted)
