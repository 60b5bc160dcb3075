"""From the stages of a run to one bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import CLRFaceError
from ..models.bundle import NETWORKS, Bundle, build, load_bundle, save_bundle
from .settings import read_config


def assemble(run: Path, model: str, init: Path | None = None, fresh: str = "") -> Bundle:
    """A fresh bundle of the named size; networks of `init`, then those of the run folder, replace its own.

    fresh: the network that is not taken from `init`.
    """
    bundle = build(model)
    if init is not None:
        for name, network in load_bundle(init, require=()).networks().items():
            if name != fresh:
                setattr(bundle, name, network)
    for name in NETWORKS:
        part = run / f"{name}.safetensors"
        if part.is_file():
            setattr(bundle, name, getattr(load_bundle(part, require=(name,)), name))
    return bundle


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
    given = {} if init is None else load_bundle(init, require=()).networks()
    absent = [name for name in NETWORKS[:3] if name not in given and not (run / f"{name}.safetensors").is_file()]
    if absent:
        raise CLRFaceError(
            f"Expected the stages vq, irn and refiner in {run}, but {absent[0]} is missing: train it first."
        )
    bundle = assemble(run, model, init)
    for name, share in (shares or {}).items():
        if name not in given:
            raise CLRFaceError(
                f"Expected a bundle with a network {name!r} to average with, got {init}: pass --init FILE that has it."
            )
        average(given[name], getattr(bundle, name), share)
    if "mask" not in given and not (run / "mask.safetensors").is_file():
        bundle.mask = None  # an untrained mask is noise; without one the whole latent is guided
    bundle.notes = notes or {}
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
