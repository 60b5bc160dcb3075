"""Files that are small and would cost much: each ends within 2 seconds of computing and 200 MB, refused or read."""

import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
SIDE = 13_000
"""Of what small files declare: 169 megapixels, which the limit of Pillow allows."""
SPAN = 2**28
"""Bytes that compressed parts expand to, which their small size does not tell."""


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def zeros(count: int) -> bytes:
    """So many zeros, a multiple of 1 MiB, as a zlib stream of a thousandth: one block, again and again."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x78\xda" + block * (count >> 20) + b"\x03\0" + struct.pack(">I", (count % 65521) << 16 | 1)


def png(side: int, pixels: bytes, extra: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def gif(side: int, frames: int) -> bytes:
    """Frames of one pixel on a canvas of any size."""
    frame = b"\x21\xf9\x04\0\x0a\0\0\0\x2c" + struct.pack("<4H", 0, 0, 1, 1) + b"\0\2\2\x44\1\0"
    return b"GIF89a" + struct.pack("<HH", side, side) + b"\x80\0\0" + bytes(6) + frame * frames + b";"


def tiff(side: int, compression: int, pixels: bytes, **tags: int) -> bytes:
    known = {256: side, 257: side, 258: 8, 259: compression, 262: 1, 273: 8, 277: 1, 278: side, 279: len(pixels)}
    known |= {int(tag[1:]): value for tag, value in tags.items()}
    body = b"".join(struct.pack("<HHII", tag, 4, 1, known[tag]) for tag in sorted(known))
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + struct.pack("<H", len(known)) + body + bytes(4)


def jpeg() -> bytes:
    stream = io.BytesIO()
    Image.new("L", (64, 64)).save(stream, "JPEG")
    return stream.getvalue().replace(struct.pack(">HH", 64, 64), struct.pack(">HH", SIDE, SIDE))


def shard() -> bytes:
    entry = tarfile.TarInfo("a.png")
    entry.size = 2**40
    return entry.tobuf() + bytes(1024)


def bundle(shape: list[int], end: int) -> bytes:
    header = json.dumps({"vq.x": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(64)


SMALL = zlib.compress(bytes(8 * 25))
FILES: dict[str, Callable[[], bytes]] = {
    "size.png": lambda: png(SIDE, SMALL),
    "pixels.png": lambda: png(8, zeros(SPAN)),
    "profile.png": lambda: png(8, SMALL, chunk(b"iCCP", b"x\0\0" + zeros(SPAN))),
    "text.png": lambda: png(8, SMALL, chunk(b"zTXt", b"x\0\0" + zeros(SPAN))),
    "xmp.png": lambda: png(8, SMALL, chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zeros(SPAN))),
    "texts.png": lambda: png(8, SMALL, chunk(b"zTXt", b"x\0\0" + zeros(2**20)[:-40]) * 200),
    "size.gif": lambda: gif(4000, 1),
    "frames.gif": lambda: gif(1900, 5000),
    "deflate.tif": lambda: tiff(SIDE, 8, SMALL),
    "raw.tif": lambda: tiff(SIDE, 1, bytes(64)),
    "fax.tif": lambda: tiff(SIDE, 4, b"\x80" * 2000, t258=1),
    "floats.tif": lambda: tiff(SIDE, 8, SMALL, t258=32, t339=3),
    "doubles.tif": lambda: tiff(SIDE, 8, SMALL, t258=64, t339=3),
    "white.tif": lambda: tiff(SIDE, 8, SMALL, t258=16, t262=0),
    "size.jpg": jpeg,
    "size.bmp": lambda: (
        b"BM" + struct.pack("<3I", 99, 0, 54) + struct.pack("<IiiHH", 40, SIDE, SIDE, 1, 24) + bytes(24)
    ),
    "size.ppm": lambda: b"P6 %d %d 255\n" % (SIDE, SIDE),
    "plain.ppm": lambda: b"P2 %d %d 255\n" % (SIDE, SIDE) + b"0 " * 1000,
    "size.tar": shard,
    "size.safetensors": lambda: bundle([2**31, 2**31], 64),
    "span.safetensors": lambda: bundle([2**30], 2**32),
    "header.safetensors": lambda: struct.pack("<Q", 2**62) + b"{}",
    "deep.safetensors": lambda: struct.pack("<Q", 10**5) + b"[" * 10**5,
}

READ = """
import json, sys, time
from pathlib import Path
from clrface_core.errors import CLRFaceError
from clrface_core.models.bundle import load_bundle
from clrface_core.photo import read_frames
from clrface_core.shards import read_faces

def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024

readers = {".tar": lambda path: [face.pixels() for face in read_faces(path)], ".safetensors": load_bundle}
for path in map(Path, sys.argv[1:]):
    Path("/proc/self/clear_refs").write_text("5")
    before, start = peak(), time.process_time()
    try:
        for each in readers.get(path.suffix, read_frames)(path):
            each = None
        said = "read"
    except CLRFaceError as error:
        said = str(error)
    print(json.dumps([path.name, said, peak() - before, time.process_time() - start]), flush=True)
"""


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="memory is measured on Linux only")
def test_small_hostile_files_cost_little(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in FILES]
    for path in paths:
        path.write_bytes(FILES[path.name]())
        assert path.stat().st_size < 2**19, path.name
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", "-c", READ, *map(str, paths)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [name for name, *_ in told] == list(FILES), done.stderr
    for name, said, megabytes, seconds in told:
        assert said == "read" or (said.startswith("Expected ") and len(said) < 900), (name, said)
        assert megabytes < 200 and seconds < 2, (name, said, megabytes, seconds)
    refused = {name for name, said, *_ in told if said != "read"}
    assert {name for name in FILES if name.startswith(("size", "frames", "deflate", "raw", "floats"))} <= refused
