"""Identity Mask: where guidance may act, learned, and painted over."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from .progress import Progress
from .tensors import blank, estimate_and_degraded, latent_masks
from .types import CATEGORY, model_input
from .upstream import check_upstream


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
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
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
        check_upstream(cls.hidden)
        z_i, z_d = estimate_and_degraded(latent, model.bundle.vq.config.embed_dim)
        painted = None if mask is None else latent_masks(mask, z_i)[:, 0]
        faces = model.faces()
        masks = blank(len(z_i), *z_i.shape[2:])
        progress = Progress(len(z_i))

        def work(part: slice) -> None:
            learned = faces.mask(z_d[part], z_i[part])
            masks[part] = 1.0 if learned is None else learned.mean(1).to(masks)
            progress.advance(len(z_i[part]))

        faces.in_micro_batches(len(z_i), work)
        return io.NodeOutput(masks if painted is None else masks * painted.to(masks))
