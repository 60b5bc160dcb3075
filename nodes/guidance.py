"""CLR-Face Identity Guidance: core's samplers pulled towards the person in the estimate, or in other photos."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..clrface_core.diffusion.guidance import IdentityGuidance
from ..clrface_core.errors import CLRFaceError
from .sampling import FaceModel
from .tensors import latent_masks
from .types import CATEGORY, References


class IdentityGuidanceNode(io.ComfyNode):
    """MODEL to guided MODEL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CLRFaceIdentityGuidance",
            display_name="CLR-Face Identity Guidance",
            category=CATEGORY,
            description=(
                "Lets every sampler of ComfyUI pull the face towards the person in the estimate of 'IRN Init', "
                "or in references.\n"
                "Other patches of the MODEL stay; the guidance acts after cfg."
            ),
            search_aliases=["identity guidance", "keep identity", "face similarity guidance", "post cfg"],
            inputs=[
                io.Model.Input("core_model", tooltip="The refiner.\nFrom the output MODEL of 'Load CLR-Face Model'."),
                io.Float.Input(
                    "guidance_scale",
                    default=1.0,
                    min=0.0,
                    max=10.0,
                    step=0.1,
                    tooltip="How strongly to pull.\n0 is off and costs nothing, 1 is usual.",
                ),
                io.Float.Input(
                    "start_percent",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="From where on, as a share of the whole way from noise.\nA denoise of 0.5 begins at 0.5.",
                    advanced=True,
                ),
                io.Float.Input(
                    "end_percent",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Up to where, as a share of the whole way from noise.\n1 is to the end.",
                    advanced=True,
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where guidance may act.\nFrom 'Identity Mask'; without one the model's own is used.",
                ),
                References.Input(
                    "references",
                    optional=True,
                    tooltip="Other photos of the people, from 'Reference Faces'.\nA face that matches some is pulled "
                    "towards them, every other one towards its estimate. Their own scale is not used here.",
                ),
            ],
            outputs=[
                io.Model.Output(
                    "core_model", display_name="MODEL", tooltip="The guided refiner.\nFor KSampler and its like."
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        core_model: Any,
        guidance_scale: float,
        start_percent: float,
        end_percent: float,
        mask: Tensor | None = None,
        references: Any = None,
    ) -> io.NodeOutput:
        if not isinstance(getattr(core_model, "model", None), FaceModel):
            raise CLRFaceError(
                "Expected the MODEL of 'Load CLR-Face Model', got another one: connect that, for identity guidance "
                "needs its networks."
            )
        guided = core_model.clone()
        if guidance_scale > 0:
            levels = core_model.get_model_object("model_sampling")
            span = levels.percent_to_sigma(end_percent), levels.percent_to_sigma(start_percent)
            guided.set_model_sampler_post_cfg_function(
                Guide(core_model.model, guidance_scale, span, mask, references), disable_cfg1_optimization=False
            )
        return io.NodeOutput(guided)


class Guide:
    """The post-CFG patch: moves the clean latents of each step, between two noise levels."""

    def __init__(
        self,
        model: FaceModel,
        scale: float,
        span: tuple[float, float],
        mask: Tensor | None,
        references: Any = None,
    ) -> None:
        self._model, self._scale, self._span, self._mask = model, scale, span, mask
        self._references = references
        self._known: Tensor | None = None
        self._guidance: IdentityGuidance | None = None

    def __call__(self, step: dict[str, Any]) -> Tensor:
        """See core's `cfg_function`."""
        denoised, sigma = step["denoised"], step["sigma"]
        low, high = self._span
        if not low <= float(sigma.max()) <= high:
            return denoised
        channels = self._model.channels
        guidance = self._for(step["cond"][0]["model_conds"]["c_concat"].cond)
        alpha = torch.rsqrt(1 + sigma.float() ** 2).expand(len(denoised))
        moved = guidance(denoised[:, :channels].float(), alpha)
        return torch.cat((moved.to(denoised), denoised[:, channels:]), dim=1)

    def _for(self, known: Tensor) -> IdentityGuidance:
        """The guidance of this batch, made in its first step: the networks are loaded then, and the target known."""
        if self._guidance is None or known is not self._known:
            faces = self._model.host.faces(len(known), guided=True)
            z_i, z_d = known.to(faces.device).chunk(2, dim=1)
            mask = faces.mask(z_d, z_i) if self._mask is None else latent_masks(self._mask, z_i)
            matches = []
            if self._references is not None:
                matches = faces.match(faces.decode(z_i, quantise=False), self._references)
            self._guidance = faces.guidance(z_i, mask, self._scale, matches)
            self._known = known
        return self._guidance
