"""Latent Refine Sampler: the short conditional diffusion that starts from the estimate."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from .latents import DEGRADED
from .types import CATEGORY, model_input, seed_input


def sampling_inputs() -> list[io.Input]:
    """The settings of the diffusion, alike on the sampler and on the node that does all; defaults are the library's."""
    from ..clrface_core.diffusion.solvers import SOLVERS
    from ..clrface_core.stages import Sampling

    usual = Sampling()
    return [
        seed_input("the noise"),
        io.Int.Input(
            "steps",
            default=usual.steps,
            min=1,
            max=100,
            tooltip="Steps of the solver.\nMore cost more time, and refine in smaller moves.",
        ),
        io.Combo.Input(
            "solver",
            options=list(SOLVERS),
            default=usual.solver,
            tooltip=(
                "How the diffusion is solved.\nddim: plain. dpmpp_2m: second order. heun: second order at twice the "
                "work.\neuler_maruyama: adds fresh noise at every step."
            ),
            advanced=True,
        ),
        io.Float.Input(
            "t0",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.05,
            tooltip="Where the diffusion starts.\n0 is what the model was trained for.\nLower keeps more of the "
            "estimate, higher invents more.",
            advanced=True,
        ),
        io.Float.Input(
            "identity",
            default=0.0,
            min=0.0,
            max=10.0,
            step=0.1,
            tooltip="How strongly to pull towards the person in the estimate.\n0 is off and costs nothing, 1 is usual.",
        ),
        io.Int.Input(
            "batch_size",
            default=4,
            min=1,
            max=64,
            tooltip="Faces at once.\nMemory grows with it; results do not depend on it.",
            advanced=True,
        ),
    ]


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
                    "used.\nMatters only for an identity above 0.",
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
        seed: int,
        steps: int,
        solver: str,
        t0: float,
        identity: float,
        batch_size: int,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        from ..clrface_core.stages import Sampling
        from .host import Progress, blank, preview_of, samples
        from .mask import fitted

        sampling = Sampling(steps, solver, t0 or None, identity, seed)
        z_i = samples(latent)
        z_d = degraded_latent(latent, z_i)
        masks = None if mask is None else fitted(mask, z_i).expand(len(z_i), -1, -1, -1)
        stages = model.stages(batch_size)
        progress = Progress(len(z_i) * steps)
        refined = blank(*z_i.shape)
        for start in range(0, len(z_i), batch_size):
            part = slice(start, start + batch_size)
            count = len(z_i[part])
            refined[part] = stages.refine(
                z_i[part].to(stages.device),
                z_d[part].to(stages.device),
                sampling,
                mask=None if masks is None else masks[part].to(stages.device),
                numbers=range(start, start + count),
                callback=lambda event, count=count: progress.advance(count, preview_of(stages, event["denoised"])),
            ).to(refined)
        return io.NodeOutput({**latent, "samples": masked(z_i, refined, latent.get("noise_mask"))})


def masked(start: Tensor, refined: Tensor, noise_mask: Tensor | None) -> Tensor:
    """The refined latents, or the start where a noise mask, as ComfyUI's latent nodes set it, is black."""
    from .mask import fitted

    if noise_mask is None:
        return refined
    return torch.lerp(start.to(refined), refined, fitted(noise_mask, start).to(refined))


def degraded_latent(latent: dict[str, Any], z_i: Tensor) -> Tensor:
    """z_d, which IRN Init left in the latent; CLRFaceError where it is missing or no longer fits."""
    from ..clrface_core.errors import CLRFaceError

    z_d = latent.get(DEGRADED)
    if not isinstance(z_d, Tensor):
        raise CLRFaceError("Expected a latent from 'IRN Init', got one without the degraded face: connect that node.")
    if z_d.shape != z_i.shape:
        raise CLRFaceError(
            f"Expected the latent as 'IRN Init' made it, {tuple(z_d.shape)}, got {tuple(z_i.shape)}: resize or pick "
            "the crops before it, not the latent after it."
        )
    return z_d.float()
