"""The refiner as a MODEL: what ComfyUI's own samplers, schedulers and previews ask of one.

Core's state is x = z_0 + s eps, with the noise level s = sigma/alpha; the refiner knows z_t = alpha x and the time t.
A LATENT of 'IRN Init' (see `tensors`) passes through whole: z_I is noised and refined, z_d is carried along.
"""

from __future__ import annotations

from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import comfy.conds
import comfy.latent_formats
import comfy.model_base
import comfy.model_management as memory
import comfy.ops
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..clrface_core.diffusion.schedule import Schedule, schedule_named
from ..clrface_core.errors import CLRFaceError
from ..clrface_core.models.refiner import Refiner
from .memory import HostModel, managed

KNOWN = "concat_latent_image"
"""The key of a CONDITIONING under which core's own nodes keep latents that a model sees beside the noisy one."""

TIMES = 1000
"""Noise levels that are listed for core's schedulers: the "simple" one picks the library's own grid out of them."""

SAME = 0.01
"""Largest difference by which two latents of unit variance are the same one, rounded on its way."""

# Least squares of the bundled autoencoder's latents, and 1, to RGB in [-1,1]: the faces of samples/, both blurred as
# below, for a single latent says little of its colour. What is left has a root mean square of 0.16, the faces of 0.53.
RGB_FACTORS = [[0.1007, 0.2851, 0.0711], [0.5316, 0.1496, 0.0501], [0.0473, 0.2118, 0.4741]]
RGB_BIAS = [0.0082, -0.1356, -0.2344]


class FaceLatents(comfy.latent_formats.LatentFormat):
    """Latents of faces, of unit variance as they are."""

    scale_factor = 1.0
    latent_dimensions = 2

    def __init__(self, channels: int, compression: int) -> None:
        self.latent_channels, self.spacial_downscale_ratio = channels, compression
        if channels == len(RGB_FACTORS):
            self.latent_rgb_factors, self.latent_rgb_factors_bias = RGB_FACTORS, RGB_BIAS
            self.latent_rgb_factors_reshape = self._blurred

    def _blurred(self, latents: Tensor) -> Tensor:
        """Those of the estimate, averaged over 3x3."""
        return F.avg_pool2d(latents[:, : self.latent_channels], 3, stride=1, padding=1, count_include_pad=False)


class FaceSampling(nn.Module):
    """The forward process by core's noise levels; the model estimates the clean latent itself."""

    sigma_data = 1.0
    sigmas: Tensor

    def __init__(self, schedule: Schedule, channels: int) -> None:
        super().__init__()
        self._schedule, self._channels = schedule, channels
        times = torch.arange(1, TIMES + 1, dtype=torch.float64) / TIMES
        levels = self.sigma(times)
        self.register_buffer("sigmas", levels.float())
        self.register_buffer("log_sigmas", levels.log().float())

    @property
    def sigma_min(self) -> Tensor:
        """The lowest level that a schedule ends with before 0."""
        return self.sigmas[0]

    @property
    def sigma_max(self) -> Tensor:
        """The level at t = 1."""
        return self.sigmas[-1]

    def timestep(self, sigma: Tensor) -> Tensor:
        """The time in [0,1] of a noise level."""
        return self._schedule.time(sigma).clamp(0, 1)

    def sigma(self, timestep: Tensor) -> Tensor:
        """The noise level at a time in [0,1]."""
        t = timestep.clamp(0, 1)
        return self._schedule.sigma(t) / self._schedule.alpha(t)

    def percent_to_sigma(self, percent: float) -> float:
        """The level after this share of the whole way from noise; above all levels at 0, as core has it."""
        if percent <= 0:
            return 999999999.9
        return float(self.sigma(torch.tensor(1 - percent, dtype=torch.float64))) if percent < 1 else 0.0

    def calculate_input(self, sigma: Tensor, noise: Tensor) -> Tensor:
        """z_t of the state."""
        return noise / torch.sqrt(1 + _each(sigma, noise) ** 2)

    def calculate_denoised(self, sigma: Tensor, model_output: Tensor, model_input: Tensor) -> Tensor:
        """The model's output is the clean latent."""
        return model_output

    def noise_scaling(self, sigma: Tensor, noise: Tensor, latent_image: Tensor, max_denoise: bool = False) -> Tensor:
        """The state at a level. z_d is never noised, and never is the estimate left out, even at the top."""
        return torch.cat(
            (
                latent_image[:, : self._channels] + _each(sigma, noise) * noise[:, : self._channels],
                latent_image[:, self._channels :],
            ),
            dim=1,
        )

    def inverse_noise_scaling(self, sigma: Tensor, latent: Tensor) -> Tensor:
        """The state is the latent where no noise is left."""
        return latent


def _each(sigma: Tensor, latents: Tensor) -> Tensor:
    """One level, or one per latent, shaped to multiply latents (B,C,h,w)."""
    return sigma.reshape(-1, *[1] * (latents.ndim - 1))


class FaceModel(comfy.model_base.BaseModel, nn.Module):
    """A refiner in ComfyUI's hands.

    host: the model that it came from, whose decoder and recognition network guide (see `guidance`).
    """

    def __init__(self, host: HostModel) -> None:
        vq, refiner = host.bundle.vq.config, host.bundle.refiner
        widths = refiner.config.unet.widths
        config = SimpleNamespace(
            unet_config={"disable_unet_model_creation": True},
            latent_format=FaceLatents(vq.embed_dim, vq.compression),
            manual_cast_dtype=None,
            custom_operations=None,
            sampling_settings={},
            memory_usage_factor=0.05 * widths[0] / 64,  # 0.12 GB for a face of 512 px by core's formula: plenty
        )
        nn.Module.__init__(self)
        super().__init__(config, comfy.model_base.ModelType.EPS)
        self.host, self.channels = host, vq.embed_dim
        self.diffusion_model = with_cores_layers(refiner)
        self.model_sampling = FaceSampling(schedule_named(refiner.config.schedule), vq.embed_dim)

    def get_dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(self.diffusion_model.parameters()).dtype

    def extra_conds(self, **kwargs: Any) -> dict[str, Any]:
        """The latents that the refiner sees beside the noisy one: z_I, then z_d, of every face of the batch."""
        return {"c_concat": comfy.conds.CONDNoiseShape(self._known(**kwargs))}

    def _known(self, *, noise: Tensor, latent_image: Tensor | None = None, device: Any = None, **kwargs: Any) -> Tensor:
        known = kwargs.get(KNOWN)
        if not isinstance(known, Tensor) or known.ndim != 4 or known.shape[1] != 2 * self.channels:
            raise CLRFaceError(
                "Expected the CONDITIONING of 'IRN Init' for this MODEL, got another: connect positive and negative "
                "from that node."
            )
        if noise.ndim != 4 or noise.shape[1] not in (self.channels, 2 * self.channels):
            raise CLRFaceError(
                f"Expected a LATENT of 'IRN Init' or 'VQ Encode' ({2 * self.channels} or {self.channels} channels), "
                f"got {tuple(noise.shape)}: connect that node."
            )
        known = known.to(noise.device, torch.float32)
        if latent_image is not None and noise.shape[1] == 2 * self.channels:
            rows = _rows(latent_image[:, self.channels :], known[:, self.channels :])
            if rows is not None:
                return known[rows]
            if torch.count_nonzero(noise):  # a latent that was flipped, enlarged or the like: both of its halves were
                return latent_image.float()
        if known.shape[2:] != noise.shape[2:] or len(known) not in (1, len(noise)):
            raise CLRFaceError(
                f"Expected as many latents as the CONDITIONING of 'IRN Init' has, {tuple(known.shape)}, and of its "
                f"size, got {tuple(noise.shape)}: connect both from one node."
            )
        return known.expand(len(noise), -1, -1, -1)

    def _apply_model(
        self, x: Tensor, t: Tensor, c_concat: Tensor | None = None, *unused: Any, **ignored: Any
    ) -> Tensor:
        """The clean latent, float32; z_d, where the state holds it, as it is known."""
        assert c_concat is not None
        dtype = self.get_dtype()
        z_i, z_d = c_concat.to(x).chunk(2, dim=1)
        z_t = self.model_sampling.calculate_input(t, x[:, : self.channels])
        output = self.diffusion_model(
            z_t.to(dtype), z_d.to(dtype), z_i.to(dtype), self.model_sampling.timestep(t.float())
        )
        clean = self.model_sampling.calculate_denoised(t, output.float(), x[:, : self.channels])
        return clean if x.shape[1] == self.channels else torch.cat((clean, z_d.to(clean)), dim=1)

    def state_dict_for_saving(self, *unused: Any, **ignored: Any) -> dict[str, Any]:
        """Refused: half of a model is none."""
        raise CLRFaceError(
            "Expected a model that ComfyUI can save, got the refiner of a CLR-Face model, which works with its other "
            "networks only: copy the file in models/clrface."
        )


def _rows(latents: Tensor, known: Tensor) -> list[int] | None:
    """For each latent which of the known ones it is, or None where one of them is none."""
    if latents.shape[1:] != known.shape[1:]:
        return None
    rows: list[int] = []
    for index, latent in enumerate(latents.to(known)):
        likely = [index, *range(len(known))] if index < len(known) else range(len(known))
        found = next((row for row in likely if (latent - known[row]).abs().amax() < SAME), None)
        if found is None:
            return None
        rows.append(found)
    return rows


def with_cores_layers(refiner: Refiner) -> Refiner:
    """A copy, off the device, whose layers are core's: those can be moved in parts, streamed, cast and patched."""
    copy = deepcopy(refiner).to(memory.unet_offload_device())
    for module in copy.modules():
        kind = getattr(comfy.ops.manual_cast, type(module).__name__, None)
        if kind is not None and type(module).__module__.startswith("torch.nn"):
            module.__class__ = kind  # core's layers add no state of their own, only how weights reach the device
    return copy


def conditioning(latents: Tensor) -> list[list[Any]]:
    """CONDITIONING of the latents (z_I, then z_d) of 'IRN Init', and of an empty text, without which core has none."""
    return [[torch.zeros(1, 1, 1), {KNOWN: latents}]]


def sampling_model(host: HostModel) -> Any:
    """MODEL: the refiner of a loaded model, managed by ComfyUI apart from the rest."""
    return managed(FaceModel(host))
