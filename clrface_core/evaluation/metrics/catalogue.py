"""Every metric by its name, and which of them can be had here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ...errors import CLRFaceError
from ...models.arcface import FILE_NAME, find_arcface
from ...models.identity import SFACE_WEIGHTS, identity_similarity, load_identity
from ...models.perceptual import LPIPS
from .. import weights
from . import pixels
from .distributions import FID_FACES, fid, kid, library, load_inception
from .identity import DlibIdentity
from .landmarks import Landmarks, landmark_distance
from .metric import Column, Metric, Score, SetScore

Device = torch.device | str


def find_metrics(
    folder: Path | str | None = None, device: Device = "cpu", names: Sequence[str] | None = None
) -> tuple[list[Metric], dict[str, str]]:
    """The metrics that can be computed here, in the order of METRICS, and for each other the reason why not.

    folder: of the metric weights (see `weights`). names: only these of METRICS; CLRFaceError for an unknown one.
    """
    chosen = list(METRICS) if names is None else names
    for name in chosen:
        if name not in METRICS:
            raise CLRFaceError(f"Expected metrics among {', '.join(METRICS)}, got {name!r}: choose of these.")
    load = Loader(folder, device)
    found, missing = [], {}
    for name in (name for name in METRICS if name in chosen):
        try:
            found.append(METRICS[name](load))
        except CLRFaceError as error:
            missing[name] = str(error)
    return found, missing


@dataclass(frozen=True)
class Loader:
    """Where metrics get their weights, and where their networks run."""

    folder: Path | str | None
    device: Device

    def path(self, name: str) -> Path:
        """A file of metric weights; CLRFaceError where it is missing."""
        return weights.weight_file(self.folder, name)


LPIPS_FILES = {"vgg": weights.LPIPS_VGG, "alex": weights.LPIPS_ALEX}


def _psnr(load: Loader) -> Metric:
    pixels.library()
    return Metric("psnr", lambda x: x, (Score(Column("PSNR", higher_is_better=True, digits=2), pixels.psnr),))


def _ssim(load: Loader) -> Metric:
    pixels.library()
    return Metric("ssim", lambda x: x, (Score(Column("SSIM", higher_is_better=True), pixels.ssim),))


def _lpips(load: Loader, net: str, name: str) -> Metric:
    path = load.path(LPIPS_FILES[net])
    network = LPIPS.load(path, net).to(load.device)
    score = Score(Column(name, higher_is_better=False, ratio=True), lambda a, b: float(network.distance(a, b)))
    return Metric(name.lower(), torch.no_grad()(network.describe), (score,), files=(path,))


def _kid(load: Loader) -> Metric:
    path = load.path(weights.INCEPTION)
    library("kid")
    scores = (
        SetScore(Column("KID ×1000", higher_is_better=False, digits=1, ratio=True), kid, below=FID_FACES),
        SetScore(Column("FID", higher_is_better=False, digits=1, ratio=True), fid, least=FID_FACES),
    )
    return Metric("kid", load_inception(path, load.device), set_scores=scores, files=(path,))


def _identity(name: str, title: str, embed: Callable[[Tensor], Tensor], path: Path) -> Metric:
    scores = (
        Score(Column(f"{title} cosine", higher_is_better=True), lambda a, b: float(identity_similarity(a, b))),
        Score(Column(f"{title} Deg", higher_is_better=False, digits=1), angle),
    )
    return Metric(name, torch.no_grad()(embed), scores, files=(path,), recognises=True)


def angle(a: Tensor, b: Tensor) -> float:
    """The angle of two embeddings (1,D) in degrees: 0 for one face, 90 for strangers."""
    return math.degrees(math.acos(min(1.0, max(-1.0, float(identity_similarity(a, b))))))


def _sface(load: Loader) -> Metric:
    return _identity("sface", "SFace", load_identity("sface", device=load.device), SFACE_WEIGHTS)


def _dlib(load: Loader) -> Metric:
    network = DlibIdentity()
    return _identity("dlib", "dlib", network, network.path)


def _arcface(load: Loader) -> Metric:
    path = _arcface_file(load.folder)
    return _identity("arcface", "ArcFace", load_identity("arcface", weights=path, device=load.device), path)


def _arcface_file(folder: Path | str | None) -> Path:
    """Among the metric weights, or in the folder that facexlib has for it."""
    path = None if folder is None else Path(folder) / FILE_NAME
    if path is not None and path.is_file():
        return path
    try:
        return find_arcface(None)
    except CLRFaceError as error:
        raise CLRFaceError(
            f"Expected {FILE_NAME} among the metric weights or in facexlib's folder, found it in neither: "
            "docs/evaluation.md says where it comes from."
        ) from error


def _lmd(load: Loader) -> Metric:
    path = load.path(weights.LANDMARKS)
    network = weights.fill(Landmarks(), path).to(load.device)
    score = Score(Column("LMD", higher_is_better=False, digits=2, ratio=True), landmark_distance)
    return Metric("lmd", torch.no_grad()(network), (score,), files=(path,))


METRICS: dict[str, Callable[[Loader], Metric]] = {
    "psnr": _psnr,
    "ssim": _ssim,
    "lpips-vgg": partial(_lpips, net="vgg", name="LPIPS-VGG"),
    "lpips-alex": partial(_lpips, net="alex", name="LPIPS-Alex"),
    "kid": _kid,
    "sface": _sface,
    "dlib": _dlib,
    "arcface": _arcface,
    "lmd": _lmd,
}
"""From the name on the command line to what makes the metric; KID becomes FID from FID_FACES faces on."""
