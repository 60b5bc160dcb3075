"""Degrade Face: a worse picture, to try things out."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..clrface_core.degrade import PRESETS, degrade
from .progress import Progress
from .tensors import blank, photos
from .types import CATEGORY, seed_input


class DegradeFace(io.ComfyNode):
    """Pictures to blurred, small, noisy and compressed ones."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CLRFaceDegradeFace",
            display_name="Degrade Face",
            category=CATEGORY,
            description="Blur, reduction, noise and JPEG, drawn by a seed, at the same size.",
            search_aliases=["blur face", "jpeg artifacts", "make low quality", "test degradation"],
            inputs=[
                io.Image.Input("image", tooltip="Pictures.\nMeant for aligned faces of 512 px."),
                io.Combo.Input(
                    "preset",
                    options=list(PRESETS),
                    default="mild",
                    tooltip="How bad it may get.\nmild leaves the person; standard goes down to 16 px of face.",
                ),
                seed_input("the damage"),
            ],
            outputs=[
                io.Image.Output(
                    "image", display_name="image", tooltip="The damaged pictures.\nOf the same size as before."
                )
            ],
        )

    @classmethod
    def execute(cls, image: Tensor, preset: str, seed: int) -> io.NodeOutput:
        originals = photos(image)
        progress = Progress(len(originals))
        damaged = blank(*image.shape)
        for index, photo in enumerate(originals):
            damaged[index] = degrade(photo, PRESETS[preset], seed=(seed, index)).movedim(0, -1).to(damaged)
            progress.advance(1)
        return io.NodeOutput(damaged)
