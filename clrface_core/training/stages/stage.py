"""What every stage of training has: a network that learns, samples, losses, and pictures to look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...models.bundle import Bundle
from ...models.perceptual import LPIPS
from .. import losses
from ..adversary import find_adversary
from ..data import Augmentation, FaceShards, Steps

Terms = dict[str, Tensor]


@dataclass
class Judges:
    """The frozen networks that losses consult; `None` where a stage gives them no weight."""

    lpips: LPIPS | None
    identity: nn.Module | None


class Stage:
    """One stage of training. `trained` is what it exports; everything else in the bundle stays frozen."""

    name = ""

    def __init__(self, bundle: Bundle, judges: Judges, settings: dict[str, Any], accelerator: Any) -> None:
        self.bundle, self.judges, self.settings, self.accelerator = bundle, judges, settings, accelerator
        trained = getattr(bundle, self.name)
        for network in bundle.networks().values():
            network.requires_grad_(network is trained)
        self.trained: nn.Module = trained
        self.adversary = find_adversary(settings, next(trained.parameters()).device)

    def dataset(self, shards: FaceShards, seed: int) -> Steps:
        raise NotImplementedError(f"{type(self).__name__} must say what it is trained on")

    def loss(self, network: Any, batch: Terms, step: int, generator: torch.Generator) -> Terms:
        """Weighted terms, to be summed; `network` is `self.trained` or its moving average."""
        raise NotImplementedError(f"{type(self).__name__} must say what it minimises")

    def pictures(self, network: Any, batch: Terms, generator: torch.Generator) -> list[Tensor]:
        """Columns of the sample grid, each (B,3,S,S)."""
        raise NotImplementedError(f"{type(self).__name__} must say what it shows")

    def after_step(self, step: int) -> dict[str, float]:
        """What follows the optimiser's step, say the adversary's own; returns figures to log."""
        return self.adversary.learn(self.accelerator) if self.adversary else {}

    def finish(self, network: Any, batch: Terms) -> None:
        """Last changes, in place, to the copy of the network that is exported; `batch` is held out."""

    def state(self) -> dict[str, Any]:
        """What a resumed run needs besides the trained network."""
        return {"adversary": self.adversary.state()} if self.adversary else {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        if self.adversary:
            self.adversary.load_state(state["adversary"])

    def _data(self, kind: Callable[..., Steps], shards: FaceShards, seed: int, **kwargs: Any) -> Steps:
        s = self.settings
        return kind(shards, s["mix"], s["batch"], seed, Augmentation(**s.get("augmentation", {})), **kwargs)

    def _shares(self, *names: str) -> dict[str, float]:
        """Some shares of the draws in the settings; what is not named there is 0."""
        return {name: self.settings.get(name, 0.0) for name in names}

    def _weighted(self, terms: dict[str, Callable[[], Tensor]]) -> Terms:
        """Each term times its weight in the settings; a term of weight 0 is not even computed."""
        weights = self.settings["weights"]
        return {name: weights[name] * term() for name, term in terms.items() if weights.get(name, 0) > 0}

    def _adversarial(self, restored: Tensor, clean: Tensor, step: int) -> dict[str, Callable[[], Tensor]]:
        """The adversary's term, once it has joined."""
        adversary = self.adversary
        if adversary is None or step < adversary.begins:
            return {}
        return {"gan": lambda: adversary.term(restored, clean)}

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
