"""ComfyUI's progress bar, its cancel button, and the pictures it shows: while a node works, and on it afterwards."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

import comfy.model_management as memory
import folder_paths
import torch
from comfy.cli_args import LatentPreviewMethod, args
from comfy.utils import ProgressBar
from PIL import Image
from torch import Tensor

from ..clrface_core.restorer import FaceRestorer


class Progress:
    """ComfyUI's progress bar over `total` units of work; every report first asks whether the user cancelled."""

    def __init__(self, total: int) -> None:
        self._total, self._done = max(total, 1), 0
        self._bar = ProgressBar(self._total)

    def advance(self, amount: int, preview: Image.Image | None = None) -> None:
        """Add to the work done; with previews on, show `preview`."""
        self.reach((self._done + amount) / self._total, preview)

    def reach(self, fraction: float, preview: Image.Image | None = None) -> None:
        """As `advance`, to this fraction of the work; never back."""
        memory.throw_exception_if_processing_interrupted()
        self._done = max(self._done, min(round(fraction * self._total), self._total))
        shown = None if preview is None else ("JPEG", preview, args.preview_size)
        self._bar.update_absolute(self._done, self._total, shown)


@torch.no_grad()
def preview_of(faces: FaceRestorer, latents: Tensor) -> Image.Image | None:
    """The first face of an estimate as a small picture, or None where previews are off."""
    if args.preview_method == LatentPreviewMethod.NoPreviews or not len(latents):
        return None
    return as_pil(faces.decode_half_size(latents[:1])[0])


def shown(pictures: Iterable[Tensor]) -> list[dict[str, str]]:
    """Pictures (3,H,W) as files of ComfyUI's temporary folder, in the form in which the browser asks for them."""
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for picture in pictures:
        name = f"clrface_{uuid4().hex}.png"
        as_pil(picture).save(folder / name, compress_level=1)
        files.append({"filename": name, "subfolder": "", "type": "temp"})
    return files


def as_pil(picture: Tensor) -> Image.Image:
    """(3,H,W) in [0,1] as a PIL image."""
    pixels = (picture.float().clamp(0, 1) * 255).round().byte().movedim(0, -1).cpu().numpy()
    return Image.fromarray(pixels)
