"""Colour labels: profiles and other labels travel or are applied."""

import io
import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, features

from clrface_core.photo import ColorCoding, Photo, as_photo, color, png, read_photo, write_photo

RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(0, 256, (11, 14, 4), dtype=np.uint8)
WORDS = RANDOM.integers(0, 65536, (11, 14, 4), dtype=np.uint16)


def cmyk_profile() -> bytes:
    """A CMYK profile after ICC.1 in which ink k alone counts: it takes lightness from 100 to 0."""
    ramp = bytes(range(256))
    colours = b"".join(bytes([0 if corner & 1 else 255, 128, 128]) for corner in range(16))
    matrix = b"".join(struct.pack(">i", 65536 * (i in (0, 4, 8))) for i in range(9))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + ramp * 4 + colours + ramp * 3
    words = [b"text\0\0\0\0none\0\0\0\0", b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061), table]
    head = struct.pack(">I4sI4s4s4s", 0, b"lcms", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    head = (head + b"\0" * 12 + b"acsp").ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    offset, index, body = 128 + 4 + 3 * 12, struct.pack(">I", 3), b""
    for name, word in zip((b"cprt", b"wtpt", b"A2B0"), words, strict=True):
        index += struct.pack(">4sII", name, offset + len(body), len(word))
        body += word.ljust(-(-len(word) // 4) * 4, b"\0")
    profile = head.ljust(128, b"\0") + index + body
    return struct.pack(">I", len(profile)) + profile[4:]


def test_cmyk_without_profile(
    tmp_path: Path, smooth: Callable[..., Image.Image], save: Callable[..., Path], stored: Callable[[Photo], np.ndarray]
) -> None:
    path = save(tmp_path / "in.jpg", smooth().convert("CMYK"), quality=98)
    photo = read_photo(path)
    assert np.abs(stored(photo) - np.asarray(smooth())).mean() < 3
    assert photo.icc is None


def test_adobe_cmyk_is_not_inverted(
    tmp_path: Path, smooth: Callable[..., Image.Image], save: Callable[..., Path], stored: Callable[[Photo], np.ndarray]
) -> None:
    path = save(tmp_path / "in.jpg", smooth().convert("CMYK"), quality=98)
    assert b"Adobe" in path.read_bytes()  # the mark of inverted values
    other = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert other is not None
    assert np.abs(stored(read_photo(path)) - other[..., ::-1].astype(int)).mean() < 3


def test_cmyk_goes_through_its_profile(
    tmp_path: Path, save: Callable[..., Path], stored: Callable[[Photo], np.ndarray]
) -> None:
    image = Image.merge("CMYK", [Image.new("L", (16, 16), ink) for ink in (255, 0, 255, 0)])
    photo = read_photo(save(tmp_path / "in.jpg", image, quality=98, icc_profile=cmyk_profile()))
    assert stored(photo).min() > 250  # green without the profile, white with it
    assert photo.icc is None


def test_broken_cmyk_profile_is_ignored(
    tmp_path: Path, smooth: Callable[..., Image.Image], save: Callable[..., Path], stored: Callable[[Photo], np.ndarray]
) -> None:
    path = save(tmp_path / "in.jpg", smooth().convert("CMYK"), quality=98, icc_profile=b"no profile")
    assert np.abs(stored(read_photo(path)) - np.asarray(smooth())).mean() < 3


def test_colour_profile_is_kept(tmp_path: Path, save: Callable[..., Path]) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo = read_photo(save(tmp_path / "in.png", Image.fromarray(BYTES[..., :3]), icc_profile=icc))
    for bits in (8, 16):
        write_photo(tmp_path / "out.png", Photo(photo.rgb, photo.alpha, bits, icc=photo.icc))
        with Image.open(tmp_path / "out.png") as image:
            image.load()
            assert image.info["icc_profile"] == icc


def profile(curve: float, grey: bool) -> bytes:
    """A profile of the Display P3 primaries, or a grey one, with a plain gamma."""
    return color._profile(color.PRIMARIES[12], color._parametric((curve,)), grey)


def in_srgb(path: Path) -> np.ndarray:
    """The picture (H,W,3) in sRGB, through the profile in the file."""
    with Image.open(path) as image:
        icc = image.info.get("icc_profile")
        if icc is None:
            return np.asarray(image.convert("RGB")).astype(int)
        source, target = ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
        plain = image if image.mode in ("L", "RGB") else image.convert("RGB")
        converted = ImageCms.profileToProfile(plain, source, target, outputMode="RGB")
        assert converted is not None
        return np.asarray(converted).astype(int)


EXACT = [".png", ".tif"]
CODED = [".png", ".tif", ".jpg", ".webp", *([".avif"] if features.check("avif") else [])]


@pytest.mark.parametrize("kind", CODED)
@pytest.mark.parametrize("grey", [False, True])
def test_a_profile_goes_into_every_kind(
    tmp_path: Path, smooth: Callable[..., Image.Image], kind: str, grey: bool
) -> None:
    icc = profile(1.8, grey)
    smooth().convert("L" if grey else "RGB").save(tmp_path / "in.png", icc_profile=icc)
    write_photo(tmp_path / f"out{kind}", read_photo(tmp_path / "in.png"), quality=100)
    with Image.open(tmp_path / f"out{kind}") as image:
        if not (grey and kind in (".webp", ".avif")):
            assert image.info["icc_profile"] == icc
    assert np.abs(in_srgb(tmp_path / f"out{kind}") - in_srgb(tmp_path / "in.png")).mean() < 1.5


def test_a_grey_profile_beside_colours_is_applied(tmp_path: Path, smooth: Callable[..., Image.Image]) -> None:
    smooth().convert("L").save(tmp_path / "in.png", icc_profile=profile(1.4, True))
    photo = read_photo(tmp_path / "in.png")
    rgb = photo.rgb.clone()
    rgb[:, :4, :4] = torch.tensor([1.0, 0, 0])[:, None, None]
    write_photo(tmp_path / "out.png", photo.with_rgb(rgb))
    with Image.open(tmp_path / "out.png") as image:
        assert image.mode == "RGB" and "icc_profile" not in image.info
    difference = np.abs(in_srgb(tmp_path / "out.png") - in_srgb(tmp_path / "in.png"))[4:]
    assert difference.max() <= 1  # the same light from other values


def test_an_rgb_profile_on_grey_becomes_a_grey_one(tmp_path: Path, smooth: Callable[..., Image.Image]) -> None:
    smooth().convert("L").save(tmp_path / "in.jpg", icc_profile=profile(1.4, False), quality=95)
    photo = read_photo(tmp_path / "in.jpg")
    write_photo(tmp_path / "out.png", photo)
    with Image.open(tmp_path / "out.png") as image:
        assert image.mode == "L" and image.info["icc_profile"][16:20] == b"GRAY"
    values = np.asarray(Image.open(tmp_path / "in.jpg").convert("RGB"))
    Image.fromarray(values).save(tmp_path / "as_rgb.png", icc_profile=profile(1.4, False))
    assert np.abs(in_srgb(tmp_path / "out.png") - in_srgb(tmp_path / "as_rgb.png")).max() <= 1


def test_png_labels_stay_as_they_are_in_png(tmp_path: Path, save_words: Callable[..., Path]) -> None:
    chunks = {
        "cICP": bytes([12, 13, 0, 1]),
        "gAMA": struct.pack(">I", 55555),
        "cHRM": struct.pack(">8I", *(round(v * 1e5) for v in color.PRIMARIES[12])),
    }
    for channels in (1, 3):
        path = save_words(tmp_path / "in.png", WORDS[..., :channels], **chunks)
        write_photo(tmp_path / "out.png", read_photo(path))
        found = {name.decode(): body for name, body, _ in png.chunks((tmp_path / "out.png").read_bytes())}
        assert chunks.items() <= found.items()


@pytest.mark.parametrize("kind", CODED[1:])
@pytest.mark.parametrize("numbers", [(12, 13), (9, 1), (1, 8), (1, 4)])
def test_cicp_becomes_a_profile_elsewhere(
    tmp_path: Path, smooth: Callable[..., Image.Image], kind: str, numbers: tuple[int, int]
) -> None:
    rgb = torch.from_numpy(np.asarray(smooth()).copy()).permute(2, 0, 1) / 255
    write_photo(tmp_path / f"out{kind}", Photo(rgb, coding=ColorCoding(cicp=(*numbers, 0, 1))), quality=95)
    icc = read_photo(tmp_path / f"out{kind}").icc
    assert icc is not None
    meant = ImageCms.ImageCmsProfile(io.BytesIO(icc)).profile
    x, y = color.PRIMARIES[numbers[0]][2:4]
    red = meant.chromaticity[0] if meant.chromaticity else None
    if red is not None:
        assert red[:2] == pytest.approx((x, y), abs=0.03)  # adapted to D50


def test_p3_as_numbers_is_the_display_p3_profile() -> None:
    icc = color.profile_of(ColorCoding(cicp=(12, 13, 0, 1)), grey=False)
    assert icc is not None
    column = struct.unpack_from(">3i", icc, icc.index(b"XYZ \0\0\0\0", 200 + icc[200:].index(b"XYZ \0\0\0\0") + 1) + 8)
    assert [value / 65536 for value in column] == pytest.approx([0.5151, 0.2412, -0.0011], abs=2e-4)  # Apple's own


def test_gamma_becomes_a_profile_elsewhere(tmp_path: Path, smooth: Callable[..., Image.Image]) -> None:
    path = tmp_path / "in.png"
    smooth().save(path)
    data = path.read_bytes()
    path.write_bytes(data[:33] + png.chunk(b"gAMA", struct.pack(">I", 100_000)) + data[33:])  # linear light
    write_photo(tmp_path / "out.tif", read_photo(path))
    linear = np.asarray(smooth()) / 255
    expected = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055) * 255
    assert np.abs(in_srgb(tmp_path / "out.tif") - expected).max() < 2


def test_srgb_needs_no_label(tmp_path: Path, smooth: Callable[..., Image.Image]) -> None:
    for coding in (ColorCoding(), ColorCoding(srgb=0, gamma=0.45455), ColorCoding(cicp=(1, 13, 0, 1))):
        assert color.profile_of(coding, grey=False) is None


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_nclx_of_avif_travels(tmp_path: Path, smooth: Callable[..., Image.Image]) -> None:
    smooth().save(tmp_path / "in.avif", quality=95)
    data = (tmp_path / "in.avif").read_bytes()
    place = data.index(b"colrnclx") + 8
    assert read_photo(tmp_path / "in.avif").coding == ColorCoding()
    (tmp_path / "in.avif").write_bytes(data[:place] + struct.pack(">HH", 12, 13) + data[place + 4 :])
    photo = read_photo(tmp_path / "in.avif")
    assert photo.coding.cicp == (12, 13, 0, 1)
    assert as_photo(Image.open(tmp_path / "in.avif")).coding == photo.coding
    write_photo(tmp_path / "out.png", photo)
    assert read_photo(tmp_path / "out.png").coding.cicp == (12, 13, 0, 1)
    write_photo(tmp_path / "out.avif", photo)
    assert read_photo(tmp_path / "out.avif").icc == color.profile_of(photo.coding, grey=False)


def test_lab_is_converted(tmp_path: Path, smooth: Callable[..., Image.Image]) -> None:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    converted = ImageCms.profileToProfile(smooth(), srgb, lab, outputMode="LAB")
    assert converted is not None
    photo = as_photo(converted)
    assert np.abs(photo.rgb.permute(1, 2, 0).numpy() * 255 - np.asarray(smooth())).mean() < 3
