"""Reference Faces: other photos of the people, as the nodes that restore take them."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..clrface_core.faces.select import Detection
from ..clrface_core.pipeline import Restorer
from ..clrface_core.references import SCALE, THRESHOLD, Match
from .detectors import available, checked
from .memory import bundled_model
from .memory import detector as host_detector
from .tensors import photos
from .types import CATEGORY, Model, References


class ReferenceFaces(io.ComfyNode):
    """Photos to references."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CLRFaceReferenceFaces",
            display_name="Reference Faces",
            category=CATEGORY,
            description=(
                "Takes other photos of the people who are to be restored, and finds the faces in them.\n"
                "A face that matches some is drawn towards them; one that matches none is restored without.\n"
                "References make a likeness. They are no evidence of who it is."
            ),
            search_aliases=["reference photo", "face reference", "identity reference", "same person", "ref face"],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="Photos of one person or of several, as a batch.\nSharp, large, seen from the front and of "
                    "about the same age are best.",
                ),
                io.Float.Input(
                    "threshold",
                    default=THRESHOLD,
                    min=-1.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Cosine from which a reference counts as the same person.\nAt 0.33 one stranger in 100 "
                    "passes. Higher is stricter; -1 takes all.",
                    advanced=True,
                ),
                io.Float.Input(
                    "scale",
                    default=SCALE,
                    min=0.0,
                    max=10.0,
                    step=0.1,
                    tooltip="How strongly to pull towards the references.\n2 is usual. More gives more likeness "
                    "and a picture less true, and takes longer. 0 only says what matches.",
                ),
                io.Combo.Input(
                    "detector",
                    options=available(),
                    default="yunet",
                    tooltip="Which network looks for faces.\nyunet is included; the others are facexlib's, where its "
                    "weights are.",
                    advanced=True,
                ),
                Model.Input(
                    "model",
                    optional=True,
                    tooltip="The model that restores.\nWithout one, the bundled model is used.",
                ),
            ],
            outputs=[
                References.Output(
                    "references",
                    display_name="references",
                    tooltip="For 'Restore Faces' and 'VQ Decode'.\nThose find out which face takes which.",
                ),
                io.Int.Output(
                    "count", display_name="count", tooltip="How many faces were found in all photos.\nNone is an error."
                ),
                io.String.Output(
                    "text",
                    display_name="text",
                    tooltip="What was found, a line per face, and what is odd.\nSuch as several people in one photo.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, detector: str) -> bool | str:
        return checked(detector)

    @classmethod
    def execute(cls, image: Tensor, threshold: float, scale: float, detector: str, model: Any = None) -> io.NodeOutput:
        originals, finder = photos(image), host_detector(detector)
        faces = (model or bundled_model()).faces(guided=True, beside=finder)
        found = Restorer(faces, finder).reference_faces(originals, Detection(), threshold=threshold, scale=scale)
        lines = [f"{face.source}: quality {face.quality:.2f}" for face in found.faces]
        text = "\n".join((*lines, *found.notes, *found.problems))
        return io.NodeOutput(found, len(found.faces), text, ui={"text": (text,)})


def references_input() -> io.Input:
    """Where a node that restores takes references."""
    return References.Input(
        "references",
        optional=True,
        tooltip="Other photos of the people.\nFrom 'Reference Faces'. A face that matches none is restored without.",
    )


def matches_output() -> io.Output:
    """Where it says which face took which."""
    return io.String.Output(
        "matches",
        display_name="matches",
        tooltip="What the references say of each face, a line per face, and how sure it is.\nEmpty without references.",
    )


def lines_of(matches: dict[str, Match]) -> str:
    """The matches of faces by name, for `matches_output`."""
    return "\n".join(f"{face}: {match}" for face, match in matches.items() if match.cosines)
