"""What a JPEG holds in segments of at most 64 kB that Pillow neither joins nor splits: long XMP, and IPTC."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterator, Sequence

LONGEST = 65533
"""Bytes that a segment's body can have."""
EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
PHOTOSHOP = b"Photoshop 3.0\0"
IPTC_RESOURCE = 0x0404
MOST_XMP = LONGEST - 29
"""Bytes of an XMP packet that fit into the one segment of the usual kind, behind its name."""

Segments = Sequence[tuple[str, bytes]]
"""Names and bodies of a JPEG's application segments, as Pillow's `applist` has them."""

NOTE = re.compile(
    rb"\s*xmpNote:HasExtendedXMP\s*=\s*[\"'](\w{32})[\"']|<xmpNote:HasExtendedXMP>\s*(\w{32})\s*</xmpNote:HasExtendedXMP>"
)
RDF = re.compile(rb"<rdf:RDF([^>]*)>(.*)</rdf:RDF>", re.DOTALL)


def whole_xmp(packet: bytes, segments: Segments) -> bytes:
    """The XMP packet with its extension (XMP specification, part 3, 1.1.3.1); as it is where that is not whole."""
    note = NOTE.search(packet)
    if note is None:
        return packet
    extension = _joined(note[1] or note[2], segments)
    inside = RDF.search(extension)
    own = RDF.search(packet)
    if inside is None or own is None or _namespaces(inside[1]) - _namespaces(own[1]):
        return packet
    end = own.end(2)
    return NOTE.sub(b"", packet[:end]) + inside[2] + packet[end:]


def _namespaces(attributes: bytes) -> set[bytes]:
    return set(re.findall(rb"xmlns:\w+\s*=\s*[\"'][^\"']*[\"']", attributes))


def _joined(key: bytes, segments: Segments) -> bytes:
    """The extension of this name; nothing where a part is missing, or not what the name says."""
    start = EXTENSION + key
    bodies = [body[len(start) :] for name, body in segments if name == "APP1" and body.startswith(start)]
    parts = dict(sorted((struct.unpack_from(">I", body, 4)[0], body[8:]) for body in bodies if len(body) >= 8))
    joined = b"".join(parts.values())
    return joined if hashlib.md5(joined, usedforsecurity=False).hexdigest().upper().encode() == key.upper() else b""


def split_xmp(xmp: bytes) -> tuple[bytes, bytes]:
    """A packet that fits into a segment, and the segments of the rest; none where it fits as it is, or is no XMP."""
    rdf = None if len(xmp) <= MOST_XMP else RDF.search(xmp)
    if rdf is None:
        return xmp, b""
    whole = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">' + rdf[0] + b"</x:xmpmeta>"
    key = hashlib.md5(whole, usedforsecurity=False).hexdigest().upper().encode()
    head = EXTENSION + key + struct.pack(">I", len(whole))
    step = LONGEST - len(head) - 4
    parts = (head + struct.pack(">I", at) + whole[at : at + step] for at in range(0, len(whole), step))
    packet = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF' + rdf[1] + b'><rdf:Description rdf:about="" '
        b'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="' + key + b'"></rdf:Description>'
        b"</rdf:RDF></x:xmpmeta>"
    )
    return packet, b"".join(_segment(0xE1, part) for part in parts)


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def iptc_of_segments(segments: Segments) -> bytes | None:
    """The IPTC block, which one or several segments hold among Photoshop's resources."""
    bodies = [body.removeprefix(PHOTOSHOP) for name, body in segments if name == "APP13" and body.startswith(PHOTOSHOP)]
    return iptc_of_resources(b"".join(bodies))


def iptc_of_resources(resources: bytes) -> bytes | None:
    """The IPTC block among Photoshop's resources; None where there is none, or they are broken."""
    return next((body for number, body in _resources(resources) if number == IPTC_RESOURCE and body), None)


def _resources(data: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while data[place : place + 4] == b"8BIM" and place + 12 <= len(data):
        number = int.from_bytes(data[place + 4 : place + 6], "big")
        start = place + 6 + (data[place + 6] + 2) // 2 * 2  # a name with its length, an even number of bytes
        length = int.from_bytes(data[start : start + 4], "big")
        body = data[start + 4 : start + 4 + length]
        if len(body) < length:
            return
        yield number, body
        place = start + 4 + length + length % 2


def resources_of_iptc(iptc: bytes) -> bytes:
    """Photoshop's resources with nothing but the IPTC block."""
    return b"8BIM" + struct.pack(">HHI", IPTC_RESOURCE, 0, len(iptc)) + iptc + b"\0" * (len(iptc) % 2)


def segments_of_iptc(iptc: bytes) -> bytes:
    """The segments of an IPTC block."""
    data, step = resources_of_iptc(iptc), LONGEST - len(PHOTOSHOP)
    return b"".join(_segment(0xED, PHOTOSHOP + data[at : at + step]) for at in range(0, len(data), step))
