"""Latent Refine Sampler: the short conditional diffusion that starts from the estimate."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..clrface_core.diffusion.refine import Sampling
from ..clrface_core.diffusion.solvers import SOLVERS
from .progress import Progress, preview_of
from .tensors import blank, estimate_and_degraded, face_ids, latent_masks
from .types import CATEGORY, model_input, seed_input
from .upstream import check_upstream

USUAL = Sampling()
START = 0.5
"""Where the bundled model was trained to start, and every config of ours (a test compares them)."""


def sampling_inputs() -> list[io.Input]:
    """The settings of the diffusion, alike on the sampler and on the node that does all; defaults are the library's."""
    return [
        seed_input("the noise"),
        io.Int.Input(
            "steps",
            default=USUAL.steps,
            min=1,
            max=100,
            tooltip="Steps of the solver.\nMore cost more time, and refine in smaller moves.",
        ),
        io.Combo.Input(
            "solver",
            options=list(SOLVERS),
            default=USUAL.solver,
            tooltip="How the diffusion is solved.\nddim: first order. dpmpp_2m: second order.",
            advanced=True,
        ),
        io.Float.Input(
            "denoise",
            default=START,
            min=0.01,
            max=1.0,
            step=0.01,
            tooltip="Where the diffusion starts, as in KSampler.\nLower keeps more of the estimate, higher invents "
            "more. The bundled model was trained to start at 0.5.",
            advanced=True,
        ),
        io.Float.Input(
            "guidance_scale",
            default=USUAL.guidance_scale,
            min=0.0,
            max=10.0,
            step=0.1,
            tooltip="How strongly to pull towards the person in the estimate.\n0 is off and costs nothing, 1 is usual.",
        ),
        io.Int.Input(
            "batch_size",
            default=0,
            min=0,
            max=64,
            tooltip="Faces at once, 0 chooses.\nMemory grows with it; results do not depend on it.",
            advanced=True,
        ),
    ]


def fidelity_input() -> io.Input:
    """How much of the estimate is kept, alike on the decoder and on the node that does all."""
    return io.Float.Input(
        "fidelity",
        default=USUAL.fidelity,
        min=0.0,
        max=1.0,
        step=0.05,
        tooltip="How much of the faithful estimate is kept.\n0 is the sharpest, 1 the closest to the photo.",
    )


class LatentRefineSampler(io.ComfyNode):
    """Latent to refined latent."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CLRFaceLatentRefineSampler",
            display_name="Latent Refine Sampler",
            category=CATEGORY,
            description=(
                "Refines the estimate: noise on its latent, only part of the way, and a short diffusion back,\n"
                "which sees the degraded face and the estimate all along."
            ),
            search_aliases=["face restore sampler", "face diffusion", "clr face refine", "diffbir"],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
            inputs=[
                model_input(),
                io.Latent.Input(
                    "latent", tooltip="The start.\nFrom 'IRN Init', with core latent nodes between or not."
                ),
                *sampling_inputs(),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where identity guidance may act.\nFrom 'Identity Mask'; without one the model's own is "
                    "used.\nMatters only for a guidance scale above 0.",
                ),
            ],
            outputs=[
                io.Latent.Output("latent", display_name="latent", tooltip="The refined latent.\nFor 'VQ Decode'.")
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        latent: dict[str, Any],
        batch_size: int,
        mask: Tensor | None = None,
        **sampling: Any,
    ) -> io.NodeOutput:
        check_upstream(cls.hidden)
        settings = Sampling(**sampling)
        z_i, z_d = estimate_and_degraded(latent, model.bundle.vq.config.embed_dim)
        ids = face_ids(latent, len(z_i))
        masks = None if mask is None else latent_masks(mask, z_i).expand(len(z_i), -1, -1, -1)
        faces = model.faces(batch_size, guided=settings.guidance_scale > 0)
        progress = Progress(len(z_i) * settings.steps)
        refined = blank(*z_i.shape)

        def work(part: slice) -> None:
            refined[part] = faces.refine(
                z_i[part].to(faces.device),
                z_d[part].to(faces.device),
                settings,
                mask=None if masks is None else masks[part].to(faces.device),
                face_ids=ids[part],
                callback=lambda event: progress.advance(len(z_i[part]), preview_of(faces, event["denoised"])),
            ).to(refined)

        faces.in_micro_batches(len(z_i), work)
        kept = masked(z_i, refined, latent.get("noise_mask"))
        return io.NodeOutput({**latent, "samples": torch.cat((kept, z_d.to(kept)), dim=1)})


def masked(start: Tensor, refined: Tensor, noise_mask: Tensor | None) -> Tensor:
    """The refined latents, or the start where a noise mask, as ComfyUI's latent nodes set it, is black."""
    if noise_mask is None:
        return refined
    return torch.lerp(start.to(refined), refined, latent_masks(noise_mask, start).to(refined))
