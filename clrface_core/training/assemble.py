"""From the stages of a run to one bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import CLRFaceError
from ..models.bundle import Bundle, build, save_bundle
from ..models.configs import find_config
from ..models.file import NETWORKS
from .parts import Parts
from .settings import read_config


def assemble(run: Path, model: str, init: Path | None = None, fresh: str = "") -> Bundle:
    """A fresh bundle of the named size; networks of `init`, then those of the run folder, replace its own.

    fresh: the network that is not taken from `init`.
    """
    start = build(model)
    given = {} if init is None else Parts.load(init).networks
    own = start.networks()
    kept = {name: grown(network, own[name]) for name, network in given.items() if name != fresh}
    networks = own | kept | trained(run)
    return Parts(networks, start.name, size=start.size).complete()


def grown(given: nn.Module, fresh: nn.Module) -> nn.Module:
    """The given network, inside a fresh one where that is the same with something added; else as it is.

    What was added keeps its first weights, which by our networks' habit add nothing yet.
    """
    old, new = given.state_dict(), fresh.state_dict()
    if len(old) < len(new) and all(key in new and new[key].shape == value.shape for key, value in old.items()):
        fresh.load_state_dict(new | old)
        return fresh
    return given


def trained(run: Path) -> dict[str, Any]:
    """The networks that the stages of a run folder have left there, by name."""
    networks = {}
    for name in NETWORKS:
        path = run / f"{name}.safetensors"
        if path.is_file():
            part = Parts.load(path).networks
            if name not in part:
                raise CLRFaceError(f"Expected the network {name} in {path}, got {', '.join(part)}: train it again.")
            networks[name] = part[name]
    return networks


def export(
    run: Path,
    destination: Path,
    config: str | Path = "s",
    notes: dict[str, Any] | None = None,
    init: Path | None = None,
    shares: Mapping[str, float] | None = None,
) -> Bundle:
    """Join a run's stages to one float16 bundle; returns the bundle. Stages that the run lacks come from `init`.

    shares: of networks of the run that went on from `init`'s, how much of their change to take, in [0,1].
    """
    model = read_config(config)["model"]
    given = {} if init is None else Parts.load(init).networks
    networks = given | trained(run)
    for absent in (name for name in NETWORKS[:3] if name not in networks):
        raise CLRFaceError(
            f"Expected the stages vq, irn and refiner in {run}, but {absent} is missing: train it first."
        )
    for name, share in (shares or {}).items():
        if name not in given:
            raise CLRFaceError(
                f"Expected a bundle with a network {name!r} to average with, got {init}: pass --init FILE that has it."
            )
        average(given[name], networks[name], share)
    # Without a trained mask there is none: an untrained one is noise, and the whole latent is guided instead.
    bundle = Parts(networks, model, notes or {}, find_config(model).size).complete()
    save_bundle(destination, bundle)
    return bundle


@torch.no_grad()
def average(before: nn.Module, after: nn.Module, share: float) -> None:
    """Move `after` in place to (1 - share) * before + share * after, weight by weight.

    The mean of two networks of one lineage can be better than both (Wortsman et al. 2022, model soups).
    """
    if not 0 <= share <= 1:
        raise CLRFaceError(f"Expected a share in [0, 1], got {share}: 1 takes the trained network as it is.")
    old = before.state_dict()
    for key, weight in after.state_dict().items():
        if weight.is_floating_point():
            weight.lerp_(old[key].to(weight), 1 - share)
