"""The chunks of a PNG file: what Pillow neither reads nor writes, and the same for 8 and 16 bits."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from .metadata import text_of_iptc
from .photo import ColorCoding, Metadata

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER_END = 33
"""Where the header chunk, which must come first, ends."""


def chunk(name: bytes, body: bytes) -> bytes:
    """One chunk of a PNG file."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def chunks(data: bytes, *, to_the_end: bool = False) -> Iterator[tuple[bytes, bytes, bool]]:
    """Name, body and wholeness (its checksum holds) of every chunk, those before the pixels or all."""
    view, place = memoryview(data), len(SIGNATURE)
    while place + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, place)
        if name == b"IDAT" and not to_the_end:
            return
        end = place + 8 + length
        yield name, data[place + 8 : end], data[end : end + 4] == struct.pack(">I", zlib.crc32(view[place + 4 : end]))
        if name == b"IEND":
            return
        place = end + 4


def damaged_chunk(data: bytes) -> bytes | None:
    """The name of a chunk needed for the pixels whose checksum fails: Pillow may draw it all the same."""
    for name, _, whole in chunks(data, to_the_end=True):
        if not whole and (name[:1].isupper() or name in (b"tRNS", b"fdAT", b"fcTL")):
            return name
    return None


def read_coding(data: bytes) -> ColorCoding:
    """What the chunks cICP, gAMA, cHRM and sRGB say."""
    found = {name: body for name, body, whole in chunks(data) if whole}
    cicp, gamma, chrm, srgb = (found.get(name, b"") for name in (b"cICP", b"gAMA", b"cHRM", b"sRGB"))
    return ColorCoding(
        (cicp[0], cicp[1], cicp[2], cicp[3]) if len(cicp) == 4 else None,
        int.from_bytes(gamma, "big") / 100_000 if len(gamma) == 4 and any(gamma) else None,
        tuple(value / 100_000 for value in struct.unpack(">8I", chrm)) if len(chrm) == 32 else None,
        srgb[0] if len(srgb) == 1 else None,
    )


def label(png: bytes, icc: bytes | None, coding: ColorCoding, metadata: Metadata) -> bytes:
    """The PNG file with its labels, in the order that the specification wants."""
    body = b""
    if coding.cicp:
        body += chunk(b"cICP", bytes(coding.cicp))
    if icc:
        body += chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc))
    elif coding.srgb is not None:
        body += chunk(b"sRGB", bytes([coding.srgb]))
    if coding.gamma:
        body += chunk(b"gAMA", struct.pack(">I", round(coding.gamma * 100_000)))
    if coding.chromaticities:
        body += chunk(b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in coding.chromaticities)))
    if metadata.exif:
        body += chunk(b"eXIf", metadata.exif)
    if metadata.dpi:
        body += chunk(b"pHYs", struct.pack(">IIB", *(round(value / 0.0254) for value in metadata.dpi), 1))
    if metadata.xmp:
        body += chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + metadata.xmp)
    if metadata.iptc:
        keyword, text = text_of_iptc(metadata.iptc)
        body += chunk(b"zTXt", keyword.encode() + b"\0\0" + zlib.compress(text.encode()))
    for keyword, text in metadata.text:
        body += _text(keyword, text)
    return png[:HEADER_END] + body + png[HEADER_END:]


def _text(keyword: str, text: str) -> bytes:
    """A text chunk: the plain one where Latin-1 has all the letters, else the international one."""
    name = keyword.encode("latin-1", "replace")[:79] or b"Comment"
    try:
        return chunk(b"tEXt", name + b"\0" + text.encode("latin-1"))
    except UnicodeEncodeError:
        return chunk(b"iTXt", name + b"\0\0\0\0\0" + text.encode("utf-8", "replace"))
