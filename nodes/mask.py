"""Identity Mask: where guidance may act, learned, and painted over."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from .types import CATEGORY, model_input


class IdentityMask(io.ComfyNode):
    """Latent (and a painted mask) to mask."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CLRFaceIdentityMask",
            display_name="Identity Mask",
            category=CATEGORY,
            description=(
                "Where identity guidance may change the face: the model's own learned mask,\n"
                "multiplied by one of yours if you paint it."
            ),
            search_aliases=["face mask", "identity guidance mask", "keep identity"],
            inputs=[
                model_input(),
                io.Latent.Input("latent", tooltip="The start of the refinement.\nFrom 'IRN Init'."),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="A mask over the aligned crop, of any size.\nWhite lets guidance act, black keeps it away.",
                ),
            ],
            outputs=[
                io.Mask.Output(
                    "mask", display_name="mask", tooltip="For 'Latent Refine Sampler'.\nOne value per latent, 128 px."
                )
            ],
        )

    @classmethod
    def execute(cls, model: Any, latent: dict[str, Any], mask: Tensor | None = None) -> io.NodeOutput:
        from .host import Progress, blank, samples
        from .sampler import degraded_latent

        z_i = samples(latent)
        z_d = degraded_latent(latent, z_i)
        stages = model.stages()
        masks = blank(len(z_i), *z_i.shape[2:])
        progress = Progress(len(z_i))
        for start in range(0, len(z_i), stages.batch_size):
            part = slice(start, start + stages.batch_size)
            learned = stages.mask(z_d[part], z_i[part])
            masks[part] = 1.0 if learned is None else learned.mean(1).to(masks)
            progress.advance(len(z_i[part]))
        if mask is not None:
            masks *= fitted(mask, z_i)[:, 0].to(masks)
        return io.NodeOutput(masks)


def fitted(mask: Tensor, latents: Tensor) -> Tensor:
    """A MASK (B,H,W) or (H,W) as (B,1,h,w) of the latents' size, in [0,1]; one mask serves all latents."""
    from ..clrface_core.errors import CLRFaceError

    mask = mask.float().reshape(-1, 1, *mask.shape[-2:])
    if len(mask) not in (1, len(latents)) or not torch.isfinite(mask).all() or 0 in mask.shape[2:]:
        raise CLRFaceError(
            f"Expected one finite mask for all faces or {len(latents)} of them, got {tuple(mask.shape)}: "
            "paint it over the crops."
        )
    return torch.nn.functional.interpolate(mask.clamp(0, 1), size=latents.shape[2:], mode="area").to(latents.device)
