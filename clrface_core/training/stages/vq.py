"""The first stage: pictures to latents and back, and the codebook in between."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ...models.bundle import Bundle
from ...models.vq import scale_of, standardise_latents
from ..data import Crops, FaceShards, Steps
from ..parallel import as_first
from .stage import Judges, Stage, Terms


class VQStage(Stage):
    """L1 + LPIPS + codebook and commitment; a patch discriminator joins after `gan_from` steps.

    The first `quantise_from` steps train a plain autoencoder; then the codebook starts as a sample of its
    latents, and entries that went unused for `restart_every` steps are placed anew, so that few lie idle.

    `only` names parts of the network, say the decoder: all others stay as they are, and so do the latents, so that a
    refiner still fits.
    """

    name = "vq"

    def __init__(self, bundle: Bundle, judges: Judges, settings: dict[str, Any], accelerator: Any) -> None:
        super().__init__(bundle, judges, settings, accelerator)
        if settings["only"]:
            for name, part in self.trained.named_children():
                part.requires_grad_(name in settings["only"])
        self.usage = torch.zeros(bundle.vq.config.n_embed, dtype=torch.long)
        self._latents: Tensor | None = None

    def dataset(self, shards: FaceShards, seed: int) -> Steps:
        return self._data(Crops, shards, seed, side=self.settings["crop"])

    def loss(self, network: Any, batch: Terms, step: int, generator: torch.Generator) -> Terms:
        clean = batch["clean"]
        z = network.encode(clean)
        quantised = step >= self.settings["quantise_from"]
        if quantised:
            z_q, indices = network.quantize(z)
            restored = network.decode(z + (z_q - z).detach())
            codebook, commitment = F.mse_loss(z_q, z.detach()), F.mse_loss(z, z_q.detach())
            extra = {"codebook": lambda: codebook, "commitment": lambda: commitment}
        else:
            restored, extra, indices = network.decode(z), {}, None
        terms = self._weighted(
            {
                "l1": lambda: F.l1_loss(restored, clean),
                "lpips": lambda: self._perceptual(restored, clean, generator),
                **self._adversarial(restored, clean, step),
                **extra,
            }
        )
        if network is self.trained:
            self._latents = z.detach()
            if indices is not None:
                self.usage.index_add_(0, indices.flatten().cpu(), torch.ones(indices.numel(), dtype=torch.long))
        return terms

    @torch.no_grad()
    def _place(self, entries: Tensor, latents: Tensor, step: int) -> None:
        """Set codebook rows to randomly chosen latents of the last batch, slightly apart from each other."""
        generator = torch.Generator().manual_seed(step)
        flat = rearrange(latents, "b c h w -> (b h w) c").cpu()
        chosen = flat[torch.randint(len(flat), (len(entries),), generator=generator)]
        chosen = chosen + 0.01 * flat.std() * torch.randn(chosen.shape, generator=generator)
        table = self.bundle.vq.quantize.embedding.weight
        table[entries.to(table.device)] = as_first(self.accelerator, chosen.to(table))

    def after_step(self, step: int) -> dict[str, float]:
        figures = super().after_step(step)
        latents = self._latents
        assert latents is not None
        if self.settings["only"] and "quantize" not in self.settings["only"]:
            return figures
        if step + 1 == self.settings["quantise_from"]:
            self._place(torch.arange(len(self.usage)), latents, step)
        elif step >= self.settings["quantise_from"] and (step + 1) % self.settings["restart_every"] == 0:
            self.usage = self.accelerator.reduce(self.usage.to(latents.device), "sum").cpu()
            idle = (self.usage == 0).nonzero().flatten()
            figures["codebook_use"] = 1 - len(idle) / len(self.usage)
            if step < self.settings["restart_until"]:
                self._place(idle, latents, step)
            self.usage.zero_()
        return figures

    def pictures(self, network: Any, batch: Terms, generator: torch.Generator) -> list[Tensor]:
        return [batch["clean"], network.decode(network.quantize(network.encode(batch["clean"]))[0])]

    @torch.no_grad()
    def finish(self, network: Any, batch: Terms) -> None:
        if self.settings["only"]:
            return
        standardise_latents(network, *scale_of(network.encode(batch["clean"])))

    def state(self) -> dict[str, Any]:
        return super().state() | {"usage": self.usage}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.usage = state["usage"]
