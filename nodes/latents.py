"""VQ Encode, IRN Init and VQ Decode: pictures to latents and back."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..clrface_core.errors import CLRFaceError
from ..clrface_core.fidelity import keep_estimate
from ..clrface_core.references import Match
from .progress import Progress
from .references import lines_of, matches_output, references_input
from .sampler import fidelity_input
from .sampling import conditioning
from .tensors import FACE_IDS, as_pictures, blank, check_image, latents_of
from .types import CATEGORY, Alignment, model_input
from .upstream import check_upstream
from .vae import HostVAE


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
                Alignment.Input(
                    "alignment",
                    optional=True,
                    tooltip="Which face of its picture each crop is.\nA chosen face then gets the noise that it has "
                    "among all.",
                ),
            ],
            outputs=[
                io.Latent.Output(
                    "latent",
                    display_name="latent",
                    tooltip="The estimate's latent, to refine.\nThe degraded face's latent travels with it.",
                ),
                io.Image.Output(
                    "estimate",
                    display_name="estimate",
                    tooltip="The estimate itself, as pictures.\nTrue to the person, and smooth.",
                ),
                *(
                    io.Conditioning.Output(name, display_name=name, tooltip=tooltip)
                    for name, tooltip in (
                        (
                            "positive",
                            "What the refiner looks at, for ComfyUI's own samplers.\nThe estimate's latent "
                            "and the degraded face's.",
                        ),
                        ("negative", "The same, for samplers that ask for both.\nSo cfg does nothing: leave it at 1."),
                    )
                ),
            ],
        )

    @classmethod
    def execute(cls, model: Any, crops: Tensor, alignment: Any = None) -> io.NodeOutput:
        check_image(crops, "crops")
        if alignment is not None and len(alignment) != len(crops):
            raise CLRFaceError(
                f"Expected {len(alignment)} crops for this alignment, got {len(crops)}: connect both from one node."
            )
        faces = model.faces()
        faces.check_crops(as_pictures(crops[:1]))
        config = faces.bundle.vq.config
        side = crops.shape[1] // config.compression
        latents, estimate = blank(len(crops), 2 * config.embed_dim, side, side), blank(*crops.shape)
        progress = Progress(len(crops))

        def work(part: slice) -> None:
            x_d = as_pictures(crops[part])
            x_i = faces.estimate(x_d)
            z_d, z_i = faces.encode(torch.cat((x_d.to(x_i), x_i))).chunk(2)
            latents[part] = torch.cat((z_i, z_d), dim=1).to(latents)
            estimate[part] = x_i.clamp(0, 1).movedim(1, -1).to(estimate)
            progress.advance(len(x_i))

        faces.in_micro_batches(len(crops), work)
        ids = list(range(len(crops)) if alignment is None else alignment.ids)
        known = conditioning(latents)
        return io.NodeOutput({"samples": latents, FACE_IDS: ids}, estimate, known, known)


class VQDecode(io.ComfyNode):
    """Latents to pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CLRFaceVQDecode",
            display_name="VQ Decode",
            category=CATEGORY,
            description=(
                "Snaps latents to the codebook, once, and decodes them into pictures.\n"
                "With the estimate, what is coarse comes from it; with references, faces are drawn towards the person."
            ),
            search_aliases=["vae decode face", "vqgan decode", "clr face decode"],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
            inputs=[
                model_input(),
                io.Latent.Input("latent", tooltip="Latents, refined or not.\nFrom 'Latent Refine Sampler'."),
                io.Boolean.Input(
                    "quantise",
                    default=True,
                    tooltip="Snap every latent to its nearest codebook entry first.\nOff decodes them as they are.",
                ),
                fidelity_input(),
                io.Image.Input(
                    "estimate",
                    optional=True,
                    tooltip="The estimates of 'IRN Init', one per latent.\nWithout them fidelity does nothing.",
                ),
                references_input(),
            ],
            outputs=[
                io.Image.Output("image", display_name="image", tooltip="The pictures.\nFour times the latent."),
                matches_output(),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        latent: dict[str, Any],
        quantise: bool,
        fidelity: float,
        estimate: Tensor | None = None,
        references: Any = None,
    ) -> io.NodeOutput:
        check_upstream(cls.hidden)
        z = latents_of(latent, model.bundle.vq.config.embed_dim)
        image = HostVAE(model).decode_latents(z, quantise=quantise)
        if estimate is not None and len(image):
            _check_estimates(estimate, image)
        matches = [Match()] * len(image)
        faces = None if references is None else model.faces(guided=True)
        for index, face in enumerate(image):
            kept = known = as_pictures(face)[None]
            if estimate is not None:
                known = as_pictures(estimate[index % len(estimate)])[None]  # as ComfyUI repeats a batch of latents
                kept = keep_estimate(kept, known, fidelity)
            if faces is not None:
                matches[index : index + 1] = faces.match(known.to(faces.device), references)
                kept = faces.towards(matches[index : index + 1], kept.to(faces.device))
            face.copy_(kept[0].movedim(0, -1))
        return io.NodeOutput(image, lines_of({f"face {number}": match for number, match in enumerate(matches)}))


def _check_estimates(estimate: Tensor, image: Tensor) -> None:
    """Raise CLRFaceError unless these are the estimates of the pictures, or of one repetition of them."""
    check_image(estimate, "estimate")
    if estimate.shape[1:] != image.shape[1:] or not len(estimate) or len(image) % len(estimate):
        raise CLRFaceError(
            f"Expected estimates {tuple(image.shape)} as the latents decode to, got {tuple(estimate.shape)}: "
            "connect those of the same 'IRN Init', or none."
        )
