"""What an evaluation compares: ways to run one model, and restorers that are not ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import CLRFaceError
from ..faces.align import FFHQ_TEMPLATE_512
from ..stages import SIZE, FaceStages, Sampling

Restore = Callable[[Tensor], Tensor]

ABLATIONS = ("irn", "mask", "steps", "guidance", "quantise", "solver", "t0")
STEPS = (1, 2, 4, 10)
STRENGTHS = (0.0, 0.5, 1.0, 2.0, 4.0)
SOLVERS = ("ddim", "dpmpp_2m", "heun", "euler_maruyama")
STARTS = (0.2, 0.35, 0.5)
MASKS = ("learned", "one", "landmarks")

BLOB = 36.0
"""Deviation in pixels of the landmark-drawn mask around each of the five points of a 512 px face."""


@dataclass(frozen=True)
class Variant:
    """One way to run the model.

    irn: off starts from the degraded face itself and holds on to the person in it. mask: "learned", "one"
    (guidance acts everywhere) or "landmarks" (around eyes, nose and mouth). quantise: snap to the codebook at
    the end.
    """

    sampling: Sampling = field(default_factory=Sampling)
    irn: bool = True
    mask: str = "learned"
    quantise: bool = True

    def __post_init__(self) -> None:
        if self.mask not in MASKS:
            raise CLRFaceError(f"Expected a mask ({', '.join(MASKS)}), got {self.mask!r}: use one of them.")

    @property
    def name(self) -> str:
        """As reports call it: the steps, then what departs from the plain method."""
        s = self.sampling
        parts = [f"{s.steps} step{'s' * (s.steps > 1)}"]
        if s.identity > 0:
            parts.append(f"identity {s.identity:g}")
            if self.mask != "learned":
                parts.append({"one": "mask 1 everywhere", "landmarks": "mask drawn from landmarks"}[self.mask])
        if s.solver != "ddim":
            parts.append(s.solver)
        if s.t0 is not None:
            parts.append(f"t0 {s.t0:g}")
        if not self.irn:
            parts.append("without the IRN")
        if not self.quantise:
            parts.append("not quantised")
        return ", ".join(parts)


class Runner:
    """Runs variants on batches; the estimate and the latents of a batch are computed once for all of them."""

    def __init__(self, stages: FaceStages) -> None:
        self.stages = stages
        self._batch: Tensor | None = None
        self._known: tuple[Tensor, Tensor, Tensor] | None = None

    def _start(self, degraded: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x_I, z_d and z_I of this batch."""
        if self._known is None or self._batch is not degraded:
            x_i = self.stages.estimate(degraded)
            z_d, z_i = self.stages.encode(torch.cat((degraded.to(x_i), x_i))).chunk(2)
            self._batch, self._known = degraded, (x_i, z_d, z_i)
        return self._known

    def estimate(self, degraded: Tensor) -> Tensor:
        """The IRN's output alone."""
        return self._start(degraded)[0].float().clamp(0, 1)

    def restore(self, variant: Variant, degraded: Tensor) -> Tensor:
        """Faces (B,3,512,512) in [0,1] by `variant`."""
        x_i, z_d, z_i = self._start(degraded)
        if not variant.irn:
            x_i, z_i = degraded, z_d
        mask = {"one": torch.ones(1, 1, 1, 1), "landmarks": landmark_mask(z_i.shape[-1])}.get(variant.mask)
        mask = None if mask is None else mask.to(z_i.device)
        z_0 = self.stages.refine(z_i, z_d, x_i, variant.sampling, mask=mask)
        return self.stages.decode(z_0, quantise=variant.quantise)

    def restorer(self, variant: Variant) -> Restore:
        """`restore` with its variant."""
        return lambda degraded: self.restore(variant, degraded)


def landmark_mask(side: int) -> Tensor:
    """(1,1,side,side) in [0,1]: Gaussians around the template's eyes, nose and mouth corners."""
    points = torch.from_numpy(FFHQ_TEMPLATE_512).float() * (side / SIZE)
    at = torch.arange(side) + 0.5
    deviation = BLOB * side / SIZE
    blobs = [
        torch.exp(-((at[:, None] - y) ** 2 + (at[None, :] - x) ** 2) / (2 * deviation**2)) for x, y in points.tolist()
    ]
    return torch.stack(blobs).amax(0)[None, None]


def ablation(name: str, plain: Variant) -> list[Variant]:
    """The variants that answer one question about `plain`; those about guidance have it switched on.

    CLRFaceError for a name that is none of ABLATIONS.
    """
    sampling = plain.sampling
    guided = replace(plain, sampling=replace(sampling, identity=sampling.identity or 1.0))
    found: Mapping[str, list[Variant]] = {
        "irn": [plain, replace(plain, irn=False)],
        "mask": [replace(guided, mask=mask) for mask in MASKS],
        "steps": [replace(plain, sampling=replace(sampling, steps=steps)) for steps in STEPS],
        "guidance": [replace(plain, sampling=replace(sampling, identity=strength)) for strength in STRENGTHS],
        "quantise": [plain, replace(plain, quantise=False)],
        "solver": [replace(plain, sampling=replace(sampling, solver=solver)) for solver in SOLVERS],
        "t0": [replace(plain, sampling=replace(sampling, t0=t0)) for t0 in STARTS],
    }
    if name not in found:
        raise CLRFaceError(f"Expected an ablation ({', '.join(ABLATIONS)}), got {name!r}: use some of them.")
    return found[name]


def bicubic(degraded: Tensor) -> Tensor:
    """The face reduced to 128 px and enlarged again, bicubically: no restoration, and less noise and blocking."""
    small = functional.interpolate(degraded, scale_factor=0.25, mode="area")
    return functional.interpolate(small, scale_factor=4, mode="bicubic", align_corners=False).clamp(0, 1)


def baselines(names: Sequence[str], runner: Runner, weights: Path | None) -> dict[str, Restore]:
    """Other restorers by the names of the command line; CLRFaceError for unknown ones and missing weights."""
    from .realesrgan import load_realesrgan

    known: dict[str, Callable[[], tuple[str, Restore]]] = {
        "bicubic": lambda: ("bicubic", bicubic),
        "irn": lambda: ("IRN alone", runner.estimate),
        "realesrgan": lambda: ("Real-ESRGAN x4plus", load_realesrgan(weights, runner.stages.device)),
    }
    for name in names:
        if name not in known:
            raise CLRFaceError(f"Expected baselines out of {', '.join(known)}, got {name!r}: use some of them.")
    return dict(known[name]() for name in names)
