"""VQ Encode, IRN Init and VQ Decode: pictures to latents and back."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from .types import CATEGORY, model_input

DEGRADED = "clrface_degraded"
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
                    "estimate",
                    display_name="estimate",
                    tooltip="The estimate itself, as pictures.\nTrue to the person, and smooth.",
                ),
            ],
        )

    @classmethod
    def execute(cls, model: Any, crops: Tensor) -> io.NodeOutput:
        from ..clrface_core.stages import check_crops
        from .host import Progress, as_pictures, blank, check_image

        check_image(crops, "crops")
        check_crops(as_pictures(crops[:1]))
        stages = model.stages()
        config = stages.bundle.vq.config
        side = crops.shape[1] // config.compression
        z_i, z_d = (blank(len(crops), config.embed_dim, side, side) for _ in range(2))
        estimate = blank(*crops.shape)
        progress = Progress(len(crops))
        for start in range(0, len(crops), stages.batch_size):
            part = slice(start, start + stages.batch_size)
            faces = as_pictures(crops[part])
            x_i = stages.estimate(faces)
            z_d[part], z_i[part] = stages.encode(torch.cat((faces.to(x_i), x_i))).to(z_i).chunk(2)
            estimate[part] = x_i.clamp(0, 1).movedim(1, -1).to(estimate)
            progress.advance(len(x_i))
        return io.NodeOutput({"samples": z_i, DEGRADED: z_d}, estimate)


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
        from .host import Progress, blank, samples

        z = samples(latent)
        stages = model.stages()
        height, width = (extent * stages.bundle.vq.config.compression for extent in z.shape[2:])
        image = blank(len(z), height, width, 3)
        progress = Progress(len(z))
        for start in range(0, len(z), stages.batch_size):
            part = slice(start, start + stages.batch_size)
            image[part] = stages.decode(z[part], quantise=quantise).movedim(1, -1).to(image)
            progress.advance(len(z[part]))
        return io.NodeOutput(image)
