"""Photo to faces to crops, crops through the networks, crops back into the photo: the whole flow in one object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import CLRFaceError
from .faces.align import Alignment, align_faces
from .faces.detect import Detector, Face, load_detector, order_faces
from .faces.paste import paste_faces
from .faces.warp import resize
from .models.bundle import Bundle
from .models.identity import IdentityNet
from .photo import Photo, as_photo, write_photo
from .stages import SIZE, FaceStages, Progress, Sampling


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


class Restorer(FaceStages):
    """Restores the faces of photos with one model.

    model, device, dtype, identity_net, batch_size: see `FaceStages`.
    detector: "yunet", "retinaface_mobile0.25", "retinaface_resnet50", or any object with `detect`.
    detector_weights: a file in place of the detector's own. score_threshold: lowest score of a face, in (0,1).
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
        super().__init__(model, device=device, dtype=dtype, identity_net=identity_net, batch_size=batch_size)
        self._detector = detector
        self._detection: dict[str, Any] = {"weights": detector_weights, "score_threshold": score_threshold}

    @cached_property
    def detector(self) -> Detector:
        """The face detector."""
        if isinstance(self._detector, str):
            return load_detector(self._detector, device=self.device, **self._detection)
        return self._detector

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
