"""Restore Video (CLR-Face): a video through the whole flow, one picture at a time, its faces along their tracks."""

from __future__ import annotations

import io as streams
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import comfy.model_management as memory
import folder_paths
from comfy.cli_args import LatentPreviewMethod, args
from comfy_api.latest import InputImpl, io

from ..clrface_core.diffusion.refine import Sampling
from ..clrface_core.faces.paste import Blending
from ..clrface_core.faces.select import Detection
from ..clrface_core.pipeline import Restorer
from ..clrface_core.video.restore import find_tracks, restore_video
from ..clrface_core.video.tracks import Tracks
from ..clrface_core.video.writing import CODECS, Encoding
from .detect import detection_inputs
from .detectors import checked
from .memory import bundled_model
from .memory import detector as host_detector
from .paste import paste_inputs
from .previews import small
from .progress import Progress, as_pil
from .references import references_input
from .restore import short
from .sampler import fidelity_input, sampling_inputs
from .types import CATEGORY, Model, settings

FINDING = 0.2
"""Share of the first pass, which finds the faces, in all of the work."""
SHOWN = 8
"""Pictures from one preview to the next."""

Event = dict[str, Any]


class RestoreVideo(io.ComfyNode):
    """A video to a restored video."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        codec, crf = _encoding_inputs()
        return io.Schema(
            node_id="CLRFaceRestoreVideo",
            display_name="Restore Video (CLR-Face)",
            category=CATEGORY,
            description=(
                "Restores the faces of a video without flicker: each is followed from picture to picture.\n"
                "As many pictures come out, at the same times; sound is copied. Memory does not grow with the length."
            ),
            search_aliases=["video face restore", "face restore video", "deflicker faces", "old film"],
            inputs=[
                io.Video.Input("video", tooltip="The video, of any length and size.\nFrom 'Load Video'."),
                *short(
                    fidelity_input(),
                    *(each for each in sampling_inputs() if each.id != "batch_size"),
                    io.String.Input(
                        "faces",
                        default=Detection().faces,
                        tooltip="Whose faces.\nall, largest (of each scene), or numbers of tracks such as 0,2-4.",
                    ),
                    *detection_inputs(),
                    *paste_inputs(),
                ),
                codec,
                crf,
                Model.Input(
                    "model",
                    optional=True,
                    tooltip="From 'Load CLR-Face Model'.\nWithout one, the bundled model is used.",
                ),
                references_input(),
                io.String.Input(
                    "tracks",
                    optional=True,
                    force_input=True,
                    tooltip="Where the faces are, as JSON.\nFrom an earlier run, edited or not; else they are found.",
                ),
            ],
            outputs=[
                io.Video.Output("video", display_name="video", tooltip="The restored video.\nFor 'Save Video'."),
                io.String.Output(
                    "tracks",
                    display_name="tracks",
                    tooltip="Where each face is in every picture, as JSON.\nTo look at, to edit, and to put in again.",
                ),
                io.Int.Output("count", display_name="count", tooltip="How many tracks were restored.\n0 is no error."),
            ],
        )

    @classmethod
    def validate_inputs(cls, detector: str) -> bool | str:
        return checked(detector)

    @classmethod
    def execute(
        cls,
        video: Any,
        detector: str,
        codec: str,
        crf: float,
        model: Any = None,
        references: Any = None,
        tracks: str | None = None,
        **widgets: Any,
    ) -> io.NodeOutput:
        finder, chosen = host_detector(detector), settings(Detection, widgets)
        restorer = Restorer((model or bundled_model()).faces(1, guided=True, beside=finder), finder)
        source, target = _source_of(video), _temporary(".mkv" if "matroska" in video.get_container_format() else ".mp4")
        report = _reporter(known=bool(tracks))
        found = Tracks.from_text(tracks) if tracks else find_tracks(restorer, source, chosen, callback=report)
        done = restore_video(
            restorer, source, target, settings(Sampling, widgets), chosen, settings(Blending, widgets),
            tracks=found, references=references, encoding=Encoding(codec, crf), callback=report,
        )  # fmt: skip
        count = len(done.chosen) - len(done.left_alone)
        return io.NodeOutput(InputImpl.VideoFromFile(str(target)), found.as_text(), count)


def _encoding_inputs() -> tuple[io.Input, io.Input]:
    """Codec and quality, as core's Save Video has them."""
    return (
        io.Combo.Input(
            "codec",
            options=list(CODECS),
            default="auto",
            tooltip="Codec of the result.\nauto is H.264; 'Save Video' keeps it as it is.",
            advanced=True,
        ),
        io.Float.Input(
            "crf",
            default=18.0,
            min=0.0,
            max=51.0,
            step=1.0,
            tooltip="Quality of the result: lower is better, and larger.\n18 shows no loss, 0 has none.",
            advanced=True,
        ),
    )


def _source_of(video: Any) -> str | streams.BytesIO:
    """What to read: the video's own file, or one made of it where it is trimmed or was never in a file."""
    if not any(video.get_active_trim_window()):
        return video.get_stream_source()
    cut = _temporary(".mp4")
    video.save_to(str(cut))
    return str(cut)


def _temporary(ending: str) -> Path:
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"clrface_{uuid4().hex}{ending}"


def _reporter(known: bool) -> Callable[[Event], None]:
    """Progress over both passes, with a preview now and then; it ends the work where the user cancels."""
    progress, first = Progress(1000), 0.0 if known else FINDING

    def report(event: Event) -> None:
        memory.throw_exception_if_processing_interrupted()
        share = min((event["frame"] + 1) / max(event["frames"], event["frame"] + 1), 1.0)
        finding = event["stage"] == "finding"
        previews = not finding and args.preview_method != LatentPreviewMethod.NoPreviews
        picture = as_pil(small(event["picture"])) if previews and event["frame"] % SHOWN == 0 else None
        progress.reach(first * share if finding else first + (1 - first) * share, picture)

    return report
