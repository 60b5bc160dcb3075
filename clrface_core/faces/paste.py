"""Blend restored crops back into their photo, and leave every other pixel exactly as it was."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CLRFaceError
from ..picture import check_picture
from ..severity import check_strength
from .align import Alignment
from .grain import MOST_BLOCKS, block_for, lost_grain, make_grain
from .region import CROP, REGIONS, Oval, face_oval
from .select import FaceBatch
from .warp import HEADROOM, Box, compose, inverse, moved, pixels, points, resize, sample, stretch, warp

TILE = 512
"""Side of the squares in which the photo is worked through: it bounds the memory in use."""

SURROUNDINGS = 0.15
"""How far around the box of a face its surroundings reach, as a share of its sides."""
INSIDE = 0.3
"""Depth (see `Oval`) of the part of a face in which its grain is measured."""


@dataclass(frozen=True)
class Blending:
    """How crops are put back into their photo; CLRFaceError for values out of range.

    region: "crop" puts back nearly the whole crop, "face" an oval by the face's landmarks: hair, hat, hands and
        background keep the photo's pixels (see `faces.region`).
    feather: width of the soft edge as a fraction of the crop's side, 0 to 0.45; 0 is a one-pixel edge. An oval that is
        half as wide has half of it.
    color_match: take colour and shading, everything coarser than an eighth of the crop, from the photo.
    blend: 1 replaces the face, 0 leaves the photo.
    detail: share, 0 to 1, of what the photo lost on its way through the crop that is added back. It keeps faces
        larger than the crop as sharp, and as noisy, as their surroundings; to smaller faces it does little.
        At 1, crops that were not changed come back without loss.
    grain: standard deviation, 0 to 1, of the grain that a face gets, as a share of what it lost: 1 makes it as grainy
        as it was and as its surroundings are. Where the photo has no grain it does nothing.
    strength: how much of the restored face shows, 0 to 1. None, the flow's default, is as much as the face is degraded
        (see `severity`). It belongs here and not to the sampling: the networks' work is the same whatever it is.
    skip_blurred: leave degraded faces alone in photos in which a larger one is sharp: they are blurred on purpose.
        The flow decides on these two and gives `paste_faces` its `strengths`.
    """

    region: str = "crop"
    feather: float = 0.1
    color_match: bool = False
    blend: float = 1.0
    detail: float = 1.0
    grain: float = 1.0
    strength: float | None = None
    skip_blurred: bool = False

    def __post_init__(self) -> None:
        check_strength(self.strength)
        if self.region not in REGIONS:
            raise CLRFaceError(f"Expected a region ({' or '.join(REGIONS)}), got {self.region!r}: choose one of them.")
        for name, most in (("feather", 0.45), ("blend", 1.0), ("detail", 1.0), ("grain", 1.0)):
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise CLRFaceError(f"Expected {name} from 0 to {most:g}, got {value}: choose one in this range.")


@dataclass(frozen=True)
class _Placed:
    """One face ready to be blended: `patch` (3,s,s), hardly finer than the photo, and maps from photo pixels.

    oval: the part of it that is put back, within the box. grain (3,h,w) is laid out from the corner of the box, and
    repeated.
    """

    patch: Tensor
    to_patch: Tensor
    to_unit: Tensor
    detail: float
    feather: float
    box: Box
    oval: Oval = CROP
    strength: float = 1.0
    grain: Tensor | None = None

    def value(self, photo: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """The face (3,h,w) at pixels x, y (h,w) of the photo, at which that is `photo` (3,h,w); without grain."""
        value = sample(self.patch, *moved(self.to_patch, x, y))
        return value + self.detail * photo if self.detail else value


def paste_faces(
    image: Tensor,
    crops: Tensor | Sequence[Tensor],
    alignment: Alignment,
    blending: Blending = Blending(),
    *,
    region_mask: Tensor | None = None,
    strengths: Sequence[float] | None = None,
    ids: Sequence[int] | None = None,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Put every crop back where `align_faces` cut it out.

    image: (3,H,W) float, [0,1]: the photo, or the photo resized (the proportions must be the same).
    crops: (N,3,S,S), or N tensors (3,S,S) of their own sizes; any S, any device: they are moved one by one.
    region_mask: (1,H,W) or (H,W) in [0,1], multiplied into the blend.
    strengths: how much of each crop shows, in [0,1] and multiplied into the blend likewise; all of it by default.
    ids, seed: a face's grain depends on its id (its place among the crops by default) and on this seed only.

    Returns the new picture (3,H,W), same dtype and device, and the blend mask (1,H,W) float32 in [0,1]. Where
    the mask is 0, pixels keep their exact value. Where faces overlap, each pixel comes mostly from the face
    whose centre is nearest in units of its own size, whatever the order of the faces.
    Raises CLRFaceError where counts, shapes or ranges do not fit.
    """
    check_picture(image)
    region = _check(image, crops, alignment, region_mask)
    height, width = image.shape[-2:]
    alignment = alignment.for_image((height, width))
    faces = [_place(image, crop, alignment.select([i]), blending) for i, crop in enumerate(crops)]
    if strengths is None and blending.strength is not None:
        strengths = [blending.strength] * len(faces)
    if strengths is not None:
        faces = [replace(face, strength=strength) for face, strength in zip(faces, strengths, strict=True)]
    if blending.grain:
        keys = range(len(faces)) if ids is None else ids
        faces = [
            replace(face, grain=_grain(image, face, blending.grain, seed, face_id))
            for face, face_id in zip(faces, keys, strict=True)
        ]
    result, mask = image.clone(), image.new_zeros(1, height, width, dtype=torch.float32)
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            tile = (left, top, min(left + TILE, width), min(top + TILE, height))
            here = [(face, box) for face in faces if (box := _overlap(face.box, tile))]
            if here:
                _blend_tile(result, mask, image, here, tile, blending.blend, region)
    return result, mask


def paste_batch(
    images: Tensor | Sequence[Tensor],
    crops: Tensor | Sequence[Tensor],
    batch: FaceBatch,
    blending: Blending = Blending(),
    *,
    region_mask: Tensor | Sequence[Tensor] | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Every picture with its faces put back, and its blend mask (1,H,W).

    images: (B,3,H,W), or one picture for all. crops: one per entry of `batch`. region_mask: (B,H,W) or (1,H,W).
    Sequences of (3,H,W) and (H,W) do as well.
    A picture without faces comes back as it is, with an empty mask.
    """
    if len(crops) != len(batch):
        raise CLRFaceError(
            f"Expected {len(batch)} crops for this alignment, got {len(crops)}: paste what was cut out with it."
        )
    if len(images) not in (1, batch.frames):
        raise CLRFaceError(
            f"Expected {batch.frames} pictures for this alignment, got {len(images)}: give the ones it was made from."
        )
    for frame in range(batch.frames):
        image = images[frame if len(images) > 1 else 0]
        here = batch.of_frame(frame)
        region = None if region_mask is None else region_mask[frame if len(region_mask) > 1 else 0]
        if not here:
            yield image, image.new_zeros(1, *image.shape[1:], dtype=torch.float32)
            continue
        alignment = batch.alignment.select(here)
        ids = [batch.ids[i] for i in here]
        yield paste_faces(image, [crops[i] for i in here], alignment, blending, region_mask=region, ids=ids)


def _check(
    image: Tensor, crops: Tensor | Sequence[Tensor], alignment: Alignment, region_mask: Tensor | None
) -> Tensor | None:
    """Raise CLRFaceError for anything that does not fit; return the region mask as (H,W)."""
    if len(crops) != len(alignment):
        raise CLRFaceError(
            f"Expected {len(alignment)} crops, one for each aligned face, got {len(crops)}: "
            "select the same faces in the alignment."
        )
    for i, crop in enumerate(crops):
        if crop.ndim != 3 or crop.shape[0] != 3 or crop.shape[1] != crop.shape[2] or not crop.numel():
            raise CLRFaceError(f"Expected crop {i} as (3, S, S), got {tuple(crop.shape)}: keep it square RGB.")
        if not torch.isfinite(crop).all():
            raise CLRFaceError(f"Expected numbers in crop {i}, got NaN or infinity: restore it in float32.")
    height, width = image.shape[-2:]
    old_height, old_width = alignment.image_size
    if abs(width * old_height - height * old_width) > max(width, height, old_width, old_height):
        raise CLRFaceError(
            f"Expected the photo of the alignment, {old_width} x {old_height} px, or a resized one, got "
            f"{width} x {height} px: its proportions differ, so give the photo that was aligned."
        )
    if region_mask is None:
        return None
    if tuple(region_mask.shape) not in ((1, height, width), (height, width)):
        raise CLRFaceError(
            f"Expected a region mask of shape (1, {height}, {width}), got {tuple(region_mask.shape)}: "
            "resize it to the photo."
        )
    if not torch.isfinite(region_mask).all():
        raise CLRFaceError("Expected a region mask in [0, 1], got NaN or infinity in it: correct it.")
    return region_mask.reshape(height, width).to(image.device, torch.float32).clamp(0, 1)


def _place(image: Tensor, crop: Tensor, alignment: Alignment, blending: Blending) -> _Placed:
    """Bring one crop (3,S,S) to the photo's scale, where it is larger, and correct it there."""
    size = crop.shape[-1]
    to_crop = alignment.for_crops(size).matrices[0]
    # Antialiasing happens here, once per face and on the whole crop, so that tiles meet without a seam.
    side = max(round(size / max(stretch(to_crop) / HEADROOM, 1)), 1)
    patch = resize(crop.to(image.device), side, side)
    to_patch = alignment.for_crops(side).matrices[0]
    if blending.color_match:
        patch = patch + _color_difference(image, patch, alignment)
    if blending.detail:
        patch = patch - blending.detail * resize(warp(image, inverse(to_crop), size, size).clamp_(0, 1), side, side)
    to_unit = compose(torch.tensor([[1.0, 0, 0.5], [0, 1, 0.5]], dtype=torch.float64) / side, to_patch)
    feather = max(blending.feather, stretch(to_unit))
    box = _region_box(to_unit, alignment.image_size)
    oval = CROP if blending.region == "crop" else face_oval(alignment)
    return _Placed(patch, to_patch, to_unit, blending.detail, feather, box, oval)


def _color_difference(image: Tensor, patch: Tensor, alignment: Alignment) -> Tensor:
    """What gives `patch` (3,s,s) the photo's colours on an 8 x 8 grid when added: a smooth field (3,s,s)."""
    photo = warp(image, inverse(alignment.for_crops(64).matrices[0]), 64, 64)
    difference = resize(photo, 8, 8) - resize(resize(patch, 64, 64), 8, 8)
    return F.interpolate(difference[None], patch.shape[-2:], mode="bicubic", align_corners=False)[0]


def _grain(image: Tensor, face: _Placed, share: float, seed: int, face_id: int) -> Tensor | None:
    """New grain for a face, where it has lost what the photo has."""
    left, top, right, bottom = face.box
    block = block_for(1 / (512 * stretch(face.to_unit)))
    if face.strength == 0 or min(right - left, bottom - top) < 4 * block:
        return None
    x, y = _blocks(face.box, image.shape[-2:], block, image.device)
    depth = CROP.depth(*moved(face.to_unit, x + (block - 1) / 2, y + (block - 1) / 2))
    inside, outside = depth > INSIDE, depth == 0
    before, around = _cut(image, x[inside], y[inside], block), _cut(image, x[outside], y[outside], block)
    # As one row of blocks, one below the other, for `value`.
    offset = torch.arange(block, device=image.device)
    rows = (y[inside][:, None] + offset).reshape(-1, 1).expand(-1, block)
    columns = (x[inside][:, None, None] + offset).expand(-1, block, -1).reshape(-1, block)
    value = face.value(before.movedim(0, 1).reshape(3, -1, block), columns.float(), rows.float())
    after = value.reshape(3, -1, block, block).movedim(1, 0)
    spectrum = lost_grain(before, torch.lerp(before, after, face.strength), around)
    if spectrum is None:
        return None
    # What is added shows with the face's strength.
    field = make_grain(spectrum, bottom - top, right - left, seed=seed, face_id=face_id)
    return (field * (share / face.strength)).to(image.device)


def _blocks(box: Box, image_size: Sequence[int], block: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Corners x, y (N,) of blocks spread evenly over a box and its surroundings, all within the photo."""
    corners = []
    for low, high, length in zip(box[:2], box[2:], (image_size[1], image_size[0]), strict=True):
        margin = round(SURROUNDINGS * (high - low))
        first, last = max(low - margin, 0), min(high + margin, length) - block
        step = max(block, (last - first) // MOST_BLOCKS)
        corners.append(torch.arange(first, last + 1, step, device=device))
    y, x = torch.meshgrid(corners[1], corners[0], indexing="ij")
    return x.flatten(), y.flatten()


def _cut(image: Tensor, x: Tensor, y: Tensor, block: int) -> Tensor:
    """Blocks (N,3,block,block) float32 of the photo at these corners."""
    offset = torch.arange(block, device=image.device)
    return image[:, (y[:, None] + offset)[:, :, None], (x[:, None] + offset)[:, None]].movedim(0, 1).float()


def _region_box(to_unit: Tensor, image_size: tuple[int, int]) -> Box:
    """The smallest box of whole pixels, within the photo, that holds the face region."""
    signs = torch.tensor([[-1, -1], [-1, 1], [1, -1], [1, 1]])
    corners = torch.tensor(CROP.centre, dtype=torch.float64) + signs * torch.tensor(CROP.radii, dtype=torch.float64)
    to_photo = inverse(to_unit)
    corners = corners @ to_photo[:, :2].T + to_photo[:, 2]
    height, width = image_size
    limits = torch.tensor([width, height], dtype=torch.float64)
    low = corners.amin(0).floor().clamp(min=0).minimum(limits)
    high = (corners.amax(0).ceil() + 1).clamp(min=0).minimum(limits)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _overlap(a: Box, b: Box) -> Box | None:
    box = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    return box if box[0] < box[2] and box[1] < box[3] else None


def _blend_tile(
    result: Tensor,
    mask: Tensor,
    image: Tensor,
    faces: list[tuple[_Placed, Box]],
    tile: Box,
    blend: float,
    region: Tensor | None,
) -> None:
    """Write the tile's pixels of `result` (3,H,W) and `mask` (1,H,W)."""
    left, top, right, bottom = tile
    photo = image[:, top:bottom, left:right]
    colour = photo.new_zeros(photo.shape, dtype=torch.float32)
    total, cover = torch.zeros_like(colour[0]), torch.zeros_like(colour[0])
    for face, box in faces:
        rows, columns = slice(box[1] - top, box[3] - top), slice(box[0] - left, box[2] - left)
        weight, depth = _region(face, box, image.device)
        value = face.value(photo[:, rows, columns], *pixels(box, image.device))
        if face.grain is not None:
            value = value + _repeated(face.grain, face.box, box)
        share = weight * depth**4
        colour[:, rows, columns] += share * value.clamp_(0, 1)
        total[rows, columns] += share
        cover[rows, columns] = cover[rows, columns].maximum(weight * face.strength)
    colour /= total.clamp(min=1e-30)
    cover *= blend
    if region is not None:
        cover *= region[top:bottom, left:right]
    blended = torch.lerp(photo.float(), colour, cover).to(image.dtype)
    result[:, top:bottom, left:right] = torch.where(cover > 0, blended, photo)
    mask[0, top:bottom, left:right] = cover


def _region(face: _Placed, box: Box, device: torch.device) -> tuple[Tensor, Tensor]:
    """The face's blend weight in [0,1] and its depth, 1 at the centre of the crop and 0 at its rim; (h,w) each."""
    u, v = points(face.to_unit, box, device)
    depth = CROP.depth(u, v)
    inner = depth if face.oval is CROP else depth.minimum(face.oval.depth(u, v))
    ramp = (inner * (CROP.radii[0] / face.feather)).clamp(max=1)
    return ramp * ramp * (3 - 2 * ramp), depth


def _repeated(grain: Tensor, whole: Box, part: Box) -> Tensor:
    """The grain (3,h,w) of a part of the box from whose corner it is laid out."""
    height, width = grain.shape[1:]
    rows = torch.arange(part[1] - whole[1], part[3] - whole[1], device=grain.device) % height
    columns = torch.arange(part[0] - whole[0], part[2] - whole[0], device=grain.device) % width
    return grain[:, rows[:, None], columns]
