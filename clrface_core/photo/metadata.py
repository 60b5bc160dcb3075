"""What a file says besides pixels and colours: read from any kind, made upright, and put together for any other."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from typing import Any

from PIL import Image, TiffImagePlugin

from .app_segments import iptc_of_resources, iptc_of_segments, resources_of_iptc, whole_xmp
from .photo import Metadata

ORIENTATION, EXIF_IFD, GPS_IFD, USER_COMMENT = 0x0112, 0x8769, 0x8825, 0x9286
THUMBNAIL_PARTS = ((0x0201, 0x0202), (0x0111, 0x0117))
"""Offset and length of a thumbnail: as JPEG, or as strips of pixels."""

DESCRIPTIVE = (
    *(269, 270, 271, 272, 285, 305, 306, 315, 316, 18246, 18249, 33432),  # names, makers, dates, artist, rating, rights
    *range(0x9C9B, 0x9CA0),  # Windows' title, comment, author, keywords, subject
)
"""The tags of a TIFF directory that speak of the photo; the others speak of how its pixels are stored."""

IPTC_TAG = 33723
IPTC_TEXT = "Raw profile type iptc"
"""Where TIFF and PNG hold IPTC."""

PLACED_ELSEWHERE = (
    *("XML:com.adobe.xmp", "Raw profile type exif", "Raw profile type APP1", "Raw profile type xmp"),
    *(IPTC_TEXT, "Raw profile type 8bim"),
)


def read_metadata(image: Image.Image) -> Metadata:
    """All that the opened (and loaded) picture says; what is broken in it is left out."""
    exif = _tiff_exif(image) if image.format == "TIFF" else _exif_block(image)
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    if isinstance(xmp, str):
        xmp = xmp.encode("utf-8", "replace")
    if xmp:
        xmp = _upright_xmp(whole_xmp(xmp, getattr(image, "applist", ())))
    return Metadata(upright_exif(exif) if exif else None, xmp or None, _text(image), _dpi(image), _iptc(image))


def _iptc(image: Image.Image) -> bytes | None:
    """The IPTC block of a JPEG, TIFF or PNG."""
    if image.format == "TIFF":
        block = getattr(image, "tag_v2", {}).get(IPTC_TAG)
        if isinstance(block, tuple) and all(isinstance(each, int) and 0 <= each < 2**32 for each in block):
            block = struct.pack(f"{image.tag_v2._endian}{len(block)}I", *block)  # type: ignore[attr-defined]
        return block if isinstance(block, bytes) and block else None
    if image.format in ("JPEG", "MPO"):
        return iptc_of_segments(getattr(image, "applist", ()))
    block = _hexadecimal(image.info.get(IPTC_TEXT)) or _hexadecimal(image.info.get("Raw profile type 8bim"))
    return block if block and not block.startswith(b"8BIM") else iptc_of_resources(block or b"")


def _exif_block(image: Image.Image) -> bytes | None:
    exif = image.info.get("exif")
    if exif is None:
        exif = _hexadecimal(image.info.get("Raw profile type exif"))  # how PNG held it before it had a chunk for it
    return re.sub(b"^(Exif\0\0)+", b"", exif) if isinstance(exif, bytes) else None


def _hexadecimal(text: object) -> bytes | None:
    """The block that a PNG holds as text: its name, its length, and its bytes as digits."""
    if not isinstance(text, str):
        return None
    try:
        return bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError:
        return None


def text_of_iptc(iptc: bytes) -> tuple[str, str]:
    """Keyword and text by which a PNG holds an IPTC block, as ImageMagick and ExifTool write it."""
    block = resources_of_iptc(iptc).hex()
    lines = [block[at : at + 72] for at in range(0, len(block), 72)]
    return IPTC_TEXT, "\n".join(["", "iptc", f"{len(block) // 2:8}", *lines, ""])


def _tiff_exif(image: Image.Image) -> bytes | None:
    """An EXIF block with what a TIFF file's own directory says of the photo."""
    tags = getattr(image, "tag_v2", {})
    exif, stored = Image.Exif(), image.getexif()
    for tag in DESCRIPTIVE:
        if tag in tags:
            exif[tag] = tags[tag]
    for ifd in (EXIF_IFD, GPS_IFD):
        exif.get_ifd(ifd).update(stored.get_ifd(ifd))
    if not len(exif) and not any(exif.get_ifd(ifd) for ifd in (EXIF_IFD, GPS_IFD)):
        return None
    return _serialised(exif)


def _serialised(exif: Image.Exif) -> bytes | None:
    """The block's bytes, leaving out values that Pillow cannot write."""
    for ifd in (EXIF_IFD, GPS_IFD):
        if not exif.get_ifd(ifd):
            exif._ifds.pop(ifd, None)  # an empty directory is none
    try:
        return exif.tobytes()[6:]
    except (ValueError, TypeError, struct.error, OverflowError, AttributeError):
        return None


def upright_exif(exif: bytes) -> bytes | None:
    """The EXIF block with orientation 1 and no thumbnail, all else to the byte; None where it is broken.

    Changed in place, because the makers' own notes hold offsets that another order of the values would break.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    block = bytearray(exif)
    if order is None:
        return None
    try:
        first = struct.unpack_from(order + "I", block, 4)[0]
        entries = _entries(block, order, first)
        if ORIENTATION in entries:
            place, kind = entries[ORIENTATION]
            struct.pack_into(order + ("H" if kind == 3 else "I"), block, place, 1)
        link = first + 2 + 12 * struct.unpack_from(order + "H", block, first)[0]
        second = struct.unpack_from(order + "I", block, link)[0] if link + 4 <= len(block) else 0
        if second:
            struct.pack_into(order + "I", block, link, 0)
            _drop_thumbnail(block, order, second)
    except struct.error:
        return None
    return bytes(block)


def _entries(block: bytearray, order: str, place: int) -> dict[int, tuple[int, int]]:
    """Of each tag in the directory at `place`: where its value stands, and of what type that is."""
    (count,) = struct.unpack_from(order + "H", block, place)
    found = {}
    for at in range(place + 2, place + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", block, at)
        found[tag] = (at + 8, kind)
    return found


def _drop_thumbnail(block: bytearray, order: str, directory: int) -> None:
    try:
        entries = _entries(block, order, directory)
        for offset_tag, length_tag in THUMBNAIL_PARTS:
            if offset_tag in entries and length_tag in entries:
                start, size = (_number(block, order, *entries[tag]) for tag in (offset_tag, length_tag))
                if start + size >= len(block) > start >= 8:
                    del block[start:]
                elif start >= 8:
                    block[start : start + size] = bytes(max(size, 0))
    except struct.error:  # a thumbnail that is not where the block says: nothing points to it any more
        return


def _number(block: bytearray, order: str, place: int, kind: int) -> int:
    return struct.unpack_from(order + ("H" if kind == 3 else "I"), block, place)[0]


def _upright_xmp(xmp: bytes) -> bytes:
    """The XMP packet with orientation 1 and without thumbnails."""
    xmp = re.sub(rb"<xmp:Thumbnails>.*?</xmp:Thumbnails>", b"", xmp, flags=re.DOTALL)
    return re.sub(rb"(tiff:Orientation(?:\s*=\s*[\"']|>\s*))[2-8]", rb"\g<1>1", xmp)


def _text(image: Image.Image) -> tuple[tuple[str, str], ...]:
    """The texts of a PNG, the comment of a JPEG or GIF."""
    texts = getattr(image, "text", None) if image.format == "PNG" else None
    pairs = [
        (key, str(value))
        for key, value in (texts or {}).items()
        if isinstance(key, str) and key not in PLACED_ELSEWHERE
    ]
    comment = image.info.get("comment")
    if isinstance(comment, bytes) and comment and texts is None:
        try:
            pairs.append(("Comment", comment.decode("utf-8")))
        except UnicodeDecodeError:
            pairs.append(("Comment", comment.decode("latin-1")))
    return tuple(pairs)


def _dpi(image: Image.Image) -> tuple[float, float] | None:
    """The resolution where the file states one, itself or in its EXIF: Pillow makes one up for JPEG and TIFF."""
    pair = None if image.format == "TIFF" else image.info.get("dpi")
    if image.format in ("JPEG", "MPO") and image.info.get("jfif_unit") not in (1, 2):
        pair = None
    try:
        if pair is None:
            exif = image.getexif()
            unit = {2: 1, 3: 2.54}[exif.get(296, 2)]
            pair = float(exif[282]) * unit, float(exif.get(283, exif[282])) * unit
        across, down = (float(value) for value in pair)
    except Exception:  # not there, or a broken block
        return None
    good = all(math.isfinite(value) and 0.01 < value < 100_000 for value in (across, down))
    return (across, down) if good else None


def exif_with_all(metadata: Metadata) -> bytes | None:
    """The EXIF block for formats without a place of their own for texts and resolution, which it then holds too."""
    exif = Image.Exif()
    if metadata.exif:
        exif.load(b"Exif\0\0" + metadata.exif)
    added = False
    if metadata.text and USER_COMMENT not in exif.get_ifd(EXIF_IFD):
        exif.get_ifd(EXIF_IFD)[USER_COMMENT] = b"UNICODE\0" + _lines(metadata.text).encode("utf-16-be", "replace")
        added = True
    if metadata.dpi and 282 not in exif:
        exif[282], exif[283], exif[296] = *(TiffImagePlugin.IFDRational(round(v * 100), 100) for v in metadata.dpi), 2
        added = True
    return _serialised(exif) if added else metadata.exif


def _lines(text: tuple[tuple[str, str], ...]) -> str:
    """One text as it is, several with their keywords."""
    return text[0][1] if len(text) == 1 else "\n".join(f"{keyword}: {value}" for keyword, value in text)


def put_in_directory(metadata: Metadata, put: Callable[[int, Any], None]) -> None:
    """Hand what the metadata says to `put(tag, value)` of a TIFF directory."""
    block = exif_with_all(Metadata(metadata.exif, text=metadata.text))
    if block:
        exif = Image.Exif()
        exif.load(b"Exif\0\0" + block)
        for tag in exif:
            if tag in DESCRIPTIVE:
                put(tag, exif[tag])
        for ifd in (EXIF_IFD, GPS_IFD):
            if values := dict(exif.get_ifd(ifd)):
                put(ifd, values)
    if metadata.xmp:
        put(700, metadata.xmp)
    if metadata.iptc:
        put(IPTC_TAG, metadata.iptc)
    if metadata.dpi:
        for tag, value in zip((282, 283), metadata.dpi, strict=True):
            put(tag, TiffImagePlugin.IFDRational(round(value * 10_000), 10_000))
        put(296, 2)
