"""The third stage: the clean latent, predicted from a noisy one and its conditions."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...diffusion.schedule import schedule_named, time_grid
from ...diffusion.solvers import ddim
from ...models.bundle import Bundle
from .. import losses
from ..data import FaceShards, Pairs, Steps
from .stage import Judges, Stage, Terms


def latent_error(estimate: Tensor, z_0: Tensor, sharp: Tensor) -> Tensor:
    """L1 between latents (B,C,h,w) of the faces whose own finest detail is known; the others count as 0."""
    return ((estimate - z_0).abs().flatten(1).mean(1) * sharp).mean()


def comparable(pictures: Tensor, sharp: Tensor) -> Tensor:
    """Pictures (B,3,H,W); those that are not `sharp` (B,) keep only what half their size shows."""
    if bool(sharp.all()):
        return pictures
    reduced = F.interpolate(F.avg_pool2d(pictures, 2), scale_factor=2.0, mode="bilinear", align_corners=False)
    return torch.where(sharp[:, None, None, None], pictures, reduced)


class RefinerStage(Stage):
    """Clean latent from a noisy one, t <= t0: L1 on the latent; L1, LPIPS, spectrum and a patch discriminator on the
    picture it becomes; identity.

    The network always sees whole faces, as in use: norms and attention tell a part of a face from a whole one, and what
    was learned on parts stayed there. What is dear is judged on a window of `decode_crop` px. With probability
    `trajectory` a batch holds states that sampling itself visits, in runs of one of `trajectory_steps` steps from
    noised z_I: there z_t carries the network's own guesses, not the truth, and more steps only help a network that
    knows this. Otherwise a state is the truth noised to a random t. An original of 256 px is enlarged, and judged by
    what 256 px show.
    """

    name = "refiner"

    def __init__(self, bundle: Bundle, judges: Judges, settings: dict[str, Any], accelerator: Any) -> None:
        super().__init__(bundle, judges, settings, accelerator)
        self.config = bundle.refiner.config
        self.schedule = schedule_named(self.config.schedule)

    def dataset(self, shards: FaceShards, seed: int) -> Steps:
        size, shares = self.bundle.size, self._shares("mild", "worn", "clean")
        return self._data(Pairs, shards, seed, side=size, size=size, enlarge=True, **shares)

    @torch.no_grad()
    def _encoded(self, *faces: Tensor) -> tuple[Tensor, ...]:
        """The latents of some batches of faces."""
        return self.bundle.vq.encode(torch.cat(faces)).chunk(len(faces))

    @torch.no_grad()
    def _conditions(self, batch: Terms) -> tuple[Tensor, Tensor]:
        """z_d and z_I."""
        z_d, z_i = self._encoded(batch["degraded"], self.bundle.irn(batch["degraded"]))
        return z_d, z_i

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
        self, network: Any, truth: Callable[[], Tensor], z_d: Tensor, z_i: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """What the network is shown: z_t and t."""
        if float(torch.rand((), generator=generator)) < self.settings["trajectory"]:
            return self._visited(network, z_d, z_i, generator)
        z_0 = truth()
        t = torch.rand(len(z_0), generator=generator).to(z_0) * self.config.t0
        return self._noised(z_0, t, generator), t

    def _decoded(self, z: Tensor, clean: Tensor, sharp: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A window of the estimate, decoded, and the same window of the clean face, as far as that is a target."""
        f = self.bundle.vq.config.compression
        side = min(self.settings["decode_crop"] // f, z.shape[2])
        top, left = (int(torch.randint(z.shape[2] - side + 1, (), generator=generator)) for _ in range(2))
        window = z[..., top : top + side, left : left + side]
        # Straight through the codebook: what is judged is what sampling ends with.
        window = window + (self.bundle.vq.quantize(window)[0] - window).detach()
        restored = self.bundle.vq.decode(window)
        target = clean[..., f * top : f * (top + side), f * left : f * (left + side)]
        return comparable(restored, sharp), comparable(target, sharp)

    def _half_size(self, z: Tensor) -> Tensor:
        """The picture of a half-size latent: enough for a recognition network (112 px), at a quarter of the cost."""
        return self.bundle.vq.decode(F.avg_pool2d(z, 2))

    def _half_size_identity(self, z: Tensor, clean: Tensor) -> Tensor:
        some = slice(self.settings.get("identity_faces"))
        return self._identity(self._half_size(z[some]), F.avg_pool2d(clean[some], 2))

    def loss(self, network: Any, batch: Terms, step: int, generator: torch.Generator) -> Terms:
        clean, weights = batch["clean"], self.settings["weights"]
        z_d, z_i = self._conditions(batch)
        # Encoding costs as much as the network itself: the truth only where it is asked for, and once.
        truth = cache(lambda: self._encoded(clean)[0])
        z_t, t = self._state(network, truth, z_d, z_i, generator)
        estimate = network(z_t, z_d, z_i, t)
        window: list[Tensor] = []
        if any(weights.get(name, 0) > 0 for name in ("pixel", "lpips", "spectrum", "gan")):
            window += self._decoded(estimate, clean, batch["sharp"], generator)
        return self._weighted(
            {
                "latent": lambda: latent_error(estimate, truth(), batch["sharp"]),
                "pixel": lambda: F.l1_loss(window[0], window[1]),
                "lpips": lambda: self._perceptual(window[0], window[1], generator),
                "spectrum": lambda: losses.spectrum(window[0], window[1]),
                "identity": lambda: self._half_size_identity(estimate, clean),
                **(self._adversarial(window[0], window[1], step) if window else {}),
            }
        )

    def pictures(self, network: Any, batch: Terms, generator: torch.Generator) -> list[Tensor]:
        z_d, z_i = self._conditions(batch)
        (z_0,) = self._encoded(batch["clean"])
        start = self._noised(z_i, torch.full((len(z_i),), self.config.t0).to(z_i), generator)
        restored = [
            ddim(lambda z, t: network(z, z_d, z_i, t), start, time_grid(self.config.t0, steps), self.schedule)
            for steps in (1, 4)
        ]
        return [*(self.bundle.vq.decode(z) for z in (z_d, z_i, *restored, z_0)), batch["clean"]]
