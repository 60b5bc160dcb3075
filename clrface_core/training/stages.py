"""The four stages: which network learns, from what samples, against which losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..diffusion.guidance import IdentityGuidance
from ..diffusion.schedule import SCHEDULES, time_grid
from ..diffusion.solvers import ddim
from ..errors import CLRFaceError
from ..models.bundle import Bundle
from ..models.perceptual import LPIPS
from ..models.vq import standardise_latents
from . import losses
from .data import SIZE, Augmentation, Crops, FaceShards, Pairs, Steps
from .parallel import Team

Terms = dict[str, Tensor]


@dataclass
class Judges:
    """The frozen networks that losses consult; `None` where a stage gives them no weight."""

    lpips: LPIPS | None
    identity: nn.Module | None


class Stage:
    """One stage of training. `trained` is what it exports; everything else in the bundle stays frozen."""

    name = ""

    team = Team()
    """The processes that train it together."""

    def __init__(self, bundle: Bundle, judges: Judges, settings: dict[str, Any]) -> None:
        self.bundle, self.judges, self.settings = bundle, judges, settings
        trained = getattr(bundle, self.name)
        for network in bundle.networks().values():
            network.requires_grad_(network is trained)
        self.trained: nn.Module = trained

    def dataset(self, shards: FaceShards, seed: int) -> Steps:
        raise NotImplementedError(f"{type(self).__name__} must say what it is trained on")

    def loss(self, network: Any, batch: Terms, step: int, generator: torch.Generator) -> Terms:
        """Weighted terms, to be summed; `network` is `self.trained` or its moving average."""
        raise NotImplementedError(f"{type(self).__name__} must say what it minimises")

    def pictures(self, network: Any, batch: Terms, generator: torch.Generator) -> list[Tensor]:
        """Columns of the sample grid, each (B,3,S,S)."""
        raise NotImplementedError(f"{type(self).__name__} must say what it shows")

    def after_step(self, step: int) -> dict[str, float]:
        """What follows the optimiser's step (a second network's update, say); returns figures to log."""
        return {}

    def finish(self, network: Any, batch: Terms) -> None:
        """Last changes, in place, to the copy of the network that is exported; `batch` is held out."""

    def state(self) -> dict[str, Any]:
        """What a resumed run needs besides the trained network."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""

    def _data(self, kind: Callable[..., Steps], shards: FaceShards, seed: int, **kwargs: Any) -> Steps:
        s = self.settings
        return kind(shards, s["mix"], s["batch"], seed, Augmentation(**s.get("augmentation", {})), **kwargs)

    def _weighted(self, terms: dict[str, Callable[[], Tensor]]) -> Terms:
        """Each term times its weight in the settings; a term of weight 0 is not even computed."""
        weights = self.settings["weights"]
        return {name: weights[name] * term() for name, term in terms.items() if weights.get(name, 0) > 0}

    # The judges cost more than the small networks they judge: `perceptual_faces` and `identity_faces` let only
    # the first so many faces of a batch see them.
    def _perceptual(self, restored: Tensor, clean: Tensor, generator: torch.Generator) -> Tensor:
        assert self.judges.lpips is not None
        some = slice(self.settings.get("perceptual_faces"))
        restored, clean = restored[some], clean[some]
        return losses.perceptual(self.judges.lpips, restored, clean, self.settings["perceptual_crop"], generator)

    def _identity(self, restored: Tensor, clean: Tensor) -> Tensor:
        assert self.judges.identity is not None
        some = slice(self.settings.get("identity_faces"))
        return losses.identity(self.judges.identity, restored[some], clean[some])


class VQStage(Stage):
    """L1 + LPIPS + codebook and commitment; a patch discriminator joins after `gan_from` steps.

    The first `quantise_from` steps train a plain autoencoder; then the codebook starts as a sample of its
    latents, and entries that went unused for `restart_every` steps are placed anew, so that few lie idle.

    `only` names parts of the network, say the decoder: all others stay as they are, and so do the latents, so that a
    refiner still fits.
    """

    name = "vq"

    def __init__(self, bundle: Bundle, judges: Judges, settings: dict[str, Any]) -> None:
        super().__init__(bundle, judges, settings)
        if settings["only"]:
            for name, part in self.trained.named_children():
                part.requires_grad_(name in settings["only"])
        self.discriminator = losses.PatchDiscriminator()
        self.discriminator_optimiser = torch.optim.AdamW(
            self.discriminator.parameters(), lr=settings["lr"], betas=(0.5, 0.9), weight_decay=0.0
        )
        self.usage = torch.zeros(bundle.vq.config.n_embed, dtype=torch.long)  # type: ignore[union-attr]
        self._seen: tuple[Tensor, Tensor, Tensor] | None = None

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
                **extra,
            }
        )
        if network is self.trained:
            self._seen = (restored.detach(), clean, z.detach())
            if indices is not None:
                self.usage.index_add_(0, indices.flatten().cpu(), torch.ones(indices.numel(), dtype=torch.long))
        if step >= self.settings["gan_from"] and self.settings["weights"].get("gan", 0) > 0:
            adversarial = -self.discriminator(restored).mean()
            if restored.requires_grad:
                reconstruction = terms["l1"] + terms.get("lpips", 0)
                adversarial = adversarial * losses.adaptive_weight(
                    reconstruction, adversarial, network.decoder.conv_out.weight
                )
            terms["gan"] = self.settings["weights"]["gan"] * adversarial
        return terms

    @torch.no_grad()
    def _place(self, entries: Tensor, latents: Tensor, step: int) -> None:
        """Set codebook rows to randomly chosen latents of the last batch, slightly apart from each other."""
        generator = torch.Generator().manual_seed(step)
        flat = rearrange(latents, "b c h w -> (b h w) c").cpu()
        chosen = flat[torch.randint(len(flat), (len(entries),), generator=generator)]
        chosen = chosen + 0.01 * flat.std() * torch.randn(chosen.shape, generator=generator)
        assert self.bundle.vq is not None
        table = self.bundle.vq.quantize.embedding.weight
        table[entries.to(table.device)] = self.team.as_first(chosen.to(table))

    def after_step(self, step: int) -> dict[str, float]:
        assert self._seen is not None
        restored, clean, latents = self._seen
        figures: dict[str, float] = {}
        if step + 1 == self.settings["quantise_from"]:
            self._place(torch.arange(len(self.usage)), latents, step)
        elif step >= self.settings["quantise_from"] and (step + 1) % self.settings["restart_every"] == 0:
            self.usage = self.team.total(self.usage)
            idle = (self.usage == 0).nonzero().flatten()
            figures["codebook_use"] = 1 - len(idle) / len(self.usage)
            if step < self.settings["restart_until"]:
                self._place(idle, latents, step)
            self.usage.zero_()
        if step >= self.settings["gan_from"] and self.settings["weights"].get("gan", 0) > 0:
            loss = losses.hinge(self.discriminator(clean), self.discriminator(restored))
            self.discriminator_optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self.team.average_gradients(self.discriminator.parameters())
            self.discriminator_optimiser.step()
            figures["discriminator"] = float(loss.detach())
        return figures

    def pictures(self, network: Any, batch: Terms, generator: torch.Generator) -> list[Tensor]:
        return [batch["clean"], network.decode(network.quantize(network.encode(batch["clean"]))[0])]

    @torch.no_grad()
    def finish(self, network: Any, batch: Terms) -> None:
        if self.settings["only"]:
            return
        z = network.encode(batch["clean"])
        standardise_latents(network, z.mean((0, 2, 3)), float((z - z.mean((0, 2, 3), keepdim=True)).std()))

    def state(self) -> dict[str, Any]:
        return {
            "discriminator": self.discriminator.state_dict(),
            "discriminator_optimiser": self.discriminator_optimiser.state_dict(),
            "usage": self.usage,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.discriminator.load_state_dict(state["discriminator"])
        self.discriminator_optimiser.load_state_dict(state["discriminator_optimiser"])
        self.usage = state["usage"]


class IRNStage(Stage):
    """L1 + identity + light LPIPS, at the size at which the network estimates its change."""

    name = "irn"

    def dataset(self, shards: FaceShards, seed: int) -> Steps:
        return self._data(Pairs, shards, seed, side=SIZE // self.trained.config.reduce)  # type: ignore[union-attr, operator]

    def _restore(self, network: Any, degraded: Tensor) -> Tensor:
        return degraded + network.change(degraded)

    def loss(self, network: Any, batch: Terms, step: int, generator: torch.Generator) -> Terms:
        restored, clean = self._restore(network, batch["degraded"]), batch["clean"]
        return self._weighted(
            {
                "l1": lambda: F.l1_loss(restored, clean),
                "identity": lambda: self._identity(restored, clean),
                "lpips": lambda: self._perceptual(restored, clean, generator),
            }
        )

    def pictures(self, network: Any, batch: Terms, generator: torch.Generator) -> list[Tensor]:
        return [batch["degraded"], self._restore(network, batch["degraded"]), batch["clean"]]


class RefinerStage(Stage):
    """Clean latent from a noisy one: L1 on the latent, LPIPS and identity on the decoded estimate, t <= t0.

    With probability `trajectory` a batch holds states that sampling itself visits, in runs of one of
    `trajectory_steps` steps from noised z_I: there z_t carries the network's own guesses, not the truth, and
    more steps only help a network that knows this. Otherwise a state is the truth noised to a random t. Faces
    are cut to `crop` px (0: whole), because encoding them is the dearest part of a step.
    """

    name = "refiner"

    def __init__(self, bundle: Bundle, judges: Judges, settings: dict[str, Any]) -> None:
        super().__init__(bundle, judges, settings)
        if bundle.vq is None or bundle.irn is None:
            raise CLRFaceError(
                "The refiner learns on top of the vq and irn stages, but one is missing: train both first."
            )
        self.config = bundle.refiner.config  # type: ignore[union-attr]
        self.schedule = SCHEDULES[self.config.schedule]()

    def dataset(self, shards: FaceShards, seed: int) -> Steps:
        return self._data(Pairs, shards, seed, side=SIZE)

    @torch.no_grad()
    def _latents(self, batch: Terms, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """z_0, z_d, z_I and the clean pixels they belong to, cut to the training crop."""
        assert self.bundle.vq is not None and self.bundle.irn is not None
        estimate = self.bundle.irn(batch["degraded"])
        faces = torch.cat((batch["clean"], batch["degraded"], estimate), dim=1)
        side = self.settings["crop"]
        if side:
            # On multiples of 16 px, so that crops fall on whole latents and whole U-Net positions.
            top, left = (16 * int(torch.randint((SIZE - side) // 16 + 1, (), generator=generator)) for _ in range(2))
            faces = faces[..., top : top + side, left : left + side]
        latents = self.bundle.vq.encode(rearrange(faces, "b (n c) h w -> (n b) c h w", n=3))
        z_0, z_d, z_i = latents.chunk(3)
        return z_0, z_d, z_i, faces[:, :3]

    def _noised(self, origin: Tensor, t: Tensor, generator: torch.Generator) -> Tensor:
        """Latents (B,C,h,w) after the forward process up to t (B,)."""
        noise = torch.randn(origin.shape, generator=generator).to(origin)
        alpha, sigma = (f(t)[:, None, None, None] for f in (self.schedule.alpha, self.schedule.sigma))
        return alpha * origin + sigma * noise

    @torch.no_grad()
    def _visited(self, network: Any, z_d: Tensor, z_i: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A state that DDIM from noised z_I arrives at, broken off at a random one of its steps, and its time."""
        choices = self.settings["trajectory_steps"]
        steps = choices[int(torch.randint(len(choices), (), generator=generator))]
        taken = int(torch.randint(steps, (), generator=generator))
        grid = time_grid(self.config.t0, steps)
        z_t = self._noised(z_i, torch.full((len(z_i),), self.config.t0).to(z_i), generator)
        if taken:
            z_t = ddim(lambda z, t: network(z, z_d, z_i, t), z_t, grid[: taken + 1], self.schedule)
        return z_t, grid[taken].expand(len(z_i)).to(z_i)

    def _state(
        self, network: Any, z_0: Tensor, z_d: Tensor, z_i: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """What the network is shown: z_t and t."""
        if float(torch.rand((), generator=generator)) < self.settings["trajectory"]:
            return self._visited(network, z_d, z_i, generator)
        t = torch.rand(len(z_0), generator=generator).to(z_0) * self.config.t0
        return self._noised(z_0, t, generator), t

    def _decoded(self, z: Tensor, clean: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A window of the estimate, decoded, and the same window of the clean face."""
        assert self.bundle.vq is not None
        f = self.bundle.vq.config.compression
        side = min(self.settings["decode_crop"] // f, z.shape[2])
        top, left = (int(torch.randint(z.shape[2] - side + 1, (), generator=generator)) for _ in range(2))
        restored = self.bundle.vq.decode(z[..., top : top + side, left : left + side])
        return restored, clean[..., f * top : f * (top + side), f * left : f * (left + side)]

    def _half_size(self, z: Tensor) -> Tensor:
        """The picture of a half-size latent: enough for a recognition network (112 px), at a quarter of the cost."""
        assert self.bundle.vq is not None
        return self.bundle.vq.decode(F.avg_pool2d(z, 2))

    def _half_size_identity(self, z: Tensor, clean: Tensor) -> Tensor:
        return self._identity(self._half_size(z), F.avg_pool2d(clean, 2))

    def loss(self, network: Any, batch: Terms, step: int, generator: torch.Generator) -> Terms:
        z_0, z_d, z_i, clean = self._latents(batch, generator)
        z_t, t = self._state(network, z_0, z_d, z_i, generator)
        estimate = network(z_t, z_d, z_i, t)
        window: list[Tensor] = []
        if self.settings["weights"].get("pixel", 0) > 0 or self.settings["weights"].get("lpips", 0) > 0:
            window += self._decoded(estimate, clean, generator)
        return self._weighted(
            {
                "latent": lambda: F.l1_loss(estimate, z_0),
                "pixel": lambda: F.l1_loss(window[0], window[1]),
                "lpips": lambda: self._perceptual(window[0], window[1], generator),
                "identity": lambda: self._half_size_identity(estimate, clean),
            }
        )

    def pictures(self, network: Any, batch: Terms, generator: torch.Generator) -> list[Tensor]:
        assert self.bundle.vq is not None
        z_0, z_d, z_i, clean = self._latents(batch, generator)
        start = self._noised(z_i, torch.full((len(z_i),), self.config.t0).to(z_i), generator)
        restored = [
            ddim(lambda z, t: network(z, z_d, z_i, t), start, time_grid(self.config.t0, steps), self.schedule)
            for steps in (1, 4)
        ]
        return [*(self.bundle.vq.decode(z) for z in (z_d, z_i, *restored, z_0)), clean]


class MaskStage(RefinerStage):
    """The mask head alone: take a real guided step at a small t, then judge the moved estimate.

    1 - cosine to the ground truth, LPIPS, and the mask's mean, which asks that the gradient act on few
    latents. Guidance pulls towards the IRN's estimate as in sampling; only the judgement knows the truth.
    """

    name = "mask"

    def __init__(self, bundle: Bundle, judges: Judges, settings: dict[str, Any]) -> None:
        super().__init__(bundle, judges, settings)
        if judges.identity is None:
            raise CLRFaceError("The mask stage needs its identity term: set weights.identity above 0.")

    @torch.no_grad()
    def _estimate(self, z_d: Tensor, z_i: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The refiner's own estimate of noised z_I, and alpha at its time: what guidance meets in sampling."""
        assert self.bundle.refiner is not None
        t = torch.rand(len(z_i), generator=generator).to(z_i) * self.settings["t_max"]
        return self.bundle.refiner(self._noised(z_i, t, generator), z_d, z_i, t), self.schedule.alpha(t)

    def _guided(self, network: Any, batch: Terms, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The estimate, the estimate after the masked move, the mask, and the clean faces."""
        assert self.judges.identity is not None and self.bundle.irn is not None
        _, z_d, z_i, clean = self._latents(batch, generator)
        estimate, alpha = self._estimate(z_d, z_i, generator)
        with torch.no_grad():
            target = self.judges.identity(self.bundle.irn(batch["degraded"]).clamp(0, 1))
        mask = network(z_d, z_i)
        guidance = IdentityGuidance(
            self._half_size, self.judges.identity, target, strength=self.settings["strength"], mask=mask
        )
        return estimate, guidance(estimate, alpha), mask, clean

    def loss(self, network: Any, batch: Terms, step: int, generator: torch.Generator) -> Terms:
        _, guided, mask, clean = self._guided(network, batch, generator)
        window = self._decoded(guided, clean, generator)
        return self._weighted(
            {
                "identity": lambda: self._half_size_identity(guided, clean),
                "lpips": lambda: self._perceptual(window[0], window[1], generator),
                "mean": lambda: mask.mean(),
            }
        )

    def pictures(self, network: Any, batch: Terms, generator: torch.Generator) -> list[Tensor]:
        assert self.bundle.vq is not None
        estimate, guided, mask, clean = self._guided(network, batch, generator)
        heat = F.interpolate(mask.mean(1, keepdim=True), clean.shape[2:], mode="nearest").expand_as(clean)
        return [self.bundle.vq.decode(estimate), self.bundle.vq.decode(guided), heat, clean]


STAGES: dict[str, type[Stage]] = {stage.name: stage for stage in (VQStage, IRNStage, RefinerStage, MaskStage)}
