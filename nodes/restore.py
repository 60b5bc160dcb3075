"""Restore Faces (CLR-Face): the whole chain in one node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..clrface_core.diffusion.refine import Sampling
from ..clrface_core.errors import CLRFaceError
from ..clrface_core.faces.paste import Blending
from ..clrface_core.faces.select import Detection
from ..clrface_core.photo import as_photo
from ..clrface_core.pipeline import Restoration, RestoredFaces, Restorer
from ..clrface_core.references import Match
from ..clrface_core.video.along import restore_clip
from .detect import detection_inputs
from .detectors import checked
from .memory import bundled_model
from .memory import detector as host_detector
from .paste import mask_input, paste_inputs, said
from .previews import PICTURES, pairs
from .progress import Progress, preview_of
from .recent import Recent, key_of
from .references import lines_of, matches_output, references_input
from .sampler import fidelity_input, sampling_inputs
from .tensors import blank, images, intermediate, or_none, photos, region_masks, with_faces
from .types import CATEGORY, Model, settings

SHORT = {"image", "fidelity", "seed", "steps", "guidance_scale", "faces", "color_match", "blend", "region"}
SHORT |= {"model", "mask", "references"}
"""What the node shows at once; the other settings are folded away."""

AUTO = "auto"

RECENT = Recent()


def harm_inputs() -> list[io.Input]:
    """How much is done to which face: only the node that does all knows how degraded each is."""
    return [
        io.String.Input(
            "strength",
            default=AUTO,
            tooltip="How much of each restored face shows: auto, or a number from 0 to 1.\n"
            "auto: as much as the face is degraded, so that a clean one stays as it is.",
        ),
        io.Boolean.Input(
            "skip_blurred",
            default=Blending().skip_blurred,
            tooltip="Leave blurred faces alone in photos in which a larger one is sharp.\n"
            "They are mostly background, and blurred on purpose.",
        ),
    ]


def strength_of(text: str) -> float | None:
    """The strength that a text says, None for auto; CLRFaceError for what is neither."""
    said = text.strip()
    if said == AUTO:
        return None
    try:
        return float(said)
    except ValueError:
        raise CLRFaceError(f"Expected a strength of {AUTO}, or from 0 to 1, got {text!r}: type one of these.") from None


def short(*inputs: io.Input) -> list[io.Input]:
    """The inputs, those that few people need folded away."""
    for each in inputs:
        if each.id not in SHORT:
            each.advanced = True
    return list(inputs)


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
            inputs=short(
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
                *harm_inputs(),
                io.Boolean.Input(
                    "video",
                    default=False,
                    tooltip="The pictures are frames of one video, in their order.\n"
                    "Each face is followed from frame to frame, so that it does not flicker.",
                ),
                Model.Input(
                    "model",
                    optional=True,
                    tooltip="From 'Load CLR-Face Model'.\nWithout one, the bundled model is used.",
                ),
                mask_input(),
                references_input(),
            ),
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
                io.Image.Output(
                    "crops",
                    display_name="crops",
                    tooltip="The faces as they were, upright.\nWithout any face, nodes that need them are left out.",
                ),
                io.Image.Output(
                    "restored_crops", display_name="restored crops", tooltip="The restored faces.\nIn the same order."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, detector: str) -> bool | str:
        return checked(detector)

    @classmethod
    def execute(
        cls,
        image: Tensor,
        detector: str,
        batch_size: int,
        strength: str = AUTO,
        video: bool = False,
        model: Any = None,
        mask: Tensor | None = None,
        references: Any = None,
        **widgets: Any,
    ) -> io.NodeOutput:
        widgets["strength"] = strength_of(strength)
        model, blending = model or bundled_model(), settings(Blending, widgets)
        depends = {name: value for name, value in widgets.items() if not hasattr(blending, name)}
        depends |= {"model": model, "detector": detector, "batch_size": batch_size, "references": references}
        originals, regions = photos(image), region_masks(mask, image)
        key = key_of(image, video=video, **depends)
        progress = Progress(100 * len(originals))
        known = RECENT.get(key)
        if known is not None:
            restorations = _put_back(originals, known, blending, regions)
        elif video:
            restorations = _followed(model, originals, detector, references, widgets, regions, progress)
        else:
            restorations = _restored(model, originals, detector, batch_size, references, widgets, regions, progress)
        result, changed = intermediate(image, copy=True), blank(*image.shape[:3])
        kept: list[RestoredFaces] = []
        count = left = 0
        views: list[dict[str, Any]] = []
        for frame, done in enumerate(restorations):
            result[frame] = with_faces(result[frame], done.image, done.mask).to(result)
            changed[frame] = done.mask[0].to(changed)
            kept.append(done.without_photo())
            count += len({*done.chosen, *done.left_alone})
            left += len(done.left_alone)
            if frame < PICTURES:
                chosen = [(face_id, done.faces[face_id]) for face_id in done.chosen]
                views += pairs(originals[frame], result[frame].movedim(-1, 0).float(), chosen, frame)
            progress.reach(FOLLOWING * video + (1 - FOLLOWING * video) * (frame + 1) / len(originals))
        if not video:  # what shows of a track is decided once for all of its frames: it cannot be put back one by one
            RECENT.keep(key, kept)
        crops, restored = (or_none(images(torch.cat([getattr(each, name) for each in kept]))) for name in CROPS)
        matches: dict[str, Match] = {
            f"picture {frame}, face {face_id}": match
            for frame, each in enumerate(kept)
            for face_id, match in zip(each.chosen, each.matches, strict=True)
        }
        shown = {
            "clrface_pairs": views,
            "clrface_frames": [len(originals)],
            "clrface_notes": said(count, changed, mask, left),
        }
        return io.NodeOutput(result, changed, count, lines_of(matches), crops, restored, ui=shown)


CROPS = ("crops", "restored_crops")

FOLLOWING = 0.2
"""Share of the pass that finds the faces, in all of the work on a video's frames."""


def _restored(
    model: Any,
    originals: Sequence[Tensor],
    detector: str,
    batch_size: int,
    references: Any,
    widgets: dict[str, Any],
    regions: Sequence[Tensor] | None,
    progress: Progress,
) -> Iterator[Restoration]:
    """Picture by picture, through the networks."""
    sampling, finder = settings(Sampling, widgets), host_detector(detector)
    guided = sampling.guidance_scale > 0 or references is not None
    faces = model.faces(batch_size, guided=guided, beside=finder)
    return Restorer(faces, finder).restore_photos(
        originals,
        sampling,
        settings(Detection, widgets),
        settings(Blending, widgets),
        references=references,
        regions=regions,
        callback=lambda event: progress.reach(
            event["photos"] / len(originals) * event["share"], preview_of(faces, event["denoised"])
        ),
    )


def _followed(
    model: Any,
    originals: Sequence[Tensor],
    detector: str,
    references: Any,
    widgets: dict[str, Any],
    regions: Sequence[Tensor] | None,
    progress: Progress,
) -> Iterator[Restoration]:
    """Frame by frame, the faces along their tracks; one at a time goes through the networks."""
    finder = host_detector(detector)
    return restore_clip(
        Restorer(model.faces(1, guided=True, beside=finder), finder),
        originals,
        settings(Sampling, widgets),
        settings(Detection, widgets),
        settings(Blending, widgets),
        references=references,
        regions=regions,
        seen=lambda frame: progress.reach(FOLLOWING * (frame + 1) / len(originals)),
    )


def _put_back(
    originals: Sequence[Tensor], known: list[RestoredFaces], blending: Blending, regions: Sequence[Tensor] | None
) -> Iterator[Restoration]:
    """Picture by picture, with faces restored before."""
    for frame, faces in enumerate(known):
        region = None if regions is None else regions[frame]
        yield faces.put_back(as_photo(originals[frame]), blending, region_mask=region)
