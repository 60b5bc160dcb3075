"""Colour labels: reading them from any file, and turning each into a profile, which every format can hold."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageCms

from .photo import ColorCoding
from .png import SIGNATURE, read_coding

D50 = np.array([0.9642, 1.0, 0.8249])
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])

D65, DCI, C, EQUAL = (0.3127, 0.3290), (0.314, 0.351), (0.310, 0.316), (1 / 3, 1 / 3)
PRIMARIES = {
    1: (*D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06),
    4: (*C, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    8: (*C, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),
    9: (*D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    10: (*EQUAL, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0),
    11: (*DCI, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (*D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
"""x and y of white, red, green, blue: ITU-T H.273, table 2."""

CURVES = {
    **dict.fromkeys((1, 6, 14, 15), (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)),
    4: (2.2,),
    5: (2.8,),
    7: (1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 0.0912),
    8: (1.0,),
    13: (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
    17: (2.6,),
}
"""Values to light, as a profile's parametric curve: exponent; exponent, a, b, c, d. H.273, table 3."""


def space(icc: bytes) -> bytes:
    """The colour model of a profile: b"RGB ", b"GRAY", b"CMYK", ..."""
    return icc[16:20]


def read_profile(image: Image.Image) -> bytes | None:
    """The profile that the values of the opened picture, as grey or RGB, are meant in."""
    icc = image.info.get("icc_profile")
    if not isinstance(icc, bytes) or image.mode in ("CMYK", "LAB"):  # these are converted, see `decode`
        return None
    return icc if space(icc) in (b"RGB ", b"GRAY") else None


def read_coding_of(image: Image.Image, data: bytes | None) -> ColorCoding:
    """The other labels: of the file where it is known, else what Pillow has kept of them."""
    if data is not None and data.startswith(SIGNATURE):
        return read_coding(data)
    if data is not None and image.format == "AVIF":
        return ColorCoding(cicp=_nclx(data))
    if "nclx_profile" in image.info:  # pillow-heif
        nclx = image.info["nclx_profile"] or {}
        numbers = [nclx.get(f"{name}", 2) for name in ("color_primaries", "transfer_characteristics")]
        return ColorCoding(cicp=_unless_srgb(int(numbers[0]), int(numbers[1])))
    if image.format == "PNG":
        info = image.info
        return ColorCoding(None, info.get("gamma"), info.get("chromaticity"), info.get("srgb"))
    return ColorCoding()


def _nclx(data: bytes) -> tuple[int, int, int, int] | None:
    """The numbers in the first nclx box of an AVIF file, unless they mean sRGB."""
    for body in _boxes(data, [b"meta", b"iprp", b"ipco", b"colr"]):
        if body[:4] == b"nclx" and len(body) >= 8:
            return _unless_srgb(*struct.unpack_from(">HH", body, 4))
    return None


def _unless_srgb(primaries: int, transfer: int) -> tuple[int, int, int, int] | None:
    """The label of RGB values (no matrix, full range); None stands for sRGB and for "unspecified"."""
    primaries = 1 if primaries == 2 else primaries
    transfer = 13 if transfer == 2 else transfer
    return None if (primaries, transfer) == (1, 13) or max(primaries, transfer) > 255 else (primaries, transfer, 0, 1)


def _boxes(data: bytes, path: list[bytes]) -> Iterator[bytes]:
    """The bodies of the boxes (ISO 14496-12) at a path."""
    place = 0
    while place + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, place)
        start = 8
        if size == 1 and place + 16 <= len(data):
            size, start = struct.unpack_from(">Q", data, place + 8)[0], 16
        size = size or len(data) - place
        if size < start:
            return
        if name == path[0]:
            body = data[place + start : place + size]
            if len(path) == 1:
                yield body
            else:
                yield from _boxes(body[4:] if name == b"meta" else body, path[1:])
        place += size


def profile_of(coding: ColorCoding, grey: bool) -> bytes | None:
    """A profile that says what a coding says; None for sRGB, and for numbers that H.273 has no colours for."""
    if coding.cicp:
        primaries, transfer = coding.cicp[:2]
        curve = _curve(transfer)
        if curve is None or (primaries, transfer) == (1, 13):
            return None
        return _profile(PRIMARIES.get(primaries, PRIMARIES[1]), curve, grey)
    if coding.srgb is not None or not (coding.gamma or coding.chromaticities):
        return None
    curve = _parametric((1 / coding.gamma,)) if coding.gamma else _parametric(CURVES[13])
    return _profile(coding.chromaticities or PRIMARIES[1], curve, grey)


def _curve(transfer: int) -> bytes | None:
    if transfer in CURVES:
        return _parametric(CURVES[transfer])
    values = np.linspace(0, 1, 4096)
    if transfer == 16:  # PQ, SMPTE ST 2084, of 10,000 cd/m2
        root = values ** (1 / 78.84375)
        light = (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
    elif transfer == 18:  # HLG, ARIB STD-B67
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12)
    else:
        return None
    return b"curv\0\0\0\0" + struct.pack(">I", len(light)) + (light * 65535).round().astype(">u2").tobytes()


def _parametric(numbers: tuple[float, ...]) -> bytes:
    kind = 0 if len(numbers) == 1 else 3
    return b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + _fixed(numbers)


def _fixed(numbers: object) -> bytes:
    return b"".join(struct.pack(">i", round(float(value) * 65536)) for value in np.asarray(numbers).ravel())


def _text(text: str) -> bytes:
    data = text.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(data), 28) + data


def _profile(chromaticities: tuple[float, ...], curve: bytes, grey: bool) -> bytes:
    """A version 4 display profile (ICC.1) of one curve, and of primaries where it is for colours."""
    xyz = np.array([[x / y, 1, (1 - x - y) / y] if y else [x, 0, 1 - x] for x, y in _pairs(chromaticities)])
    white = xyz[0]
    to_d50 = np.linalg.inv(BRADFORD) @ np.diag((BRADFORD @ D50) / (BRADFORD @ white)) @ BRADFORD
    tags = [(b"desc", _text("as the file said")), (b"cprt", _text("none")), (b"wtpt", b"XYZ \0\0\0\0" + _fixed(D50))]
    tags.append((b"chad", b"sf32\0\0\0\0" + _fixed(to_d50)))
    if grey:
        tags.append((b"kTRC", curve))
    else:
        columns = to_d50 @ (xyz[1:].T * np.linalg.solve(xyz[1:].T, white))
        tags += [(name, b"XYZ \0\0\0\0" + _fixed(columns[:, i])) for i, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))]
        tags += [(name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")]
    return _assemble(tags, b"GRAY" if grey else b"RGB ")


def _pairs(numbers: tuple[float, ...]) -> list[tuple[float, float]]:
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _assemble(tags: list[tuple[bytes, bytes]], model: bytes) -> bytes:
    """The bytes of a profile: header, table, and each distinct body once."""
    places: dict[bytes, int] = {}
    body, table, start = b"", struct.pack(">I", len(tags)), 128 + 4 + 12 * len(tags)
    for name, data in tags:
        if data not in places:
            places[data] = start + len(body)
            body += data + b"\0" * (-len(data) % 4)
        table += name + struct.pack(">II", places[data], len(data))
    size = 128 + len(table) + len(body)
    head = struct.pack(">I4sI4s4s4s12x4s", size, b"\0" * 4, 0x04300000, b"mntr", model, b"XYZ ", b"acsp")
    return head.ljust(68, b"\0") + _fixed(D50) + b"\0" * 48 + table + body


def grey_profile(icc: bytes) -> bytes | None:
    """The profile for grey values that an RGB profile means; None where its three curves differ or are no curves."""
    count = struct.unpack_from(">I", icc, 128)[0] if len(icc) > 132 else 0
    table = [struct.unpack_from(">4sII", icc, 132 + 12 * i) for i in range(min(count, 100)) if len(icc) >= 144 + 12 * i]
    tags = {name: icc[place : place + size] for name, place, size in table}
    curves = {tags.get(name) for name in (b"rTRC", b"gTRC", b"bTRC")}
    curve = curves.pop()
    if curves or curve is None or icc[20:24] != b"XYZ " or b"A2B0" in tags:
        return None
    return _profile(PRIMARIES[1], curve, grey=True)


def grey_to_srgb(icc: bytes) -> np.ndarray | None:
    """What a grey profile makes of 256 values from 0 to 1, in sRGB (256,) float; None for a broken profile."""
    ramp = Image.frombytes("L", (256, 1), bytes(range(256)))
    try:
        source, target = ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(ramp, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return None
    return None if converted is None else np.asarray(converted)[0, :, 1].astype(np.float32) / 255
