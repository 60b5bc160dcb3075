"""From a Photo to the bytes of a file of any kind that is written, with its labels."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import replace
from struct import error as struct_error
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import CLRFaceError
from .app_segments import segments_of_iptc, split_xmp
from .color import grey_profile, grey_to_srgb, profile_of, space
from .metadata import exif_with_all
from .photo import ColorCoding, Photo
from .png import label
from .sixteen_bit import encode_16_bit_colour
from .tiff import encode_tiff

DEEP = ("PNG", "TIFF")
"""The kinds that hold 16 bits per channel."""
COLOURS_ONLY = ("WEBP", "GIF")
"""The kinds that have no grey: three equal channels stand for it."""
QUALITY = {"JPEG": 95, "WEBP": 90, "AVIF": 80}
NAMES = {"JPEG": "JPEG", "WEBP": "WebP", "AVIF": "AVIF", "GIF": "GIF", "PNG": "PNG"}


def encode(photo: Photo, kind: str, quality: int | None = None, compression: int = 4) -> bytes:
    """The file. kind: "PNG", "JPEG", "WEBP", "TIFF" or "AVIF"."""
    values, photo = _values(photo, kind)
    if kind == "TIFF":
        return encode_tiff([(values, _profile(photo, values), photo.metadata)])
    if kind == "PNG":
        return label(_png(values, compression), photo.icc, photo.coding, photo.metadata)
    if kind == "JPEG" and values.shape[2] in (2, 4):
        if values[..., -1].min() < 255:
            raise CLRFaceError(
                "Expected an opaque picture for JPEG, got one with transparency: write PNG, WebP, TIFF or AVIF."
            )
        values = values[..., :-1]
    options = _options(photo, values, kind, QUALITY[kind] if quality is None else quality)
    return _save(_image(values), kind, **options)


def encode_frames(photos: Iterable[Photo], kind: str, quality: int | None = None) -> bytes:
    """The file of several frames or pages, at least one. kind: "PNG", "WEBP", "AVIF", "GIF" or "TIFF".

    Each is asked for when its turn comes, and kept as what the file holds of it.
    """
    if kind == "TIFF":
        pages = (_values(photo, kind) for photo in photos)
        return encode_tiff((values, _profile(photo, values), photo.metadata) for values, photo in pages)
    frames: list[np.ndarray] = []
    durations: list[float] = []
    first: Photo | None = None
    for photo in photos:
        values, known = _values(replace(photo, bits=8), kind)
        frames.append(values)
        durations.append(photo.duration if photo.duration is not None else 100.0)
        first = first or known
    assert first is not None
    shapes = {values.shape[:2] for values in frames}
    if len(shapes) > 1:
        raise CLRFaceError(f"Expected frames of one size for {NAMES[kind]}, got {sorted(shapes)}: write a TIFF.")
    channels = max(values.shape[2] for values in frames)
    images = [_image(_widened(values, channels)) for values in frames]
    options: dict[str, Any] = {"save_all": True, "append_images": images[1:], "loop": 0}
    options["duration"] = durations if kind == "PNG" else [round(value) for value in durations]
    if kind == "PNG":
        return label(_save(images[0], kind, **options), first.icc, first.coding, first.metadata)
    if kind in QUALITY:
        options |= _options(first, np.asarray(images[0]), kind, QUALITY[kind] if quality is None else quality)
    if kind == "GIF":
        comments = [text for keyword, text in first.metadata.text if keyword == "Comment"]
        options |= {"comment": comments[0].encode("utf-8", "replace")} if comments else {}
    return _save(images[0], kind, **options)


def _widened(values: np.ndarray, channels: int) -> np.ndarray:
    """8-bit values with as many channels as the widest frame has."""
    if values.shape[2] <= 2 < channels:
        values = values[..., [0, 0, 0, *([1] if values.shape[2] == 2 else [])]]
    if values.shape[2] in (1, 3) and channels in (2, 4):
        values = np.concatenate([values, np.full_like(values[..., :1], 255)], -1)
    return values


def _values(photo: Photo, kind: str) -> tuple[np.ndarray, Photo]:
    """The values (H,W,C) that the file holds, and the photo with colour labels that fit them."""
    bits = photo.bits if kind in DEEP else 8
    values = _quantised(photo, bits)
    if kind in COLOURS_ONLY and values.shape[2] <= 2:
        values = _as_colours(values)
    icc, grey = photo.icc, values.shape[2] <= 2
    if icc and space(icc) == b"RGB " and grey:  # meant for three equal channels
        icc = grey_profile(icc)
        if icc is None:
            return _as_colours(values), photo
    elif icc and space(icc) == b"GRAY" and not grey:
        # A grey profile cannot stand beside colours: what it says is done to each channel, and they are sRGB.
        curve = grey_to_srgb(icc)
        if curve is not None:
            steps = torch.from_numpy(np.interp(np.linspace(0, 1, 65536), np.linspace(0, 1, 256), curve)).float()
            rgb = steps[photo.rgb.detach().cpu().float().clamp(0, 1).mul(65535).round().long()]
            values = _quantised(replace(photo, rgb=rgb, grey=False), bits)
        return values, replace(photo, icc=None, coding=ColorCoding())
    return values, replace(photo, icc=icc)


def _as_colours(values: np.ndarray) -> np.ndarray:
    return values if values.shape[2] > 2 else values[..., [0, 0, 0, *([1] if values.shape[2] == 2 else [])]]


def _quantised(photo: Photo, bits: int) -> np.ndarray:
    """The values (H,W,C) in whole steps, as one channel where the picture is grey."""
    planes = [_quantise(plane, bits) for plane in photo.rgb]
    if photo.grey and all(np.array_equal(planes[0], plane) for plane in planes[1:]):
        planes = planes[:1]
    if photo.alpha is not None:
        planes.append(_quantise(photo.alpha, bits))
    return np.stack(planes, -1)


def _quantise(plane: Tensor, bits: int) -> np.ndarray:
    """A plane (H,W) in [0,1] as uint8 or uint16."""
    plane = plane.detach().to("cpu", torch.float32)
    if not torch.isfinite(plane).all():
        raise CLRFaceError("Expected numbers in the picture, got NaN or infinity: restore it in float32.")
    values = plane.mul(2**bits - 1).round_().clamp_(0, 2**bits - 1)
    return values.numpy().astype(np.uint8 if bits == 8 else np.uint16)


def _profile(photo: Photo, values: np.ndarray) -> bytes | None:
    """The profile, for formats with no other label; a photo that has others gets one that says the same."""
    return photo.icc or profile_of(photo.coding, grey=values.ndim == 2 or values.shape[2] <= 2)


def _png(values: np.ndarray, compression: int) -> bytes:
    if values.dtype == np.uint16 and values.shape[2] > 1:
        return encode_16_bit_colour(list(np.moveaxis(values, -1, 0)), compression)
    return _save(_image(values), "PNG", compress_level=compression)


def _image(values: np.ndarray) -> Image.Image:
    return Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)


def _options(photo: Photo, values: np.ndarray, kind: str, quality: int) -> dict[str, Any]:
    """What Pillow's writers of JPEG, WebP and AVIF are told."""
    metadata = photo.metadata
    options: dict[str, Any] = {"quality": quality, "icc_profile": _profile(photo, values)}
    if kind == "JPEG":
        comments = [text for keyword, text in metadata.text if keyword == "Comment"]
        if comments:
            options["comment"] = comments[0].encode("utf-8", "replace")
            metadata = replace(metadata, text=tuple(pair for pair in metadata.text if pair[0] != "Comment"))
        if metadata.dpi:
            options["dpi"] = tuple(min(round(value), 65535) for value in metadata.dpi)
        options["subsampling"] = 0 if quality >= 90 else 2
    if kind == "WEBP":
        options |= {"exact": True, "lossless": quality == 100, "method": 4}
    if exif := exif_with_all(metadata):
        options["exif"] = b"Exif\0\0" + exif
    if metadata.xmp:
        options["xmp"] = metadata.xmp
    if kind == "JPEG":
        packet, rest = split_xmp(metadata.xmp or b"")
        iptc = segments_of_iptc(metadata.iptc) if metadata.iptc else b""
        options |= {"xmp": packet or None, "extra": rest + iptc or None}
    return {name: value for name, value in options.items() if value is not None}


def _save(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    try:
        image.save(file, kind, **options)
    except (OSError, ValueError, KeyError, struct_error) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        size = f"{image.width}x{image.height} px"
        raise CLRFaceError(
            f"Expected a picture of {size} that {NAMES[kind]} can hold with its metadata, which failed ({reason}): "
            "write PNG, or strip the metadata."
        ) from error
    return file.getvalue()
