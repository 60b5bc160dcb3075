"""Pictures, masks and latents as ComfyUI passes them between nodes, and as the library takes them.

A LATENT to be refined holds two in one, channel after channel: z_I, the estimate's, where the refinement starts, and
z_d, the degraded face's, which it looks at. So whatever ComfyUI's latent nodes do to one, they do to the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import comfy.model_management as memory
import torch
import torch.nn.functional as F
from torch import Tensor

from ..clrface_core.errors import CLRFaceError

FACE_IDS = "batch_index"
"""The key of a LATENT under which ComfyUI itself keeps what a latent's noise depends on: here a face's id."""

LEAST_LATENT = 4
"""Sides of the smallest latents that can be refined."""


class Each(Sequence[Tensor]):
    """A list of tensors, each made when it is asked for: a long video is never held twice."""

    def __init__(self, count: int, make: Callable[[int], Tensor]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self._count:
            raise IndexError(index)
        return self._make(index)


def each_picture(image: Tensor, name: str = "image") -> Each:
    """IMAGE (B,H,W,3) as pictures (3,H,W), float32 RGB in [0,1]; CLRFaceError for what is no picture."""
    check_image(image, name)
    return Each(len(image), lambda index: as_pictures(image[index]))


def photos(image: Tensor) -> Each:
    """As `each_picture`, and at least one of them."""
    pictures = each_picture(image)
    if not len(pictures):
        raise CLRFaceError("Expected at least one picture in image, got an empty batch: check the node that made it.")
    return pictures


def as_pictures(image: Tensor) -> Tensor:
    """(...,H,W,3) to float32 (...,3,H,W) in [0,1]."""
    return image.float().movedim(-1, -3).clamp(0, 1)


def check_image(image: Tensor, name: str) -> None:
    """Raise CLRFaceError unless `image` is an IMAGE of finite RGB pixels."""
    if not isinstance(image, Tensor) or image.ndim != 4:
        raise CLRFaceError(f"Expected an IMAGE for {name}, got {_kind(image)}: connect pictures.")
    if image.shape[-1] != 3:
        raise CLRFaceError(
            f"Expected RGB pictures for {name}, got {image.shape[-1]} channels: take the alpha off with "
            "'Split Image with Alpha', or turn grey into RGB."
        )
    if not image.is_floating_point():
        raise CLRFaceError(
            f"Expected pixels in [0,1] for {name}, got whole numbers ({image.dtype}): divide them by their largest."
        )
    if image.shape[1] < 1 or image.shape[2] < 1:
        raise CLRFaceError(f"Expected {name} to have pixels, got {image.shape[2]}x{image.shape[1]}: check its source.")
    if not all(torch.isfinite(picture).all() for picture in image):
        raise CLRFaceError(f"Expected finite pixels in {name}, got NaN or infinity: check the node that made it.")


def _kind(thing: object) -> str:
    return f"a tensor {tuple(thing.shape)}" if isinstance(thing, Tensor) else type(thing).__name__


def images(faces: Tensor) -> Tensor:
    """(B,3,H,W) to an IMAGE where and as ComfyUI wants what travels between nodes."""
    return intermediate(faces.movedim(1, -1).contiguous())


def or_none(crops: Tensor) -> Any:
    """An IMAGE of crops; where there are none, core's sign to leave out every node that would need one: its own take
    no empty batch. What needs no crop (see `needs_crops`) goes on."""
    if len(crops):
        return crops
    from comfy_execution.graph_utils import ExecutionBlocker  # which a ComfyUI has, and not what the tests run in

    return ExecutionBlocker(None)


def needs_crops(crops: Any, alignment: Any) -> list[str]:
    """What a node asks ComfyUI for once it knows its alignment: the crops, if there are any."""
    return ["crops"] if crops is None and len(alignment) else []


def blank(*shape: int) -> Tensor:
    """Room for results of this shape, to be filled part by part, where and as ComfyUI wants them."""
    return torch.zeros(shape, device=memory.intermediate_device(), dtype=memory.intermediate_dtype())


def intermediate(tensor: Tensor, *, copy: bool = False) -> Tensor:
    """On the device and in the number format that ComfyUI wants between nodes; one's own to change if `copy`."""
    return tensor.to(memory.intermediate_device(), memory.intermediate_dtype(), copy=copy)


def with_faces(before: Tensor, photo: Tensor, mask: Tensor) -> Tensor:
    """A picture (H,W,3) of an IMAGE with the pixels of `photo` (3,H,W) where `mask` (1,H,W) is above 0."""
    return torch.where(mask[0, ..., None] > 0, photo.movedim(0, -1), before.float())


def region_masks(mask: Tensor | None, image: Tensor) -> Sequence[Tensor] | None:
    """A MASK as masks (H,W) in [0,1] of the pictures' size, one for each of the IMAGE (B,H,W,3)."""
    if mask is None:
        return None
    mask = _checked(mask, len(image), "pictures", "paint it over the picture")
    size = image.shape[1:3]

    def fitted(index: int) -> Tensor:
        region = mask[index if len(mask) > 1 else 0][None].float()
        if region.shape[2:] != size:
            region = F.interpolate(region, size=size, mode="bilinear", align_corners=False)
        return region[0, 0].clamp(0, 1)

    return Each(len(image), fitted)


def latent_masks(mask: Tensor, latents: Tensor) -> Tensor:
    """A MASK (B,H,W) or (H,W) as (B,1,h,w) of the latents' size, in [0,1]; one mask serves all latents."""
    mask = _checked(mask, len(latents), "faces", "paint it over the crops").float()
    return F.interpolate(mask.clamp(0, 1), size=latents.shape[2:], mode="area").to(latents.device)


def _checked(mask: Tensor, count: int, of: str, advice: str) -> Tensor:
    """The masks as (B,1,H,W), 1 or `count` of them and finite; else CLRFaceError."""
    some = isinstance(mask, Tensor) and mask.ndim >= 2 and (mask.numel() > 0 or count == 0)
    if not some or mask.shape[:-2].numel() not in (1, count) or not torch.isfinite(mask).all():
        raise CLRFaceError(f"Expected one finite mask for all {of} or {count} of them, got {_kind(mask)}: {advice}.")
    return mask.reshape(-1, 1, *mask.shape[-2:])


def latents_of(latent: dict[str, Any], channels: int) -> Tensor:
    """The latents (B,channels,h,w) of a LATENT to look at, float32; of one with several in it, the first.

    CLRFaceError for what is not finite, or of another model.
    """
    return _samples(latent, (channels, 2 * channels), "'VQ Encode' or 'IRN Init'")[:, :channels]


def estimate_and_degraded(latent: dict[str, Any], channels: int) -> tuple[Tensor, Tensor]:
    """z_I and z_d (B,channels,h,w) of a LATENT to be refined, float32; CLRFaceError for one that does not hold both."""
    z_i, z_d = _samples(latent, (2 * channels,), "'IRN Init'").split(channels, dim=1)
    if min(z_i.shape[2:]) < LEAST_LATENT:
        size = f"{z_i.shape[3]}x{z_i.shape[2]}"
        raise CLRFaceError(
            f"Expected latents of at least {LEAST_LATENT}x{LEAST_LATENT} to refine, got {size}: enlarge them."
        )
    return z_i, z_d


def _samples(latent: dict[str, Any], channels: tuple[int, ...], source: str) -> Tensor:
    z = latent.get("samples") if isinstance(latent, dict) else None
    if not isinstance(z, Tensor) or z.ndim != 4 or z.shape[1] not in channels:
        wanted = " or ".join(map(str, channels))
        raise CLRFaceError(f"Expected a LATENT from {source} ({wanted} channels), got {_kind(z)}: connect that node.")
    if not torch.isfinite(z).all():
        raise CLRFaceError("Expected finite latents, got NaN or infinity: check the node that made them.")
    return z.float()


def face_ids(latent: dict[str, Any], count: int) -> list[int]:
    """What the noise of each latent depends on: its face's id; 0, 1, ... where the LATENT does not say."""
    ids = latent.get(FACE_IDS, range(count))
    if not isinstance(ids, Sequence) or len(ids) != count or not all(isinstance(each, int) for each in ids):
        raise CLRFaceError(
            f"Expected {count} whole numbers as the {FACE_IDS} of this LATENT, got {ids!r:.80}: leave them out, or "
            "give one per latent."
        )
    return list(ids)
