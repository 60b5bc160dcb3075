"""Restore Faces (CLR-Face): the whole chain in one node."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..clrface_core.diffusion.refine import Sampling
from ..clrface_core.faces.paste import Blending
from ..clrface_core.faces.select import Detection
from ..clrface_core.pipeline import Restorer
from ..clrface_core.references import Match
from .detect import detection_inputs
from .memory import bundled_model
from .memory import detector as host_detector
from .paste import paste_inputs
from .progress import Progress, preview_of, shown
from .references import lines_of, matches_output, references_input
from .sampler import fidelity_input, sampling_inputs
from .tensors import blank, intermediate, photos, region_masks, with_faces
from .types import CATEGORY, Model, settings


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
                fidelity_input(),
                *sampling_inputs(),
                io.String.Input(
                    "faces",
                    default=Detection().faces,
                    tooltip="Which faces of each picture.\nall, largest, or numbers in the order below, such as 0,2-4.",
                ),
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
                references_input(),
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
                matches_output(),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        detector: str,
        batch_size: int,
        model: Any = None,
        mask: Tensor | None = None,
        references: Any = None,
        **widgets: Any,
    ) -> io.NodeOutput:
        sampling, detection = settings(Sampling, widgets), settings(Detection, widgets)
        originals, finder = photos(image), host_detector(detector)
        guided = sampling.guidance_scale > 0 or references is not None
        faces = (model or bundled_model()).faces(batch_size, guided=guided, beside=finder)
        progress = Progress(100 * len(originals))
        restorations = Restorer(faces, finder).restore_photos(
            originals,
            sampling,
            detection,
            settings(Blending, widgets),
            references=references,
            regions=region_masks(mask, image),
            callback=lambda event: progress.reach(
                event["photos"] / len(originals) * event["share"], preview_of(faces, event["denoised"])
            ),
        )
        result, changed, count = intermediate(image, copy=True), blank(*image.shape[:3]), 0
        matches: dict[str, Match] = {}
        for frame, done in enumerate(restorations):
            result[frame] = with_faces(result[frame], done.image, done.mask).to(result)
            changed[frame] = done.mask[0].to(changed)
            count += len(done.chosen)
            names = (f"picture {frame}, face {face_id}" for face_id in done.chosen)
            matches |= dict(zip(names, done.matches, strict=True))
            progress.reach((frame + 1) / len(originals))
        before, after = shown([originals[0]]), shown([result[0].movedim(-1, 0)])  # of the first picture
        return io.NodeOutput(
            result, changed, count, lines_of(matches), ui={"clrface_before": before, "clrface_after": after}
        )
