"""VQ Encode, IRN Init and VQ Decode: pictures to latents and back."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from .types import CATEGORY, model_input

DEGRADED, ESTIMATE = "clrface_degraded", "clrface_estimate"
"""Keys of a LATENT under which IRN Init leaves z_d, and x_I as an IMAGE; ComfyUI's latent nodes carry them along."""


class VQEncode(io.ComfyNode):
    """Pictures to latents."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CLRFaceVQEncode",
            display_name="VQ Encode",
            category=CATEGORY,
            description="Encodes pictures into the model's latents, four times smaller along each side.",
            search_aliases=["vae encode face", "vqgan encode", "clr face encode"],
            inputs=[
                model_input(),
                io.Image.Input("image", tooltip="Pictures of any size.\nCut to a multiple of 4 px around the centre."),
            ],
            outputs=[
                io.Latent.Output(
                    "latent", display_name="latent", tooltip="An ordinary LATENT.\nContinuous: not yet quantised."
                )
            ],
        )

    @classmethod
    def execute(cls, model: Any, image: Tensor) -> io.NodeOutput:
        from .models import HostVAE

        return io.NodeOutput({"samples": HostVAE(model).encode(image)})


class IRNInit(io.ComfyNode):
    """Crops to the start of the refinement."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CLRFaceIRNInit",
            display_name="IRN Init",
            category=CATEGORY,
            description=(
                "The Identity Recovery Network: a faithful, smooth estimate of each face.\n"
                "Its latent is where the refinement starts, its person the one that guidance keeps."
            ),
            search_aliases=["face restore", "identity recovery", "clr face start"],
            inputs=[
                model_input(),
                io.Image.Input("crops", tooltip="Aligned faces of 512 px.\nFrom 'Detect & Align Faces'."),
            ],
            outputs=[
                io.Latent.Output(
                    "latent",
                    display_name="latent",
                    tooltip="The estimate's latent, to refine.\nCarries the degraded face's latent with it.",
                ),
                io.Image.Output(
                    "estimate", display_name="estimate", tooltip="The estimate itself: true to the person, and smooth."
                ),
            ],
        )

    @classmethod
    def execute(cls, model: Any, crops: Tensor) -> io.NodeOutput:
        from ..clrface_core.stages import check_crops
        from .host import Progress, images, intermediate, pictures

        faces = pictures(crops, "crops")
        check_crops(faces)
        stages = model.stages()
        progress = Progress(len(faces))
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        for part in faces.split(stages.batch_size) if len(faces) else ():
            x_i = stages.estimate(part)
            z_d, z_i = stages.encode(torch.cat((part.to(x_i), x_i))).chunk(2)
            parts.append((x_i.float().cpu(), z_d.float().cpu(), z_i.float().cpu()))
            progress.advance(len(part))
        x_i, z_d, z_i = (torch.cat(column) for column in zip(*parts, strict=True)) if parts else _nothing(stages)
        latent = {"samples": intermediate(z_i), DEGRADED: intermediate(z_d), ESTIMATE: images(x_i)}
        return io.NodeOutput(latent, images(x_i.clamp(0, 1)))


def _nothing(stages: Any) -> tuple[Tensor, Tensor, Tensor]:
    """What no crops become."""
    config = stages.bundle.vq.config
    z = torch.zeros(0, config.embed_dim, 512 // config.compression, 512 // config.compression)
    return torch.zeros(0, 3, 512, 512), z, z


class VQDecode(io.ComfyNode):
    """Latents to pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CLRFaceVQDecode",
            display_name="VQ Decode",
            category=CATEGORY,
            description="Snaps latents to the codebook, once, and decodes them into pictures.",
            search_aliases=["vae decode face", "vqgan decode", "clr face decode"],
            inputs=[
                model_input(),
                io.Latent.Input("latent", tooltip="Latents, refined or not.\nFrom 'Latent Refine Sampler'."),
                io.Boolean.Input(
                    "quantise",
                    default=True,
                    tooltip="Snap every latent to its nearest codebook entry first.\nOff decodes them as they are.",
                ),
            ],
            outputs=[io.Image.Output("image", display_name="image", tooltip="The pictures.\nFour times the latent.")],
        )

    @classmethod
    def execute(cls, model: Any, latent: dict[str, Any], quantise: bool) -> io.NodeOutput:
        from .host import Progress, images, samples

        z = samples(latent)
        stages = model.stages()
        progress = Progress(len(z))
        faces = torch.zeros(0, 3, 4 * z.shape[2], 4 * z.shape[3])
        parts = [faces]
        for part in z.split(stages.batch_size) if len(z) else ():
            parts.append(stages.decode(part, quantise=quantise).cpu())
            progress.advance(len(part))
        return io.NodeOutput(images(torch.cat(parts)))
