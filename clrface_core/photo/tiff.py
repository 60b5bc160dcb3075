"""TIFF beyond Pillow: separate planes and float colours are read, 16 bits and several pages written."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import TiffImagePlugin

from ..errors import CLRFaceError
from .decode import orientation_of, photo_of_values, scaled
from .metadata import IPTC_TAG, ORIENTATION, put_in_directory, read_metadata
from .opening import check_size, load, open_header
from .photo import Metadata, Photo
from .sixteen_bit import opencv, upright

WIDTH, HEIGHT, BITS, PHOTOMETRIC, SAMPLES, PLANAR, EXTRA, FORMAT = 256, 257, 258, 262, 277, 284, 338, 339
PARTS = (273, 279, 324, 325)
"""Offsets and sizes of strips and of tiles."""
USUAL = {BITS: [1], PHOTOMETRIC: [1], SAMPLES: [1], PLANAR: [1], FORMAT: [1]}
"""What holds where a file does not say, or says nothing: entries may have no values."""
TYPES = {1: "B", 3: "H", 4: "I"}
Entries = dict[int, tuple[int, int, bytes]]
"""Of each tag: type, count, and the value or its offset."""


def unusual_photo(name: object, data: bytes) -> Photo | None:
    """The first page where it is of a kind that Pillow misreads: 16-bit or float planes, float colours; else None."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return None
    try:
        entries, pages = _entries(data, order), _count_pages(data, order)
        told = {tag: _numbers(data, order, entries[tag]) for tag in entries if _is_ours(tag)}
        tags = USUAL | {tag: numbers for tag, numbers in told.items() if numbers}
        samples, bits, colours = tags[SAMPLES][0], tags[BITS][0], tags[PHOTOMETRIC][0]
        size = tags[WIDTH][0], tags[HEIGHT][0]
    except (struct.error, KeyError):
        return None  # no directory, or one that lacks what each needs: Pillow finds the words
    floats = tags[FORMAT][0] == 3
    planes = tags[PLANAR][0] == 2 and samples > 1 and bits > 8
    white_is_zero = colours == 0 and samples == 1 and bits == 16 and not floats
    if not (planes or white_is_zero) and not (floats and (samples > 1 or bits != 32)):
        return None
    if colours not in (0, 1, 2) or not 1 <= samples <= 4 or bits not in (16, 32, 64):
        raise CLRFaceError(f"Expected a TIFF with grey or RGB colours, got {name} of another kind: save it as PNG.")
    check_size(name, *size, len(data))
    first = _plane(data, order, entries, tags, 0)
    image = open_header(name, first)
    metadata = read_metadata(image)
    if planes or white_is_zero:
        files = [first] + [_plane(data, order, entries, tags, number) for number in range(1, samples)]
        values = np.stack([np.asarray(load(name, open_header(name, file), file)) for file in files], -1)
    else:
        values = upright(_float_values(name, _unturned(data, order)), orientation_of(image))
    values = values.astype(np.uint16) if bits == 16 and not floats else scaled(name, values)
    if white_is_zero:
        values = 65535 - values
    return replace(photo_of_values(values, image, None, metadata), frames_left_out=pages - 1)


def _is_ours(tag: int) -> bool:
    return tag in (WIDTH, HEIGHT, BITS, PHOTOMETRIC, SAMPLES, PLANAR, FORMAT, *PARTS)


def _entries(data: bytes, order: str, place: int | None = None) -> Entries:
    if place is None:
        place = struct.unpack_from(order + "I", data, 4)[0]
    (count,) = struct.unpack_from(order + "H", data, place)
    found = {}
    for at in range(place + 2, place + 2 + 12 * count, 12):
        tag, kind, length, value = struct.unpack_from(order + "HHI4s", data, at)
        found[tag] = (kind, length, value)
    return found


def _count_pages(data: bytes, order: str) -> int:
    seen: set[int] = set()
    place = struct.unpack_from(order + "I", data, 4)[0]
    while place and place not in seen and place + 2 <= len(data):
        seen.add(place)
        link = place + 2 + 12 * struct.unpack_from(order + "H", data, place)[0]
        place = struct.unpack_from(order + "I", data, link)[0]
    return max(1, len(seen))


def _numbers(data: bytes, order: str, entry: tuple[int, int, bytes]) -> list[int]:
    kind, count, value = entry
    letter = TYPES.get(kind)
    if letter is None or count > 1_000_000:
        raise struct.error
    size = struct.calcsize(order + letter) * count
    if size > 4:
        return list(struct.unpack_from(f"{order}{count}{letter}", data, struct.unpack(order + "I", value)[0]))
    return list(struct.unpack(f"{order}{count}{letter}", value[:size]))


def _plane(data: bytes, order: str, entries: Entries, tags: dict[int, list[int]], number: int) -> bytes:
    """The file with another directory at its end, in which one plane is all of a grey picture."""
    samples = tags[SAMPLES][0]
    entries = {tag: entry for tag, entry in entries.items() if tag not in (EXTRA, 320)}
    tail = b"\0" * (len(data) % 2)
    kind = tags[FORMAT][0]
    # Floats of 64 bits are opened for their labels only, which Pillow does of 32.
    for tag, number_of in ((BITS, 32 if kind == 3 else tags[BITS][0]), (FORMAT, kind)):
        entries[tag] = (3, 1, struct.pack(order + "HH", number_of, 0))
    for tag in (SAMPLES, PHOTOMETRIC, PLANAR):
        entries[tag] = (3, 1, struct.pack(order + "HH", 1, 0))
    for tag in PARTS:
        if tag in tags:
            count = max(1, len(tags[tag]) // samples)
            mine = tags[tag][number * count : (number + 1) * count] or tags[tag][:1]
            value = struct.pack(f"{order}{len(mine)}I", *mine)
            if len(mine) > 1:
                value, tail = struct.pack(order + "I", len(data) + len(tail)), tail + value
            entries[tag] = (4, len(mine), value)
    directory = struct.pack(order + "H", len(entries))
    for tag in sorted(entries):
        directory += struct.pack(order + "HHI4s", tag, *entries[tag])
    place = struct.pack(order + "I", len(data) + len(tail))
    return data[:4] + place + data[8:] + tail + directory + b"\0\0\0\0"


def _unturned(data: bytes, order: str) -> bytes:
    """The file with orientation 1: some versions of OpenCV turn the values, some do not."""
    place = struct.unpack_from(order + "I", data, 4)[0]
    for index, tag in enumerate(_entries(data, order)):
        if tag == ORIENTATION:
            at = place + 2 + 12 * index + 8
            return data[:at] + struct.pack(order + "HH", 1, 0) + data[at + 4 :]
    return data


def _float_values(name: object, data: bytes) -> np.ndarray:
    """The values (H,W,C) of interleaved floats, as they are stored."""
    cv2 = opencv()
    try:
        values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        values = None
    if values is None or not np.issubdtype(values.dtype, np.floating):
        raise CLRFaceError(f"Expected floats of 32 or 64 bits, got {name} with others: save it as a 16-bit PNG.")
    return values[..., None] if values.ndim == 2 else values[..., [2, 1, 0, 3][: values.shape[2]]]


def encode_tiff(pages: Iterable[tuple[np.ndarray, bytes | None, Metadata]]) -> bytes:
    """A TIFF of pages: values (H,W,C) uint8 or uint16 (grey, grey and alpha, RGB, RGBA), profile and metadata each."""
    file = io.BytesIO()
    file.write(b"II*\0\0\0\0\0")
    link = 4  # where the offset of the next directory is to be written
    for values, icc, metadata in pages:
        place = file.tell()
        directory, pixels = _directory(values, icc, metadata)
        table = directory.tobytes(place)
        file.write(table + pixels + b"\0" * (len(table + pixels) % 2))
        file.seek(link)
        file.write(struct.pack("<I", place))
        link = place + 2 + 12 * struct.unpack_from("<H", table)[0]
        file.seek(0, io.SEEK_END)
    return file.getvalue()


def _directory(
    values: np.ndarray, icc: bytes | None, metadata: Metadata
) -> tuple[TiffImagePlugin.ImageFileDirectory_v2, bytes]:
    """The directory of a page and its compressed pixels, which follow it at once."""
    height, width, channels = values.shape
    deltas = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    deltas[:, 1:] -= values[:, :-1]
    pixels = zlib.compress(deltas.tobytes(), 6)
    directory = TiffImagePlugin.ImageFileDirectory_v2(b"II*\0\0\0\0\0")

    def put(tag: int, value: Any) -> None:
        directory[tag] = value

    put_in_directory(metadata, put)
    put(WIDTH, width)
    put(HEIGHT, height)
    put(BITS, (8 * values.dtype.itemsize,) * channels)
    put(259, 8)  # deflate
    put(PHOTOMETRIC, 2 if channels > 2 else 1)
    directory.tagtype[273] = directory.tagtype[279] = 4
    directory.tagtype[IPTC_TAG] = 7
    put(273, 0)  # from the end of the directory
    put(SAMPLES, channels)
    put(278, height)
    put(279, len(pixels))
    put(PLANAR, 1)
    put(317, 2)  # each value less its neighbour to the left
    if channels in (2, 4):
        put(EXTRA, 2)  # alpha, not multiplied into the colours
    if icc:
        directory.tagtype[34675] = 7
        put(34675, icc)
    return directory, pixels
