"""Photo to faces to crops, crops through the networks, crops back into the photo: the whole flow in one object."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .diffusion.guidance import IdentityGuidance
from .diffusion.refine import refine
from .diffusion.schedule import schedule_named, time_grid
from .diffusion.solvers import SOLVERS
from .errors import CLRFaceError
from .faces.align import Alignment, align_faces
from .faces.detect import Detector, Face, load_detector, order_faces
from .faces.paste import paste_faces
from .faces.warp import resize
from .inputs import as_photo
from .models.bundle import Bundle, load_bundle
from .models.identity import IdentityNet, load_identity
from .photo import Photo, write_photo
from .precision import choose_device, choose_dtype

SIZE = 512
"""Side of the aligned crops that the networks restore, in pixels."""

Progress = Callable[[dict[str, Any]], None]
"""Called once per step with the solver's {"i", "total", "t", "z", "denoised"}, and "faces" (the numbers of the
faces in this micro-batch) of "count" in all. Whatever it raises ends the restoration and reaches the caller."""


@dataclass(frozen=True)
class Sampling:
    """How the refinement is sampled; CLRFaceError where that makes no sense, before any work is done with it."""

    steps: int = 1
    solver: str = "ddim"
    t0: float | None = None
    identity: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        time_grid(1.0 if self.t0 is None else self.t0, self.steps)
        if self.solver not in SOLVERS:
            raise CLRFaceError(f"Expected a solver ({' or '.join(SOLVERS)}), got {self.solver!r}: choose one of these.")
        if not (math.isfinite(self.identity) and self.identity >= 0):
            raise CLRFaceError(
                f"Expected an identity strength of at least 0, got {self.identity}: 0 is off, 1 is usual."
            )


@dataclass(frozen=True)
class Restoration:
    """What became of one photo.

    photo: the picture with its faces restored, ready to be written (alpha and bit depth as they came).
    mask: (1,H,W) float32 in [0,1]: where it is 0, the picture is untouched to the bit.
    faces: all faces found, in the order of their numbers. chosen: the numbers of those restored.
    crops, restored_crops: (N,3,512,512) float32 [0,1], one per chosen face, before and after.
    alignment: where the crops lie in the photo.
    """

    photo: Photo
    mask: Tensor
    faces: list[Face]
    chosen: list[int]
    crops: Tensor
    restored_crops: Tensor
    alignment: Alignment

    @property
    def image(self) -> Tensor:
        """The restored picture (3,H,W) float32, RGB in [0,1]."""
        return self.photo.rgb

    def save(self, path: Path | str) -> None:
        """Write the restored picture as PNG; nothing is left at `path` if that fails."""
        write_photo(Path(path), self.photo)


class Restorer:
    """Restores faces with one model; what it needs is loaded when it is first needed.

    model: a bundle file, a Bundle (it is copied), or None for the bundled one.
    device: "auto", "cpu", "cuda", "mps" or a torch.device. dtype: of the networks; None chooses (see `precision`).
    detector: "yunet", "retinaface_mobile0.25", "retinaface_resnet50", or any object with `detect`.
    detector_weights: a file in place of the detector's own. score_threshold: lowest score of a face, in (0,1).
    identity_net: "sface" or "arcface", or an IdentityNet; loaded only for an identity strength above 0.
    batch_size: faces that go through the networks at once. Memory grows with it, results do not depend on it
        beyond rounding.
    """

    def __init__(
        self,
        model: Path | str | Bundle | None = None,
        *,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype | None = None,
        detector: str | Detector = "yunet",
        detector_weights: Path | str | None = None,
        score_threshold: float = 0.8,
        identity_net: str | IdentityNet = "sface",
        batch_size: int = 4,
    ) -> None:
        if batch_size < 1:
            raise CLRFaceError(f"Expected a batch size of at least 1, got {batch_size}: the usual one is 4.")
        self.device = choose_device(device)
        self.batch_size = batch_size
        self._wanted = dtype
        self._model, self._detector, self._identity = model, detector, identity_net
        self._detection: dict[str, Any] = {"weights": detector_weights, "score_threshold": score_threshold}

    @cached_property
    def dtype(self) -> torch.dtype:
        """The number format of the networks."""
        return choose_dtype(self.device, self._wanted)

    @cached_property
    def bundle(self) -> Bundle:
        """The model's networks, on the device and in the dtype, ready to run."""
        if isinstance(self._model, Bundle):
            bundle = copy.deepcopy(self._model).to(self.device, self.dtype)
        else:
            bundle = load_bundle(self._model, self.device, self.dtype)
        absent = [name for name in ("vq", "irn", "refiner") if getattr(bundle, name) is None]
        if absent:
            raise CLRFaceError(
                f"Expected a bundle with vq, irn and refiner, {absent[0]} is missing: train that stage first."
            )
        for network in bundle.networks().values():
            network.eval().requires_grad_(False)
        return bundle.to(memory_format=torch.channels_last)

    @cached_property
    def detector(self) -> Detector:
        """The face detector."""
        if isinstance(self._detector, str):
            return load_detector(self._detector, device=self.device, **self._detection)
        return self._detector

    @cached_property
    def identity_net(self) -> IdentityNet:
        """The recognition network that guides, in float32: its gradient is small, and so is it."""
        if isinstance(self._identity, str):
            return load_identity(self._identity, device=self.device)
        return self._identity

    def restore(
        self,
        image: Any,
        *,
        steps: int = 1,
        solver: str = "ddim",
        t0: float | None = None,
        identity: float = 0.0,
        seed: int = 0,
        faces: str | Sequence[int] = "all",
        order: str = "area",
        feather: float = 0.1,
        color_match: bool = False,
        blend: float = 1.0,
        detail: float = 0.0,
        region_mask: Tensor | None = None,
        callback: Progress | None = None,
    ) -> Restoration:
        """Find the faces of a photo, restore them and put them back; everything else stays as it is.

        image: a path, a Photo, a PIL image, an array (H,W,3) or (H,W) (integers, or floats in [0,1]), or a float
            tensor (3,H,W) in [0,1].
        faces: "all", "largest", or the numbers of the faces to restore ("0,2" or a sequence), counted from 0
            in the `order` ("area", "left-right", "top-bottom" or "score").
        feather, color_match, blend, detail, region_mask: see `paste_faces`. The others: see `restore_crops`.
        A picture without faces comes back unchanged, with none in `faces`. CLRFaceError for pictures that
        cannot be read, numbers of faces that are not there, and settings out of range.
        """
        sampling = Sampling(steps, solver, t0, identity, seed)
        photo = as_photo(image)
        found = order_faces(self.detector.detect(photo.rgb), by=order)
        chosen = choose_faces(found, faces)
        crops, alignment = align_faces(photo.rgb, [found[number] for number in chosen], SIZE)
        restored = self._restore_all(crops, chosen, sampling, callback)
        rgb, mask = paste_faces(
            photo.rgb,
            restored,
            alignment,
            feather=feather,
            color_match=color_match,
            blend=blend,
            detail=detail,
            region_mask=region_mask,
        )
        return Restoration(photo.with_rgb(rgb), mask, found, chosen, crops, restored, alignment)

    def restore_crops(
        self,
        crops: Tensor,
        *,
        steps: int = 1,
        solver: str = "ddim",
        t0: float | None = None,
        identity: float = 0.0,
        seed: int = 0,
        numbers: Sequence[int] | None = None,
        callback: Progress | None = None,
    ) -> Tensor:
        """Restored faces (B,3,512,512) float32 in [0,1], on the crops' device.

        crops: (B,3,512,512) float, RGB in [0,1], aligned to the FFHQ template.
        steps, solver: how the reverse process is solved; a name out of SOLVERS.
        t0: where it starts, in (0,1]; None is what the model was trained for.
        identity: strength of the guidance towards the person in the IRN's estimate; 0 is off and costs nothing.
        seed, numbers: a face's noise depends on these two only. Numbers default to 0..B-1.
        Raises CLRFaceError for input that does not fit, and where the networks' results are not finite.
        """
        sampling = Sampling(steps, solver, t0, identity, seed)
        check_crops(crops)
        numbers = range(len(crops)) if numbers is None else numbers
        if len(numbers) != len(crops):
            raise CLRFaceError(f"Expected one number per crop, got {len(numbers)} for {len(crops)}: give as many.")
        return self._restore_all(crops, numbers, sampling, callback)

    @torch.no_grad()
    def estimate_crops(self, crops: Tensor) -> Tensor:
        """What the IRN alone makes of crops (see `restore_crops`): where the refinement starts, and whom it keeps."""
        check_crops(crops)
        estimate = torch.empty_like(crops, dtype=torch.float32)
        for start in range(0, len(crops), self.batch_size):
            part = slice(start, start + self.batch_size)
            estimate[part] = self._estimate(crops[part])[1].to(estimate)
        return estimate.clamp_(0, 1)

    def _estimate(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """x_d and x_I: the crops as the networks take them, and the IRN's output."""
        assert self.bundle.irn is not None
        x_d = crops.to(self.device, self.dtype).contiguous(memory_format=torch.channels_last)
        return x_d, self.bundle.irn(x_d)

    @torch.no_grad()
    def _restore_all(
        self, crops: Tensor, numbers: Sequence[int], sampling: Sampling, callback: Progress | None
    ) -> Tensor:
        """Every crop, in micro-batches of `batch_size`."""
        restored = torch.empty_like(crops, dtype=torch.float32)
        for start in range(0, len(crops), self.batch_size):
            part = slice(start, start + self.batch_size)
            here = list(numbers[part])
            report = None if callback is None else partial(_report, callback, here, len(crops))
            restored[part] = self._restore_batch(crops[part], here, sampling, report).to(restored)
        return restored

    def _restore_batch(
        self, crops: Tensor, numbers: list[int], sampling: Sampling, callback: Progress | None
    ) -> Tensor:
        """One micro-batch through the networks: IRN, encode, refine, quantise, decode."""
        vq, refiner = self.bundle.vq, self.bundle.refiner
        assert vq is not None and refiner is not None
        x_d, x_i = self._estimate(crops)
        z_d, z_i = vq.encode(torch.cat((x_d, x_i))).chunk(2)
        z_0 = refine(
            self._denoise,
            z_i,
            z_d,
            schedule=schedule_named(refiner.config.schedule),
            t0=refiner.config.t0 if sampling.t0 is None else sampling.t0,
            steps=sampling.steps,
            solver=sampling.solver,
            seed=sampling.seed,
            face_indices=numbers,
            guidance=self._guidance(x_i, z_d, z_i, sampling.identity) if sampling.identity > 0 else None,
            callback=callback,
        )
        restored = vq.decode(vq.quantize(z_0)[0].to(self.dtype)).float()
        if not torch.isfinite(restored).all():
            raise CLRFaceError(
                f"Expected finite pixels from the model {self.bundle.name!r}, got NaN or infinity in {self.dtype}: "
                "use dtype float32."
            )
        return restored.clamp_(0, 1)

    def _denoise(self, z_t: Tensor, z_d: Tensor, z_i: Tensor, t: Tensor) -> Tensor:
        assert self.bundle.refiner is not None
        return self.bundle.refiner(z_t.to(self.dtype), z_d.to(self.dtype), z_i.to(self.dtype), t)

    def _guidance(self, x_i: Tensor, z_d: Tensor, z_i: Tensor, strength: float) -> IdentityGuidance:
        mask = self.bundle.mask(z_d, z_i).float() if self.bundle.mask is not None else None
        target = self.identity_net(x_i.float().clamp(0, 1))
        return IdentityGuidance(self._decode_half_size, self.identity_net, target, strength, mask)

    def _decode_half_size(self, z: Tensor) -> Tensor:
        """The picture of a half-size latent: a recognition network looks at 112 px, this is a quarter of the work."""
        assert self.bundle.vq is not None
        return self.bundle.vq.decode(F.avg_pool2d(z, 2).to(self.dtype)).float()


def _report(callback: Progress, faces: list[int], count: int, state: dict[str, Any]) -> None:
    callback({**state, "faces": faces, "count": count})


def check_crops(crops: Tensor) -> None:
    """Raise CLRFaceError unless `crops` are (B,3,512,512) finite floats, B at least 0."""
    if crops.ndim != 4 or tuple(crops.shape[1:]) != (3, SIZE, SIZE) or not crops.is_floating_point():
        raise CLRFaceError(
            f"Expected aligned faces as floats (B,3,{SIZE},{SIZE}), got {crops.dtype} {tuple(crops.shape)}: "
            "align or resize them first."
        )
    if not torch.isfinite(crops).all():
        raise CLRFaceError("Expected finite pixels in [0,1], got NaN or infinity in the crops: clean them first.")


def aligned_crop(image: Any) -> Tensor:
    """An already aligned face (any form that `Restorer.restore` takes) as a crop (3,512,512) in [0,1].

    Any square is resized, bicubically and with antialiasing. CLRFaceError for other shapes.
    """
    rgb = as_photo(image).rgb
    height, width = rgb.shape[1:]
    if height != width:
        raise CLRFaceError(
            f"Expected a square aligned face, got {width}x{height} px: crop it, or restore it without --aligned."
        )
    return resize(rgb, SIZE, SIZE).clamp(0, 1)


def choose_faces(found: Sequence[Face], which: str | Sequence[int]) -> list[int]:
    """The numbers of the faces to restore: "all", "largest", "0,2" or a sequence of numbers; each once.

    Where no face was found there is none to choose, and no error. CLRFaceError for a number beyond those found.
    """
    if which == "all":
        wanted: Sequence[int] = range(len(found))
    elif which == "largest":
        wanted = sorted(range(len(found)), key=lambda number: -found[number].area)[:1]
    elif isinstance(which, str):
        wanted = parse_numbers(which)
    else:
        wanted = which
    if not found:
        return []
    for number in wanted:
        if not 0 <= number < len(found):
            raise CLRFaceError(
                f"Expected face numbers from 0 to {len(found) - 1}, as the picture has {len(found)} "
                f"{'face' if len(found) == 1 else 'faces'}, got {number}: choose among these."
            )
    return list(dict.fromkeys(wanted))


def parse_numbers(text: str) -> list[int]:
    """[0, 2] of "0,2"; CLRFaceError for anything but whole numbers."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise CLRFaceError(f"Expected faces as all, largest or numbers like 0,2, got {text!r}: use one.") from error
