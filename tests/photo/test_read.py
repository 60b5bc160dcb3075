"""Reading any picture and writing it back: every kind of file, exact values, clear refusals, no partial file."""

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageFile, ImageOps

from clrface_core.errors import CLRFaceError
from clrface_core.photo import MAX_PIXELS, Photo, is_picture, read_photo, write_photo

RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(0, 256, (11, 14, 4), dtype=np.uint8)
WORDS = RANDOM.integers(0, 65536, (11, 14, 4), dtype=np.uint16)


def smooth(height: int = 96, width: int = 128) -> Image.Image:
    """A picture that JPEG keeps well."""
    x, y = np.linspace(0, 200, width), np.linspace(20, 255, height)[:, None]
    return Image.fromarray(np.stack(np.broadcast_arrays(x, y, 255 - x), -1).astype(np.uint8))


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def save_words(path: Path, values: np.ndarray, **chunks: bytes) -> Path:
    """A 16-bit PNG with 1 to 4 channels, by the specification, with extra chunks before the pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width, channels = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    extra = b"".join(chunk(name.encode(), body) for name, body in chunks.items())
    pixels = chunk(b"IDAT", zlib.compress(rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + pixels + chunk(b"IEND", b""))
    return path


def stored(photo: Photo) -> np.ndarray:
    """The values (H,W,C) in whole steps, which must be whole already."""
    planes = list(photo.rgb) + ([] if photo.alpha is None else [photo.alpha])
    values = torch.stack(planes, -1).double() * (2**photo.bits - 1)
    assert (values - values.round()).abs().max() < 0.01
    return values.round().long().numpy()


def written(path: Path, photo: Photo) -> np.ndarray:
    """What another reader finds in the file after `photo` was written to it, (H,W,C) as RGB."""
    write_photo(path, photo)
    values = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    assert values is not None
    return values[..., None] if values.ndim == 2 else values[..., [2, 1, 0, 3][: values.shape[2]]]


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".bmp", ".webp", ".ppm"])
def test_rgb_comes_back_exactly(tmp_path: Path, suffix: str) -> None:
    path = save(
        tmp_path / f"in{suffix}", Image.fromarray(BYTES[..., :3]), **({"lossless": True} if suffix == ".webp" else {})
    )
    photo = read_photo(path)
    assert photo.rgb.dtype == torch.float32
    assert (photo.alpha, photo.bits, photo.grey) == (None, 8, False)
    np.testing.assert_array_equal(stored(photo), BYTES[..., :3])
    np.testing.assert_array_equal(written(tmp_path / "out.png", photo), BYTES[..., :3])


def test_jpeg(tmp_path: Path) -> None:
    path = save(tmp_path / "in.jpg", smooth(), quality=95)
    photo = read_photo(path)
    np.testing.assert_array_equal(stored(photo), np.asarray(Image.open(path)))
    np.testing.assert_array_equal(written(tmp_path / "out.png", photo), stored(photo))


def test_grey_is_three_equal_channels_and_written_as_one(tmp_path: Path) -> None:
    photo = read_photo(save(tmp_path / "in.png", Image.fromarray(BYTES[..., 0])))
    assert photo.grey
    np.testing.assert_array_equal(stored(photo), BYTES[..., :1].repeat(3, -1))
    np.testing.assert_array_equal(written(tmp_path / "out.png", photo), BYTES[..., :1])


def test_grey_that_got_colours_is_written_as_rgb(tmp_path: Path) -> None:
    photo = read_photo(save(tmp_path / "in.png", Image.fromarray(BYTES[..., 0])))
    rgb = photo.rgb.clone()
    rgb[:, 2, 3] = torch.tensor([1.0, 0, 0])
    values = written(tmp_path / "out.png", photo.with_rgb(rgb))
    expected = BYTES[..., :1].repeat(3, -1)
    expected[2, 3] = 255, 0, 0
    np.testing.assert_array_equal(values, expected)


def test_one_bit(tmp_path: Path) -> None:
    bits = BYTES[..., 0] > 127
    photo = read_photo(save(tmp_path / "in.png", Image.fromarray(bits)))
    np.testing.assert_array_equal(stored(photo)[..., 0], bits * 255)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_comes_back_exactly(tmp_path: Path, mode: str) -> None:
    values = BYTES if mode == "RGBA" else BYTES[..., [0, 3]]
    values[:3, :3, -1] = 0  # colours hidden by alpha are kept too
    photo = read_photo(save(tmp_path / "in.png", Image.fromarray(values)))
    rgba = values if mode == "RGBA" else values[..., [0, 0, 0, 1]]
    np.testing.assert_array_equal(stored(photo), rgba)
    assert photo.grey == (mode == "LA")
    write_photo(tmp_path / "out.png", photo)
    with Image.open(tmp_path / "out.png") as image:
        assert image.mode == mode
        np.testing.assert_array_equal(np.asarray(image), values)


@pytest.mark.parametrize("transparency", [None, 5, bytes(range(256))])
def test_palette(tmp_path: Path, transparency: int | bytes | None) -> None:
    image = Image.fromarray(BYTES[..., 0])
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette(RANDOM.integers(0, 256, 768, dtype=np.uint8).tobytes())
    options = {} if transparency is None else {"transparency": transparency}
    path = save(tmp_path / "in.png", image, **options)
    expected = np.asarray(Image.open(path).convert("RGB" if transparency is None else "RGBA"))
    photo = read_photo(path)
    np.testing.assert_array_equal(stored(photo), expected)
    np.testing.assert_array_equal(written(tmp_path / "out.png", photo), expected)


def test_transparent_colour(tmp_path: Path) -> None:
    values = BYTES[..., :3]
    photo = read_photo(save(tmp_path / "in.png", Image.fromarray(values), transparency=tuple(map(int, values[4, 5]))))
    assert photo.alpha is not None
    assert photo.alpha[4, 5] == 0
    assert photo.alpha.sum() == photo.alpha.numel() - 1


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_comes_back_exactly(tmp_path: Path, channels: int) -> None:
    values = WORDS[..., :channels]
    photo = read_photo(save_words(tmp_path / "in.png", values))
    assert photo.bits == 16
    expected = {1: WORDS[..., [0, 0, 0]], 2: WORDS[..., [0, 0, 0, 1]]}.get(channels, values)
    np.testing.assert_array_equal(stored(photo), expected)
    back = written(tmp_path / "out.png", photo)
    assert back.dtype == np.uint16
    np.testing.assert_array_equal(back, values if channels == 1 else expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_transparent_colour(tmp_path: Path, channels: int) -> None:
    values = WORDS[..., :channels]
    photo = read_photo(save_words(tmp_path / "in.png", values, tRNS=values[4, 5].astype(">u2").tobytes()))
    assert photo.alpha is not None
    assert photo.alpha[4, 5] == 0
    assert photo.alpha.sum() == photo.alpha.numel() - 1
    assert written(tmp_path / "out.png", photo).shape == (11, 14, 4)


def test_every_16_bit_value_survives(tmp_path: Path) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    photo = read_photo(save_words(tmp_path / "in.png", values))
    np.testing.assert_array_equal(written(tmp_path / "out.png", photo), values)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("compression", [1, 5, 8])
def test_16_bit_tiff(tmp_path: Path, channels: int, compression: int) -> None:
    order = [2, 1, 0, 3][:channels]
    options = [cv2.IMWRITE_TIFF_COMPRESSION, compression]
    done, data = cv2.imencode(".tiff", np.ascontiguousarray(WORDS[..., order]), options)
    assert done
    (tmp_path / "in.tif").write_bytes(data.tobytes())
    photo = read_photo(tmp_path / "in.tif")
    assert photo.bits == 16
    np.testing.assert_array_equal(stored(photo), WORDS[..., :channels])


def test_16_bit_grey_tiff(tmp_path: Path) -> None:
    photo = read_photo(save(tmp_path / "in.tif", Image.fromarray(WORDS[..., 0])))
    assert (photo.bits, photo.grey) == (16, True)
    np.testing.assert_array_equal(stored(photo)[..., 0], WORDS[..., 0])


def test_cmyk_without_profile(tmp_path: Path) -> None:
    path = save(tmp_path / "in.jpg", smooth().convert("CMYK"), quality=98)
    photo = read_photo(path)
    assert np.abs(stored(photo) - np.asarray(smooth())).mean() < 3
    assert photo.icc is None


def test_adobe_cmyk_is_not_inverted(tmp_path: Path) -> None:
    path = save(tmp_path / "in.jpg", smooth().convert("CMYK"), quality=98)
    assert b"Adobe" in path.read_bytes()  # the mark of inverted values
    other = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert other is not None
    assert np.abs(stored(read_photo(path)) - other[..., ::-1].astype(int)).mean() < 3


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


def test_cmyk_goes_through_its_profile(tmp_path: Path) -> None:
    image = Image.merge("CMYK", [Image.new("L", (16, 16), ink) for ink in (255, 0, 255, 0)])
    photo = read_photo(save(tmp_path / "in.jpg", image, quality=98, icc_profile=cmyk_profile()))
    assert stored(photo).min() > 250  # green without the profile, white with it
    assert photo.icc is None


def test_broken_cmyk_profile_is_ignored(tmp_path: Path) -> None:
    path = save(tmp_path / "in.jpg", smooth().convert("CMYK"), quality=98, icc_profile=b"no profile")
    assert np.abs(stored(read_photo(path)) - np.asarray(smooth())).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
def test_exif_orientation_is_applied(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"in{suffix}", smooth(), exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(stored(read_photo(path)), expected)
    assert expected.shape[:2] == ((128, 96) if orientation > 4 else (96, 128))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_of_16_bit_png(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save_words(tmp_path / "in.png", WORDS[..., :3], eXIf=exif.tobytes().removeprefix(b"Exif\0\0"))
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(stored(read_photo(path)) >> 8, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_16_bit_tiff(tmp_path: Path, orientation: int) -> None:
    pixels = WORDS[..., :3].astype("<u2").tobytes()
    height, width = WORDS.shape[:2]
    # Tag, type (3: 16 bits, 4: 32 bits), count, value or place of the values.
    entries = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, 8), (259, 3, 1, 1), (262, 3, 1, 2)]
    entries += [
        (273, 4, 1, 14),
        (274, 3, 1, orientation),
        (277, 3, 1, 3),
        (278, 3, 1, height),
        (279, 4, 1, len(pixels)),
    ]
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    header = b"II*\0" + struct.pack("<I", 14 + len(pixels)) + struct.pack("<3H", 16, 16, 16)
    path = tmp_path / "in.tif"
    path.write_bytes(header + pixels + struct.pack("<H", len(entries)) + table + bytes(4))
    with Image.open(path) as image:
        image.load()
        expected = np.asarray(ImageOps.exif_transpose(image))
    photo = read_photo(path)
    assert photo.bits == 16
    np.testing.assert_array_equal(stored(photo) >> 8, expected)


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (20, 10), color) for color in ("red", "blue")]
    for name in ("in.gif", "in.webp", "in.png"):
        path = save(tmp_path / name, frames[0], save_all=True, append_images=frames[1:], lossless=True)
        assert (stored(read_photo(path))[..., :3] == (255, 0, 0)).mean() > 0.99


def test_colour_profile_is_kept(tmp_path: Path) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo = read_photo(save(tmp_path / "in.png", Image.fromarray(BYTES[..., :3]), icc_profile=icc))
    for bits in (8, 16):
        write_photo(tmp_path / "out.png", Photo(photo.rgb, photo.alpha, bits, icc=photo.icc))
        with Image.open(tmp_path / "out.png") as image:
            image.load()
            assert image.info["icc_profile"] == icc
    write_photo(tmp_path / "out.png", Photo(photo.rgb[:1].expand(3, -1, -1), grey=True, icc=icc))
    with Image.open(tmp_path / "out.png") as image:
        assert "icc_profile" not in image.info  # a colour profile does not fit a grey picture


def test_one_pixel(tmp_path: Path) -> None:
    photo = read_photo(save(tmp_path / "in.png", Image.new("RGB", (1, 1), (1, 2, 3))))
    assert written(tmp_path / "out.png", photo).tolist() == [[[1, 2, 3]]]


def test_tensors_are_written_rounded_and_clamped(tmp_path: Path) -> None:
    values = torch.tensor([-0.5, 0.0, 0.4 / 255, 0.6 / 255, 1.0, 7.0]).expand(3, 1, -1)
    write_photo(tmp_path / "out.png", values)
    assert read_photo(tmp_path / "out.png").rgb[0, 0].mul(255).tolist() == pytest.approx([0, 0, 0, 1, 255, 255])
    write_photo(tmp_path / "mask.png", values[:1].bfloat16())
    assert read_photo(tmp_path / "mask.png").grey


def test_is_picture_goes_by_name(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.JPEG", "c.Png", "notes.txt", ".hidden.png", "noext"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    assert sorted(path.name for path in tmp_path.iterdir() if is_picture(path)) == ["a.jpg", "b.JPEG", "c.Png"]
    assert not is_picture(tmp_path / "absent.png")


def refusal(path: Path) -> str:
    with pytest.raises(CLRFaceError) as caught:
        read_photo(path)
    message = str(caught.value)
    assert message.startswith("Expected ")
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize("cut", [0.02, 0.3, 0.6, 0.9])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("in.jpg", {}),
        ("in.jpg", {"progressive": True}),
        ("in.png", {}),
        ("in.webp", {}),
        ("in.webp", {"lossless": True}),
        ("in.bmp", {}),
        ("in.ppm", {}),
        ("in.gif", {}),
        ("in.tif", {}),
        ("in.tif", {"compression": "tiff_lzw"}),
    ],
)
@pytest.mark.parametrize("tolerant", [False, True])
def test_a_file_cut_short_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, options: dict, cut: float, tolerant: bool
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", tolerant)
    noisy = Image.fromarray(RANDOM.integers(0, 256, (40, 50, 3), dtype=np.uint8))
    path = save(tmp_path / name, noisy, **options)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * cut)])
    refusal(path)
    assert tolerant == ImageFile.LOAD_TRUNCATED_IMAGES


def test_a_16_bit_png_cut_short_is_refused(tmp_path: Path) -> None:
    path = save_words(tmp_path / "in.png", WORDS)
    path.write_bytes(path.read_bytes()[:-300])
    assert "cut short" in refusal(path)


def test_a_png_with_flipped_bits_is_refused(tmp_path: Path) -> None:
    data = bytearray(save(tmp_path / "in.png", Image.fromarray(BYTES)).read_bytes())
    data[len(data) // 2] ^= 0x55
    (tmp_path / "in.png").write_bytes(data)
    assert "damaged" in refusal(tmp_path / "in.png")


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    assert "found nothing" in refusal(tmp_path / "absent.png")
    assert "folder" in refusal(tmp_path)
    (tmp_path / "empty.png").write_bytes(b"")
    assert "0 bytes" in refusal(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("not a picture " * 100)
    assert "another kind" in refusal(tmp_path / "text.png")


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bit_pictures_are_refused(tmp_path: Path, mode: str) -> None:
    assert f"mode {mode}" in refusal(save(tmp_path / "in.tif", Image.new(mode, (4, 4))))


@pytest.mark.parametrize("side", [14_000, 60_000])
def test_giant_pictures_are_refused_before_decoding(
    tmp_path: Path, side: int, recwarn: pytest.WarningsRecorder
) -> None:
    path = save_words(tmp_path / "in.png", WORDS[..., :3])
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", side, side)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    assert "megapixels" in refusal(path)
    assert not recwarn.list


def test_16_bits_without_opencv_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(CLRFaceError, match="opencv-python"):
        read_photo(save_words(tmp_path / "in.png", WORDS[..., :3]))


@pytest.mark.parametrize("place", ["absent/out.png", "file/out.png", "folder.png", "out.jpg", "x" * 300 + ".png"])
def test_unwritable_places_are_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CLRFaceError, match=r"^Expected .*out|folder|xxx"):
        write_photo(tmp_path / place, torch.zeros(3, 2, 2))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device"), RuntimeError])
@pytest.mark.parametrize("there", [False, True])
def test_a_failed_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: type[BaseException] | OSError, there: bool
) -> None:
    path = tmp_path / "out.png"
    if there:
        path.write_bytes(b"the old file")

    def fail(*_: object) -> None:
        assert len(list(tmp_path.iterdir())) == 1 + there  # the temporary file lies beside it
        raise failure

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(CLRFaceError if isinstance(failure, OSError) else failure):
        write_photo(path, torch.zeros(3, 2, 2))
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([b"the old file"] if there else [])


def test_overwriting_replaces_the_file(tmp_path: Path) -> None:
    for value in (0.0, 1.0):
        write_photo(tmp_path / "out.png", torch.full((3, 2, 2), value))
        assert read_photo(tmp_path / "out.png").rgb.mean() == value
    assert [file.name for file in tmp_path.iterdir()] == ["out.png"]


@pytest.mark.parametrize(
    "values",
    [torch.zeros(2, 3, 3), torch.zeros(3, 0, 3), torch.zeros(3, 3, 3).byte(), torch.full((3, 3, 3), torch.nan)],
)
def test_useless_tensors_are_refused(tmp_path: Path, values: torch.Tensor) -> None:
    with pytest.raises(CLRFaceError, match=r"^Expected"):
        write_photo(tmp_path / "out.png", values)
    assert not list(tmp_path.iterdir())


def test_useless_photos_are_refused() -> None:
    with pytest.raises(CLRFaceError, match="alpha"):
        Photo(torch.zeros(3, 4, 4), torch.zeros(4, 5))
    with pytest.raises(CLRFaceError, match="bits"):
        Photo(torch.zeros(3, 4, 4), bits=12)
    assert MAX_PIXELS > 6000 * 4000
