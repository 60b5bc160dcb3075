"""Argument types and options that several sub-commands share. Nothing here loads PyTorch."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import CLRFaceError
from ..storage import as_path

if TYPE_CHECKING:
    from .files import Output

SOLVERS = ("ddim", "dpmpp_2m")
"""The names in `diffusion.solvers.SOLVERS`, repeated so that --help need not load it (a test compares them)."""

REFERENCE_THRESHOLD, REFERENCE_SCALE = 0.33, 2.0
"""`references.THRESHOLD` and `SCALE`, likewise."""

REGIONS = ("crop", "face")
"""`faces.region.REGIONS`, likewise."""

DTYPES = ("float32", "bfloat16", "float16")
FORMATS = ("png", "jpg", "webp", "tif", "avif")
"""Of `photo.WRITTEN`, likewise."""

PRESETS = ("standard", "mild")
"""Of `degrade.PRESETS`, likewise."""


def whole(least: int) -> Callable[[str], int]:
    """An argument type: a whole number of at least `least`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {least}, got {text!r}")
        return value

    return parse


def number(least: float, most: float = math.inf, *, above: bool = False) -> Callable[[str], float]:
    """An argument type: a finite number from `least` (or, if `above`, beyond it) to `most`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (least < value if above else least <= value) or not value <= most or math.isinf(value):
            limits = f"{'above' if above else 'of at least'} {least:g}"
            limits += "" if math.isinf(most) else f" and at most {most:g}"
            raise argparse.ArgumentTypeError(f"expected a number {limits}, got {text!r}")
        return value

    return parse


def automatic(text: str) -> float | None:
    """An argument type: "auto", which is None, or a number from 0 to 1."""
    return None if text == "auto" else number(0, 1)(text)


def path(text: str) -> Path:
    """An argument type: a path or URL, which an empty text (a variable that is not set) is not."""
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"expected a file or folder, got {text!r}")
    try:
        return as_path(text)
    except CLRFaceError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def cluster(text: str) -> str:
    """An argument type: the address of a Ray cluster."""
    if text not in ("auto", "local") and re.fullmatch(r"[\w.\-\[\]:]+:\d+", text) is None:
        raise argparse.ArgumentTypeError(
            f"expected an address such as HOST:6379, auto or local, got {text!r}: without one, put --ray last"
        )
    return text


def add_files(parser: argparse.ArgumentParser) -> None:
    """INPUT..., -o OUT and what goes with them."""
    parser.add_argument(
        "inputs", nargs="+", type=path, metavar="INPUT", help="picture, or folder of pictures (its own, sorted)"
    )
    parser.add_argument(
        "-o", "--output", required=True, type=path, metavar="OUT",
        help="a name ending in .png, .jpg, .webp, .tif or .avif for one picture, otherwise a folder",
    )  # fmt: skip
    parser.add_argument("--recursive", action="store_true", help="take folders with all their sub-folders")
    group = parser.add_argument_group("results")
    group.add_argument("--format", choices=FORMATS, help="kind of file in a folder (png)")
    group.add_argument(
        "--quality", type=whole(1), metavar="Q", help="of JPEG (95), WebP (90, 100 is exact) and AVIF (80), 1 to 100"
    )
    group.add_argument("--strip-metadata", action="store_true", help="leave out EXIF, GPS, XMP, texts and resolution")
    group.add_argument("--overwrite", action="store_true", help="replace files that clrface did not write")
    group.add_argument(
        "--resume", action="store_true", help="skip results that are there, whole, of the same input and settings"
    )
    group.add_argument(
        "--frames",
        choices=("first", "all"),
        default="first",
        help="of animations and documents of several pages (first)",
    )


def output(args: argparse.Namespace) -> Output:
    """What `add_files` was told of the results."""
    from .files import Output

    names = ("format", "quality", "strip_metadata", "overwrite", "resume", "frames")
    return Output(**{name: getattr(args, name) for name in names})


def add_report(parser: argparse.ArgumentParser) -> None:
    """--json and --quiet."""
    parser.add_argument("--json", action="store_true", help="print a machine-readable report on standard output")
    parser.add_argument("--quiet", action="store_true", help="no progress and no lines but those about errors")


def add_device(parser: argparse.ArgumentParser) -> None:
    """--device."""
    parser.add_argument(
        "--device", default="auto", metavar="auto|cpu|cuda|mps", help="where to compute (default: the fastest present)"
    )
