"""TIFF as scanners and science write it: zero is white, planes apart, floats; and what we write ourselves."""

import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from clrface_core.errors import CLRFaceError
from clrface_core.photo import Photo, read_photo, write_photo

RANDOM = np.random.default_rng(0)


def tiff(
    path: Path,
    values: np.ndarray,
    photometric: int,
    *,
    planar: bool = False,
    order: str = "<",
    rows: int = 7,
    **more: Any,
) -> Path:
    """A TIFF of values (H,W,C) by the specification, in strips of `rows` lines, without compression."""
    height, width, channels = values.shape
    values = values.astype(f"{order}{values.dtype.kind}{values.dtype.itemsize}")
    planes = [values[..., c] for c in range(channels)] if planar else [values]
    strips = [plane[y : y + rows].tobytes() for plane in planes for y in range(0, height, rows)]
    kind = {"u": 1, "f": 3}[values.dtype.kind]
    body, offsets = b"", []
    for strip in strips:
        offsets.append(8 + len(body))
        body += strip
    entries = {256: ("H", [width]), 257: ("H", [height]), 258: ("H", [8 * values.dtype.itemsize] * channels)}
    entries |= {259: ("H", [1]), 262: ("H", [photometric]), 273: ("I", offsets), 277: ("H", [channels])}
    entries |= {278: ("I", [rows]), 279: ("I", [len(strip) for strip in strips]), 284: ("H", [2 if planar else 1])}
    entries |= {282: ("I", [300, 1]), 296: ("H", [2]), 339: ("H", [kind] * channels)}
    if "orientation" in more:
        entries[274] = ("H", [more["orientation"]])
    directory = struct.pack(order + "H", len(entries))
    for tag in sorted(entries):
        letter, numbers = entries[tag]
        data = struct.pack(f"{order}{len(numbers)}{letter}", *numbers)
        if len(data) > 4:
            body += b"\0" * (len(body) % 2)
            data, place = struct.pack(order + "I", 8 + len(body)), data
            body += place
        count = 1 if tag == 282 else len(numbers)
        directory += struct.pack(order + "HHI", tag, 5 if tag == 282 else {"H": 3, "I": 4}[letter], count)
        directory += data.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(body))
    path.write_bytes(head + body + directory + bytes(4))
    return path


def read(path: Path) -> np.ndarray:
    return read_photo(path).rgb.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_zero_may_be_white(tmp_path: Path, dtype: type, order: str) -> None:
    most = np.iinfo(dtype).max
    values: np.ndarray = RANDOM.integers(0, most + 1, (20, 30, 1)).astype(dtype)
    path = tiff(tmp_path / "in.tif", most - values, 0, order=order)
    np.testing.assert_allclose(read(path), values.repeat(3, -1) / most, atol=1e-6)
    photo = read_photo(path)
    assert photo.grey and photo.bits == 8 * values.dtype.itemsize
    write_photo(tmp_path / "out.png", photo)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), values[..., 0])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_planes_may_stand_apart(tmp_path: Path, dtype: type, channels: int, order: str) -> None:
    values: np.ndarray = (
        RANDOM.random((20, 30, channels)) * (1 if dtype is np.float32 else np.iinfo(dtype).max)
    ).astype(dtype)
    path = tiff(tmp_path / "in.tif", values, 2, planar=True, order=order)
    photo = read_photo(path)
    most = 1 if dtype is np.float32 else np.iinfo(dtype).max
    np.testing.assert_allclose(read(path), values[..., :3] / most, atol=1e-6)
    assert (photo.alpha is not None) == (channels == 4)
    assert photo.bits == (8 if dtype is np.uint8 else 16)
    assert photo.metadata.dpi == (300, 300)


@pytest.mark.parametrize("scale", [1, 255, 65535])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_may_have_the_range_of_any_depth(tmp_path: Path, dtype: type, channels: int, scale: int) -> None:
    values = RANDOM.random((20, 30, channels))
    values = (values * scale).round() if scale > 1 else values
    values.flat[0] = scale
    path = tiff(tmp_path / "in.tif", values.astype(dtype), 2 if channels == 3 else 1)
    np.testing.assert_allclose(read(path), np.broadcast_to(values / scale, (20, 30, 3)), atol=1e-5)


@pytest.mark.parametrize("values", [np.full((4, 4, 3), 7.3), np.full((4, 4, 3), np.nan), np.full((4, 4, 1), -2.5)])
def test_floats_of_an_unknown_range_are_refused(tmp_path: Path, values: np.ndarray) -> None:
    path = tiff(tmp_path / "in.tif", values.astype(np.float32), 2 if values.shape[2] == 3 else 1)
    with pytest.raises(CLRFaceError, match=r"^Expected (pixels in|finite)"):
        read_photo(path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("planar", [False, True])
def test_floats_and_planes_stand_upright(tmp_path: Path, orientation: int, planar: bool) -> None:
    values = RANDOM.random((20, 30, 3)).astype(np.float32)
    path = tiff(tmp_path / "in.tif", values, 2, planar=planar, orientation=orientation)
    bytes_ = tiff(tmp_path / "8.tif", (values * 255).round().astype(np.uint8), 2, orientation=orientation)
    np.testing.assert_allclose(read(path), read(bytes_), atol=0.5 / 255 + 1e-6)


def test_what_is_another_kind_is_refused_in_a_sentence(tmp_path: Path) -> None:
    for values, photometric in ((np.zeros((4, 4, 3), np.float16), 2), (np.zeros((4, 4, 5), np.float32), 2)):
        with pytest.raises(CLRFaceError, match=r"^Expected "):
            read_photo(tiff(tmp_path / "in.tif", values, photometric))


def without_values(path: Path, tag: int, *, gone: bool) -> Path:
    """The TIFF with an entry that says nothing, or with an unknown one in its place."""
    data = bytearray(path.read_bytes())
    (place,) = struct.unpack_from("<I", data, 4)
    for at in range(place + 2, place + 2 + 12 * struct.unpack_from("<H", data, place)[0], 12):
        if struct.unpack_from("<H", data, at)[0] == tag:
            struct.pack_into("<H" if gone else "<4xI", data, at, 65000 if gone else 0)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("tag", [256, 257, 258, 262, 273, 277, 279, 284, 339])
@pytest.mark.parametrize("planar", [False, True])
def test_an_entry_may_be_missing_or_empty(tmp_path: Path, planar: bool, tag: int, gone: bool) -> None:
    values: np.ndarray = RANDOM.integers(0, 65536, (20, 30, 3 if planar else 1)).astype(np.uint16)
    path = tiff(tmp_path / "in.tif", values if planar else 65535 - values, 2 if planar else 0, planar=planar)
    usual = tag == 339 or (tag == 277 and not planar) or (tag == 284 and not planar)
    try:
        found = read(without_values(path, tag, gone=gone))
    except CLRFaceError as error:
        assert not usual and str(error).startswith("Expected ")
    else:
        if usual:
            np.testing.assert_allclose(found, values / 65535 * np.ones(3), atol=1e-6)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("alpha", [False, True])
def test_tiff_is_written_exactly(tmp_path: Path, bits: int, grey: bool, alpha: bool) -> None:
    most = 2**bits - 1
    values = torch.from_numpy(RANDOM.integers(0, most + 1, (4, 20, 31)).astype(np.float32)) / most
    rgb = values[:1].expand(3, -1, -1) if grey else values[:3]
    write_photo(tmp_path / "out.tif", Photo(rgb, values[3] if alpha else None, bits, grey))
    if not (grey and alpha and bits == 16):  # which few programs read, ours neither
        photo = read_photo(tmp_path / "out.tif")
        assert torch.equal(photo.rgb, rgb) and (photo.bits, photo.grey) == (bits, grey)
        assert photo.alpha is None or torch.equal(photo.alpha, values[3])
    if not alpha:
        other = cv2.imread(str(tmp_path / "out.tif"), cv2.IMREAD_UNCHANGED)
        assert other is not None
        other = other[..., None] if grey else other[..., ::-1]
        np.testing.assert_array_equal(other, (rgb[: 1 if grey else 3].permute(1, 2, 0).numpy() * most).round())
