"""The entrances: for each, good samples, how to break them, and what the library has to make of the result.

An entrance is made with an empty folder of its own, and called once per case. It returns "refused" where the library
said in a sentence what is wrong, "taken" where it went on, and raises `Wrong` where what it went on with makes no
sense. Anything else that is raised is a traceback that a user would have seen.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import struct
import tarfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageCms
from torch import Tensor

from clrface_core.errors import CLRFaceError
from clrface_core.faces.align import FFHQ_TEMPLATE_512, align_faces
from clrface_core.faces.detect import Face, faces_in_boxes, from_mesh
from clrface_core.faces.paste import Blending, paste_faces

from .mutate import VALUES, mutate_bytes, mutate_json, with_checksums

Case = Callable[[random.Random], str]
"""One case from a generator: "taken" or "refused"."""

REFUSALS = (CLRFaceError,)


class Wrong(Exception):
    """The library took input and made nonsense of it without a word."""


def noise(height: int, width: int, channels: int = 3, kind: Any = np.uint8) -> np.ndarray:
    """A picture (height, width, channels) of random values."""
    return np.random.default_rng(height).integers(0, np.iinfo(kind).max + 1, (height, width, channels), dtype=kind)


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """The file of a picture."""
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def sample_pictures() -> dict[str, list[bytes]]:
    """Small good files of each format, by suffix."""
    rgb, grey = Image.fromarray(noise(20, 24)), Image.fromarray(noise(20, 24, 1)[..., 0])
    rgba, deep = Image.fromarray(noise(20, 24, 4)), Image.fromarray(noise(20, 24, 1, np.uint16)[..., 0])
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera"
    exif.get_ifd(0x8825)[1] = "N"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    known = {"exif": exif.tobytes(), "icc_profile": profile}
    several = {"save_all": True, "append_images": [rgb.rotate(90), rgb]}
    tiffs = [saved(rgb, "TIFF", compression=name) for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")]
    tiffs += [saved(rgb, "TIFF", **several), float_tiff()]
    cmyk = rgb.convert("CMYK")
    return {
        ".png": [
            *(saved(each, "PNG") for each in (rgb, grey, rgba, deep, rgb.convert("P"))),
            saved(rgb, "PNG", **known),
        ],
        ".jpg": [saved(rgb, "JPEG", **known), saved(grey, "JPEG", progressive=True), saved(cmyk, "JPEG")],
        ".tif": [*(saved(each, "TIFF") for each in (rgb, grey, deep, rgba)), *tiffs],
        ".webp": [saved(rgb, "WEBP", **known), saved(rgba, "WEBP", lossless=True), saved(rgb, "WEBP", **several)],
        ".avif": [saved(rgb, "AVIF")] if "AVIF" in Image.SAVE else [],
        ".gif": [saved(rgb, "GIF"), saved(rgb, "GIF", **several)],
        ".bmp": [saved(rgb, "BMP"), saved(grey, "BMP")],
        ".ppm": [saved(rgb, "PPM"), saved(grey, "PPM")],
    }


def float_tiff() -> bytes:
    """A TIFF of floating-point values, which no save() of ours writes."""
    values = (noise(8, 8, 1)[..., 0] / 255).astype("<f4").tobytes()
    tags = [(256, 4, 8), (257, 4, 8), (258, 3, 32), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (278, 4, 8)]
    tags += [(279, 4, len(values)), (339, 3, 3)]
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(values)) + values + struct.pack("<H", len(tags)) + body + bytes(4)


def check_picture(rgb: Tensor, alpha: Tensor | None = None) -> None:
    """`Wrong` unless every value is a number in [0,1]."""
    for name, values in (("rgb", rgb), ("alpha", alpha)):
        if values is not None and not bool(((values >= 0) & (values <= 1)).all()):
            raise Wrong(f"{name} outside [0,1] or not finite")


def pictures(suffix: str) -> Callable[[Path], Case]:
    """Damaged files of one format, first frame and all frames."""

    def entrance(folder: Path) -> Case:
        from clrface_core.photo import read_frames, read_photo, write_photo

        samples = sample_pictures()
        others = [data for group in samples.values() for data in group]
        path = folder / f"in{suffix}"

        def case(draw: random.Random) -> str:
            data = mutate_bytes(draw.choice(samples[suffix]), draw, others)
            path.write_bytes(with_checksums(data) if suffix == ".png" and draw.random() < 0.7 else data)
            try:
                photos = list(read_frames(path)) if draw.random() < 0.2 else [read_photo(path)]
                for photo in photos:
                    check_picture(photo.rgb, photo.alpha)
                write_photo(folder / "out.png", photos[0])
            except REFUSALS:
                return "refused"
            return "taken"

        return case

    return entrance


def values(folder: Path) -> Case:
    """Arrays, tensors and PIL images of every shape and kind."""
    from clrface_core.photo import as_photo

    def case(draw: random.Random) -> str:
        shape = draw.choice(
            ((), (0,), (4,), (4, 5), (4, 5, 3), (3, 4, 5), (4, 5, 4), (4, 5, 2), (1, 3, 4, 5), (0, 4, 3))
        )
        kind = draw.choice(("u1", "i1", "<u2", ">u2", "i4", "i8", "f2", "f4", "f8", "?", "c8", "U3", "O"))
        array = np.zeros(shape, kind)
        if kind[0] == "f" and array.size:
            array.flat[0] = draw.choice((0, 0.5, 1, 2, 255, -1, np.nan, np.inf, 1e-300, 65504))
        given: Any = array
        if draw.random() < 0.4 and kind in ("u1", "i1", "i4", "i8", "f2", "f4", "f8", "?", "c8"):
            given = torch.from_numpy(array.copy())
        elif draw.random() < 0.3:
            mode = draw.choice(
                ("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16", "LA", "PA")
            )
            given = Image.new(mode, draw.choice(((1, 1), (5, 4))))
        elif draw.random() < 0.2:
            given = draw.choice((*VALUES, object(), b"", b"x", Path("nowhere.png"), "nowhere.png", Path(folder)))
        try:
            photo = as_photo(given)
        except REFUSALS:
            return "refused"
        check_picture(photo.rgb, photo.alpha)
        return "taken"

    return case


def bundles(folder: Path) -> Case:
    """Damaged model files: their bytes, and headers that are well-formed and wrong."""
    from clrface_core.models.bundle import build, load_bundle, save_bundle

    torch.manual_seed(0)
    save_bundle(folder / "good.safetensors", build("tiny"), torch.float16)
    good = (folder / "good.safetensors").read_bytes()
    path = folder / "bundle.safetensors"

    def case(draw: random.Random) -> str:
        path.write_bytes(_broken_tensors(good, draw))
        try:
            bundle = load_bundle(path, "cpu", torch.float32)
        except REFUSALS:
            return "refused"
        for network in (bundle.vq, bundle.irn, bundle.refiner, *([bundle.mask] if bundle.mask else [])):
            for name, weights in network.named_parameters():
                if not bool(torch.isfinite(weights).all()):
                    raise Wrong(f"weights {name} are not finite")
        return "taken"

    return case


def vq_files(folder: Path) -> Case:
    """Damaged first stages of other projects."""
    from safetensors.torch import save_file

    from clrface_core.models.vq import VQConfig, VQModel
    from clrface_core.models.vq_import import import_vq

    torch.manual_seed(0)
    network = VQModel(VQConfig(ch=32, ch_mult=(1, 1, 1), num_res_blocks=1, n_embed=16))
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    kept = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.", "quantize.embedding.")
    save_file({key: value for key, value in state.items() if key.startswith(kept)}, folder / "good.safetensors")
    import_vq(folder / "good.safetensors")  # all would be refused if this one were
    good = (folder / "good.safetensors").read_bytes()
    path = folder / "vq.safetensors"

    def case(draw: random.Random) -> str:
        path.write_bytes(_broken_tensors(good, draw))
        try:
            import_vq(path)
        except REFUSALS:
            return "refused"
        return "taken"

    return case


def _broken_tensors(good: bytes, draw: random.Random) -> bytes:
    """A safetensors file with damaged bytes, or with a header that parses and says something else."""
    if draw.random() < 0.4:
        return mutate_bytes(good, draw, [good])
    length = struct.unpack("<Q", good[:8])[0]
    header = json.loads(good[8 : 8 + length])
    told = header.get("__metadata__")
    if told and draw.random() < 0.7:
        key = draw.choice(list(told))
        try:
            inside = json.loads(told[key])
        except ValueError:
            inside = told[key]
        told[key] = json.dumps(mutate_json(inside, draw)) if draw.random() < 0.9 else draw.choice(("", "{", "[" * 9999))
    else:
        header = mutate_json(header, draw)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + good[8 + length :]


def shards(folder: Path) -> Case:
    """Damaged tar shards of faces."""
    from clrface_core.shards import read_faces

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for i, kind in enumerate(("WEBP", "PNG", "JPEG")):
            data = saved(Image.fromarray(noise(64, 64)), kind)
            entry = tarfile.TarInfo(f"a-{i}.{kind.lower()}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    good, path = stream.getvalue(), folder / "faces.tar"

    def case(draw: random.Random) -> str:
        path.write_bytes(mutate_bytes(good, draw, [good]))
        try:
            for face in read_faces(path):
                pixels = face.pixels()
                if pixels.shape[0] != 3 or pixels.shape[1] != pixels.shape[2]:
                    raise Wrong(f"a face of shape {tuple(pixels.shape)}")
        except REFUSALS:
            return "refused"
        return "taken"

    return case


def ranges(folder: Path) -> Case:
    """Damaged degradation settings."""
    from clrface_core.commands.degrade import read_config
    from clrface_core.degrade import STANDARD
    from clrface_core.degrade import draw as drawn

    good, path = STANDARD.to_dict(), folder / "ranges.json"
    picture = torch.from_numpy(noise(16, 16)).permute(2, 0, 1) / 255

    def case(draw: random.Random) -> str:
        text = json.dumps(mutate_json(good, draw)).encode()
        path.write_bytes(mutate_bytes(text, draw, [text]) if draw.random() < 0.3 else text)
        try:
            check_picture(drawn(read_config(path), 0).apply(picture))
        except REFUSALS:
            return "refused"
        return "taken"

    return case


WORDS = (
    "restore", "degrade", "info", "evaluate", "import-vq", "-o", "--output", "--recursive", "--format", "png",
    "jpg", "--quality", "--steps", "--solver", "ddim", "--denoise", "--guidance-scale", "--seed", "--order",
    "area", "--faces", "all", "largest", "0,2-4", "--min-size", "--at-most", "--feather", "--color-match",
    "--blend", "--detail", "--grain", "--strength", "auto", "--device", "cpu", "meta", "xpu", "cuda:99",
    "--dtype", "float32", "--batch-size", "--model", "--score-threshold", "--json", "--quiet", "--frames",
    "--preset", "mild", "--config", "--resume", "--overwrite", "--strip-metadata", "--aligned", "--help",
    "--version", "--skip-blurred", "0", "1", "-1", "0.5", "nan", "inf", "1e400", "99999999999999999999",
    "../..", "/", "/dev/null", "", "ü\udce9", " ", "\0", "a" * 5000,
)  # fmt: skip


def arguments(folder: Path) -> Case:
    """Command lines: good ones with words changed, left out and added. A tiny model restores."""
    from clrface_core.cli import main
    from clrface_core.models.bundle import build, save_bundle

    torch.manual_seed(0)
    model, picture = folder / "tiny.safetensors", folder / "in.png"
    save_bundle(model, build("tiny"), torch.float32)
    Image.fromarray(noise(64, 64)).save(picture)
    (folder / "work").mkdir()
    common = [str(picture), "-o", str(folder / "work" / "out")]
    good = (
        ["restore", *common, "--model", str(model), "--aligned", "--steps", "1", "--seed", "3"],
        [
            "restore",
            *common,
            "--model",
            str(model),
            "--score-threshold",
            "0.9",
            "--faces",
            "largest",
            "--feather",
            "0.2",
        ],
        ["degrade", *common, "--preset", "mild", "--seed", "3", "--json"],
        ["info", str(model)],
    )

    def case(draw: random.Random) -> str:
        words = list(draw.choice(good))
        for _ in range(draw.choice((1, 1, 2, 4))):
            place = draw.randrange(1, len(words) + 1)
            words[place : place + draw.choice((0, 1, 1))] = draw.sample(WORDS, draw.choice((0, 1, 1, 2)))
        # What costs hours when it is asked for is no fault: the values that do are not tried.
        if any(word.isdigit() and int(word) > 4 for word in words) and not any(len(word) > 15 for word in words):
            return "taken"
        with _quietly_in(folder / "work"):
            try:
                status = main(words)
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else 1
        if status not in (0, 1, 2):
            raise Wrong(f"exit status {status} of {words}")
        return "taken" if status == 0 else "refused"

    return case


@contextlib.contextmanager
def _quietly_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        os.chdir(before)


def _odd_numbers(points: np.ndarray, draw: random.Random) -> np.ndarray:
    """Points with some coordinates changed beyond reason, dropped or repeated."""
    points = points.copy()
    for _ in range(draw.choice((1, 2, 6))):
        where = tuple(draw.randrange(size) for size in points.shape)
        points[where] = draw.choice(
            (0, -1, 1e-30, 1e9, -1e9, 1e30, np.nan, np.inf, points.flat[0], points[where] + 0.5)
        )
    kind = draw.randrange(8)
    if kind == 0:
        points = points[..., :1]
    elif kind == 1:
        points = points[:, :4]
    elif kind == 2:
        points[:] = points.flat[0]
    return points


def landmarks(folder: Path) -> Case:
    """Five points, and MediaPipe's mesh, of faces that others found: aligned, pasted back."""
    picture = torch.from_numpy(noise(60, 70)).permute(2, 0, 1) / 255
    mesh = np.random.default_rng(0).random((478, 2)) * 60

    def case(draw: random.Random) -> str:
        try:
            if draw.random() < 0.3:
                given: Any = [from_mesh(_odd_numbers(mesh, draw))]
            else:
                given = _odd_numbers((FFHQ_TEMPLATE_512 / 8)[None], draw)
            crops, alignment = align_faces(picture, given, 32)
            check_picture(crops)
            result, mask = paste_faces(picture, 1 - crops, alignment, Blending(feather=draw.choice((0, 0.1, 0.45))))
        except REFUSALS:
            return "refused"
        check_picture(result)
        if not torch.equal(result[:, mask[0] == 0], picture[:, mask[0] == 0]):
            raise Wrong("pixels outside the mask changed")
        return "taken"

    return case


class _Middle:
    """A detector that sees a face in the middle of whatever it is shown."""

    def detect(self, image: Tensor, score_threshold: float) -> list[Face]:
        side = min(image.shape[1:]) / 2
        points = (FFHQ_TEMPLATE_512 / 512 * side + side / 2).astype(np.float32)
        return [Face((side / 2, side / 2, 1.5 * side, 1.5 * side), 0.9, points)]


def boxes(folder: Path) -> Case:
    """Boxes of faces that others found."""
    picture = torch.from_numpy(noise(60, 70)).permute(2, 0, 1) / 255

    def case(draw: random.Random) -> str:
        box = _odd_numbers(np.array([[10.0, 10, 50, 50]]), draw)[0]
        try:
            found = faces_in_boxes(picture, [tuple(box.tolist())], _Middle(), 0.5)
        except REFUSALS:
            return "refused"
        for face in found:
            if not np.isfinite([*face.box, *face.landmarks.flat]).all():
                raise Wrong("a face that is nowhere")
        return "taken"

    return case


def nodes(folder: Path) -> Case:
    """The nodes in ComfyUI, with inputs that no node of ours would hand them."""
    from .nodes import Workbench, check_outputs

    bench = Workbench(folder)
    names = sorted(bench.nodes)

    def case(draw: random.Random) -> str:
        name = draw.choice(names)
        given = bench.drawn(name, draw)
        try:
            if not bench.accepts(name, given):
                return "refused"
            outputs = bench.run(name, **given)
        except bench.error:
            return "refused"
        check_outputs(bench.nodes[name], given, outputs, Wrong)
        return "taken"

    return case


def videos(folder: Path) -> Case:
    """Damaged videos, read and written."""
    from .videos import videos

    return videos(folder)


def tracks(folder: Path) -> Case:
    """Files of tracks that say something else."""
    from .videos import tracks

    return tracks(folder)


ENTRANCES: dict[str, Callable[[Path], Case]] = {
    **{f"picture {suffix[1:]}": pictures(suffix) for suffix, files in sample_pictures().items() if files},
    "array, tensor, PIL": values,
    "bundle": bundles,
    "VQ import": vq_files,
    "shard": shards,
    "degrade JSON": ranges,
    "command line": arguments,
    "landmarks": landmarks,
    "boxes": boxes,
    "tracks JSON": tracks,
    **({"video": videos} if find_spec("av") else {}),
    "nodes": nodes,
}
