"""Face Similarity: how much of the person was kept."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from comfy_api.latest import io
from torch import Tensor

from ..clrface_core.errors import CLRFaceError
from ..clrface_core.models.identity import identity_similarity
from .memory import identity_network
from .progress import Progress
from .tensors import each_picture
from .types import CATEGORY

VERDICTS = ((0.6, "the same person, clearly"), (0.36, "probably the same person"), (-1.0, "not recognisable"))
"""SFace: the same person in other photos scores 0.79 on average and 0.66 at least, others 0.36 at most (24 photos)."""


class FaceSimilarity(io.ComfyNode):
    """Two faces to a number."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CLRFaceFaceSimilarity",
            display_name="Face Similarity",
            category=CATEGORY,
            description=(
                "Compares aligned faces pair by pair by a recognition network: how much of the person was kept.\n"
                "It is the network that identity guidance uses: guided faces score well with it by themselves."
            ),
            search_aliases=["face compare", "identity score", "face distance", "cosine similarity"],
            is_output_node=True,
            inputs=[
                io.Image.Input("faces", tooltip="Aligned faces, square.\nSay, restored ones."),
                io.Image.Input("reference", tooltip="Aligned faces to compare with.\nAs many, or one for all."),
            ],
            outputs=[
                io.Float.Output(
                    "cosine",
                    display_name="cosine",
                    is_output_list=True,
                    tooltip="One number per pair, from -1 to 1.\n1 is the same picture; strangers score about 0.1.",
                ),
                io.String.Output(
                    "text", display_name="text", tooltip="The same in words, a line per pair.\nShown on the node."
                ),
            ],
        )

    @classmethod
    def execute(cls, faces: Tensor, reference: Tensor) -> io.NodeOutput:
        ours, theirs = square(faces, "faces"), square(reference, "reference")
        if len(theirs) not in (1, len(ours)):
            raise CLRFaceError(
                f"Expected one reference or {len(ours)} of them, got {len(theirs)}: connect faces of the same pictures."
            )
        network = identity_network()
        device = next(network.parameters()).device
        progress = Progress(len(ours))
        cosines: list[float] = []
        with torch.no_grad():
            known = [network(face[None].to(device)) for face in theirs]
            for index, face in enumerate(ours):
                other = known[index if len(known) > 1 else 0]
                cosines += identity_similarity(network(face[None].to(device)), other).tolist()
                progress.advance(1)
        lines = [f"face {i}: {c:.3f}, {next(v for least, v in VERDICTS if c >= least)}" for i, c in enumerate(cosines)]
        text = "\n".join(lines) or "no face to compare"
        return io.NodeOutput(cosines, text, ui={"text": (text,)})


def square(image: Tensor, name: str) -> Sequence[Tensor]:
    """Pictures (3,S,S); CLRFaceError for others."""
    faces = each_picture(image, name)
    if image.shape[1] != image.shape[2] or image.shape[1] < 32:
        raise CLRFaceError(
            f"Expected aligned faces of at least 32x32 px for {name}, got {image.shape[2]}x{image.shape[1]}: cut them "
            "out with 'Detect & Align Faces'."
        )
    return faces
