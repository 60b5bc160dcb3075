"""Restore Faces (CLR-Face): the whole chain in one node."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from .detect import detection_inputs
from .paste import paste_inputs
from .sampler import sampling_inputs
from .types import CATEGORY, Model


class RestoreFaces(io.ComfyNode):
    """Photos to restored photos."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CLRFaceRestoreFaces",
            display_name="Restore Faces (CLR-Face)",
            category=CATEGORY,
            description=(
                "Finds every face, restores it so that the person stays recognisable, and puts it back.\n"
                "Everything else stays as it is. Pictures without faces pass through."
            ),
            search_aliases=["face restore", "restore face", "codeformer", "gfpgan", "face enhance", "old photo"],
            has_intermediate_output=True,
            inputs=[
                io.Image.Input("image", tooltip="Photos or frames, of any size.\nAs many come out as went in."),
                *sampling_inputs(),
                *detection_inputs(),
                *paste_inputs(),
                Model.Input(
                    "model",
                    optional=True,
                    tooltip="From 'Load CLR-Face Model'.\nWithout one, the bundled model is used.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where faces may be put in, over the whole photo.\nBlack keeps the photo.",
                ),
            ],
            outputs=[
                io.Image.Output("image", display_name="image", tooltip="The restored photos.\nAs many as went in."),
                io.Mask.Output(
                    "mask",
                    display_name="mask",
                    tooltip="Where anything changed, and how much.\nBlack is untouched, to the bit.",
                ),
                io.Int.Output(
                    "count",
                    display_name="count",
                    tooltip="How many faces were restored in all pictures.\n0 is no error.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        seed: int,
        steps: int,
        solver: str,
        t0: float,
        identity: float,
        batch_size: int,
        detector: str,
        score_threshold: float,
        order: str,
        min_size: int,
        at_most: int,
        feather: float,
        color_match: bool,
        blend: float,
        detail: float,
        model: Any = None,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        from ..clrface_core.pictures import restore_pictures
        from ..clrface_core.stages import Sampling
        from .detect import load
        from .host import Progress, blank, intermediate, photos, preview_of, shown
        from .models import bundled_model
        from .paste import region_mask

        sampling = Sampling(steps, solver, t0 or None, identity, seed)
        originals = photos(image)
        region = None if mask is None else region_mask(mask, image)
        stages = (model or bundled_model()).stages(batch_size)
        progress = Progress(100 * len(originals))
        restored = restore_pictures(
            originals,
            stages,
            load(detector, score_threshold),
            sampling,
            finding={"order": order, "min_size": min_size, "at_most": at_most},
            pasting={"feather": feather, "color_match": color_match, "blend": blend, "detail": detail},
            region_masks=region,
            callback=lambda event: progress.reach(
                event["pictures"] / len(originals) * event["share"], preview_of(stages, event["denoised"])
            ),
        )
        result, changed, count = intermediate(image, copy=True), blank(*image.shape[:3]), 0
        for frame, (photo, where, faces) in enumerate(restored):
            result[frame] = torch.where(where[0, ..., None] > 0, photo.movedim(0, -1), result[frame].float()).to(result)
            changed[frame] = where[0].to(changed)
            count += faces
            progress.reach((frame + 1) / len(originals))
        before, after = shown([originals[0]]), shown([result[0].movedim(-1, 0)])  # of the first picture
        return io.NodeOutput(result, changed, count, ui={"clrface_before": before, "clrface_after": after})
