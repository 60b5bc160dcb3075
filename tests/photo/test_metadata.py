"""What the file says of the photo is in the result, in every kind of file; --strip-metadata takes it out."""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageCms, PngImagePlugin, features

from clrface_core.photo import Metadata, Photo, read_photo, write_photo

KINDS = [".png", ".jpg", ".webp", ".tif", *([".avif"] if features.check("avif") else [])]
EXIF, GPS = ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo
XMP = (
    b'<?xpacket begin="" id="W5M0"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description tiff:Orientation="6" dc:title="t" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"/></rdf:RDF></x:xmpmeta>'
)


def exif_block(orientation: int = 6) -> Image.Exif:
    exif = Image.Exif()
    exif[306], exif[271], exif[274] = "1943:05:01 10:00:00", "Kodak", orientation
    exif.get_ifd(EXIF)[0x9003] = "1943:05:01 10:00:00"
    exif.get_ifd(GPS).update({1: "N", 2: (40.0, 30.0, 0.0), 3: "W", 4: (74.0, 0.0, 0.0)})
    return exif


@pytest.fixture
def jpeg(tmp_path: Path, smooth: Callable[..., Image.Image]) -> Path:
    smooth().save(tmp_path / "in.jpg", exif=exif_block(), dpi=(300, 300), xmp=XMP, comment=b"a letter")
    return tmp_path / "in.jpg"


def opened(path: Path) -> Any:
    image = Image.open(path)
    exif = image.getexif()
    values = {tag: exif.get(tag) for tag in (271, 274, 306)}, dict(exif.get_ifd(EXIF)), dict(exif.get_ifd(GPS))
    image.load()
    return image, *values


@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("then", KINDS)
def test_exif_gps_and_xmp_go_from_any_kind_to_any(tmp_path: Path, jpeg: Path, first: str, then: str) -> None:
    write_photo(tmp_path / f"a{first}", read_photo(jpeg))
    write_photo(tmp_path / f"b{then}", read_photo(tmp_path / f"a{first}"))
    image, tags, exif, gps = opened(tmp_path / f"b{then}")
    assert image.size == (96, 128)  # upright, so that
    assert tags[274] in (1, None)
    assert (tags[271], tags[306], exif[0x9003]) == ("Kodak", "1943:05:01 10:00:00", "1943:05:01 10:00:00")
    assert gps[1] == "N" and gps[2] == (40, 30, 0) and gps[4] == (74, 0, 0)
    assert image.info["xmp"] == XMP.replace(b'Orientation="6"', b'Orientation="1"')
    if then in (".png", ".jpg", ".tif"):
        assert image.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    assert read_photo(tmp_path / f"b{then}").rgb.shape == (3, 128, 96)


@pytest.mark.parametrize("kind", KINDS)
def test_metadata_is_stripped_where_asked_but_not_the_profile(tmp_path: Path, jpeg: Path, kind: str) -> None:
    icc = read_photo(jpeg).icc
    assert icc is None
    write_photo(tmp_path / f"out{kind}", read_photo(jpeg), strip_metadata=True)
    data = (tmp_path / f"out{kind}").read_bytes()
    assert not any(word in data for word in (b"Kodak", b"1943", b"xpacket", b"a letter"))
    assert read_photo(tmp_path / f"out{kind}").metadata == Metadata()


def test_png_texts_are_kept_in_png_and_readable_elsewhere(tmp_path: Path, smooth: Callable[..., Image.Image]) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Author", "Müller")
    texts.add_itxt("Title", "写真")
    smooth().save(tmp_path / "in.png", pnginfo=texts)
    photo = read_photo(tmp_path / "in.png")
    write_photo(tmp_path / "out.png", photo)
    with Image.open(tmp_path / "out.png") as image:
        assert isinstance(image, PngImagePlugin.PngImageFile)
        assert image.text == {"Author": "Müller", "Title": "写真"}
    for kind in KINDS[1:]:
        write_photo(tmp_path / f"out{kind}", photo)
        comment = opened(tmp_path / f"out{kind}")[2][0x9286]
        assert comment == b"UNICODE\0" + "Author: Müller\nTitle: 写真".encode("utf-16-be")


def test_a_jpeg_comment_stays_one(tmp_path: Path, jpeg: Path) -> None:
    write_photo(tmp_path / "out.jpg", read_photo(jpeg))
    assert Image.open(tmp_path / "out.jpg").info["comment"] == b"a letter"
    write_photo(tmp_path / "out.png", read_photo(jpeg))
    assert dict(read_photo(tmp_path / "out.png").metadata.text) == {"Comment": "a letter"}


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_thumbnail_is_dropped_and_makers_notes_stay_to_the_byte(
    tmp_path: Path, smooth: Callable[..., Image.Image], order: str
) -> None:
    notes, thumbnail = b"MAKER" * 20, b"\xff\xd8THUMBNAIL\xff\xd9"
    first, sub, second = 8, 8 + 2 + 2 * 12 + 4, 8 + 2 + 2 * 12 + 4 + 2 + 12 + 4
    place = second + 2 + 2 * 12 + 4
    block = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", first, 2)
    block += struct.pack(order + "HHIHH", 274, 3, 1, 8, 0) + struct.pack(order + "HHIII", 0x8769, 4, 1, sub, second)
    block += struct.pack(order + "HHHIII", 1, 0x927C, 7, len(notes), place, 0)
    block += struct.pack(order + "HHHIIHHIII", 2, 0x201, 4, 1, place + len(notes), 0x202, 4, 1, len(thumbnail), 0)
    smooth().save(tmp_path / "in.jpg", exif=b"Exif\0\0" + block + notes + thumbnail)
    photo = read_photo(tmp_path / "in.jpg")
    assert photo.rgb.shape == (3, 128, 96)
    exif = photo.metadata.exif
    assert exif is not None and b"THUMBNAIL" not in exif and exif[place : place + len(notes)] == notes
    write_photo(tmp_path / "out.jpg", photo)
    data = (tmp_path / "out.jpg").read_bytes()
    assert notes in data and b"THUMBNAIL" not in data
    assert Image.open(tmp_path / "out.jpg").getexif()[274] == 1


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff"]
)
def test_a_broken_exif_block_is_no_reason_to_refuse_the_pixels(
    tmp_path: Path, smooth: Callable[..., Image.Image], exif: bytes
) -> None:
    smooth().save(tmp_path / "in.jpg", exif=exif)
    for name in ("out.png", "out.jpg", "out.tif"):
        write_photo(tmp_path / name, read_photo(tmp_path / "in.jpg"))
        assert read_photo(tmp_path / name).rgb.shape == (3, 96, 128)


def test_no_resolution_is_made_up(tmp_path: Path, smooth: Callable[..., Image.Image]) -> None:
    exif = Image.Exif()
    exif[271] = "Kodak"
    smooth().save(tmp_path / "in.jpg", exif=exif)
    smooth().save(tmp_path / "in.tif")
    for name in ("in.jpg", "in.tif"):
        assert read_photo(tmp_path / name).metadata.dpi is None


def test_what_a_format_cannot_hold_is_said(tmp_path: Path) -> None:
    huge = Photo(torch.zeros(3, 4, 4), metadata=Metadata(xmp=b"x" * 70_000))
    with pytest.raises(ValueError, match="JPEG can hold"):
        write_photo(tmp_path / "out.jpg", huge)
    write_photo(tmp_path / "out.png", huge)
    assert read_photo(tmp_path / "out.png").metadata.xmp == b"x" * 70_000
    assert not (tmp_path / "out.jpg").exists()


def test_a_pil_image_brings_its_metadata(jpeg: Path) -> None:
    from clrface_core.photo import as_photo

    assert as_photo(Image.open(jpeg)).metadata == read_photo(jpeg).metadata
    assert as_photo(Image.open(io.BytesIO(jpeg.read_bytes()))).metadata == read_photo(jpeg).metadata


LONG_XMP = (
    b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:rights>Kodak</dc:rights><dc:source>%s</dc:source>'
    b'</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
"""A packet with room for more."""
IPTC = b"\x1c\x02\x78\x00\x07Caption" + b"\x1c\x02\x19\x00\x04navy" * 9000
"""An IPTC block of 81 kB, which no segment of a JPEG holds alone."""


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
def test_xmp_and_iptc_of_more_than_64_kb_go_from_any_kind_to_any(tmp_path: Path, name: str) -> None:
    texts = [bytes(97 + (at * at + run) % 26 for at in range(30_000)) for run in range(7)]
    first = Photo(
        torch.rand(3, 8, 8).mul(255).round() / 255, metadata=Metadata(xmp=LONG_XMP % b"".join(texts), iptc=IPTC)
    )
    write_photo(tmp_path / name, first)
    for again in ("b.jpg", "b.png", "b.tif"):
        known = read_photo(tmp_path / name).metadata
        assert known.iptc == IPTC
        assert known.xmp is not None and all(text in known.xmp for text in (b"<dc:rights>Kodak", *texts))
        assert b"HasExtendedXMP" not in known.xmp and known.xmp.count(b"</rdf:RDF>") == 1
        write_photo(tmp_path / again, read_photo(tmp_path / name))
        name = again
    write_photo(tmp_path / "bare.jpg", first, strip_metadata=True)
    bare = (tmp_path / "bare.jpg").read_bytes()
    assert len(bare) < 5000 and b"Kodak" not in bare and b"Caption" not in bare


def test_an_extension_of_xmp_that_is_not_whole_is_left_out(tmp_path: Path) -> None:
    long = bytes(97 + at * at % 26 for at in range(200_000))
    write_photo(tmp_path / "a.jpg", Photo(torch.zeros(3, 8, 8), metadata=Metadata(xmp=LONG_XMP % long)))
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data.replace(long[70_000:70_010], b"0123456789"))
    known = read_photo(tmp_path / "a.jpg").metadata
    assert known.xmp is not None and b"<dc:source>" not in known.xmp


def test_a_large_profile_in_a_png_is_no_damage(tmp_path: Path) -> None:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile += np.random.default_rng(0).bytes(3 * 2**20)  # as the tables of a printer
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", icc_profile=bytes(profile))
    assert read_photo(tmp_path / "a.png").icc == bytes(profile)
