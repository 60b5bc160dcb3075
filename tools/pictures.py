"""Make the pictures of the README with the bundled model: run it again whenever the model or a graph changes.

    python -m tools.pictures           # all of them
    python -m tools.pictures gallery   # one of them

slider: before and after, animated. gallery: six damages and what became of them. graphs: the example graphs as pictures
that ComfyUI opens when they are dropped on its window. logo: icon and banner of the registry.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
SAMPLES, GRAPHS, PICTURES = ROOT / "samples", ROOT / "workflows", ROOT / "docs" / "pictures"
PORTRAITS = {"hopper": "grace-hopper.jpg", "collins": "astronaut.jpg"}
FACES = {"hopper": (86, 60, 406, 380), "collins": (84, 0, 384, 300)}
"""The part of each portrait that is shown: left, top, right, bottom."""

BACKGROUND, INK, PAPER = (24, 26, 32), (40, 42, 50), (255, 255, 255)


def opened(path: Path) -> Image.Image:
    """A picture file as 8-bit RGB."""
    with Image.open(path) as picture:
        return picture.convert("RGB")


def as_tensor(picture: Image.Image) -> Tensor:
    """(3,H,W) float32 in [0,1]."""
    from clrface_core.photo import as_photo

    return as_photo(picture).rgb


def as_picture(rgb: Tensor) -> Image.Image:
    """(3,H,W) in [0,1] as 8-bit RGB."""
    return Image.fromarray((rgb.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own, which is the same on every machine."""
    return ImageFont.load_default(size)


# --- before and after ------------------------------------------------------------------------------------------------

FRAMES, PAUSE, EDGE = 36, 900, 0.04
"""Frames of one way of the slider, milliseconds of rest at its ends, and how near to the border it goes."""


def slider() -> None:
    """Both sample portraits, and a slider that uncovers what `clrface restore` makes of them."""
    from clrface_core import Restorer

    restorer = Restorer.load(device="cpu", dtype="float32")
    before, after = (Image.new("RGB", (760, 380)) for _ in range(2))
    for place, (name, file) in enumerate(PORTRAITS.items()):
        photo = opened(SAMPLES / file)
        for canvas, picture in ((before, photo), (after, as_picture(restorer.restore(photo).image))):
            canvas.paste(picture.crop(FACES[name]).resize((380, 380), Image.Resampling.LANCZOS), (380 * place, 0))
    frames = [_slid(before, after, share) for share in _there_and_back()]
    waits = [40] * len(frames)
    waits[0] = waits[FRAMES - 1] = PAUSE
    frames[0].save(
        PICTURES / "before-after.webp", save_all=True, append_images=frames[1:], duration=waits, loop=0, quality=72,
        method=6, minimize_size=True,
    )  # fmt: skip


def _there_and_back() -> Iterator[float]:
    way = [EDGE + (1 - 2 * EDGE) * (1 - math.cos(math.pi * i / (FRAMES - 1))) / 2 for i in range(FRAMES)]
    yield from way
    yield from reversed(way[1:-1])


def _slid(before: Image.Image, after: Image.Image, share: float) -> Image.Image:
    """What is left of the slider is restored; each of the two portraits has a slider of its own."""
    frame, side = before.copy(), before.height
    pen = ImageDraw.Draw(frame)
    for left in range(0, frame.width, side):
        at = left + round(share * side)
        frame.paste(after.crop((left, 0, at, side)), (left, 0))
        pen.line([(at, 0), (at, side)], fill=PAPER, width=3)
        pen.ellipse([at - 13, side - 53, at + 13, side - 27], fill=PAPER)
        pen.text((at, side - 40), "< >", fill=INK, font=font(14), anchor="mm")
    return frame


# --- gallery ---------------------------------------------------------------------------------------------------------


class Damage(NamedTuple):
    """What was done to a portrait: Gaussian blur and noise in pixels and 1/255, reduction, JPEG quality."""

    portrait: str
    sigma: float = 0.1
    reduction: float = 1.0
    noise: float = 0.0
    quality: int = 95
    grey: bool = False


GALLERY = (
    Damage("hopper", sigma=1.2, reduction=3, noise=4, quality=30),
    Damage("collins", reduction=8, quality=80),
    Damage("hopper", sigma=4, quality=75),
    Damage("collins", sigma=1, reduction=2, noise=24, quality=60, grey=True),
    Damage("collins"),
    Damage("hopper", sigma=2, reduction=20, noise=6, quality=50),
)
"""In the order of the README's captions. The fifth is as good as undamaged; the last one fails."""

TILE, GAP = 196, 8


def gallery() -> None:
    """Six damages, each as damaged, restored and as it was."""
    from clrface_core import Restorer

    restorer = Restorer.load(device="cpu", dtype="float32")
    width, height = 3 * TILE, TILE
    sheet = Image.new("RGB", (2 * width + 3 * GAP, 3 * height + 4 * GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, damage in enumerate(GALLERY):
        row, column = divmod(number, 2)
        left, top = GAP + column * (width + GAP), GAP + row * (height + GAP)
        for place, picture in enumerate(_damaged_restored_true(restorer, damage)):
            shown = picture.crop(FACES[damage.portrait]).resize((TILE, TILE), Image.Resampling.LANCZOS)
            sheet.paste(shown, (left + place * TILE, top))
        pen.rectangle([left, top, left + 22, top + 22], fill=BACKGROUND)
        pen.text((left + 11, top + 11), str(number + 1), fill=PAPER, font=font(16), anchor="mm")
    sheet.save(PICTURES / "gallery.webp", quality=84, method=6)


def _damaged_restored_true(restorer: object, damage: Damage) -> list[Image.Image]:
    from clrface_core import Restorer
    from clrface_core.degrade import Degradation

    assert isinstance(restorer, Restorer)
    true = opened(SAMPLES / "clean" / PORTRAITS[damage.portrait])
    drawn = Degradation(
        (damage.sigma, damage.sigma), 0.0, damage.reduction, damage.noise, damage.quality, damage.grey, noise_seed=1
    )
    damaged = as_picture(drawn.apply(as_tensor(true)))
    if damage.grey:
        true = ImageOps.grayscale(true).convert("RGB")
    return [damaged, as_picture(restorer.restore(damaged).image), true]


# --- graphs ----------------------------------------------------------------------------------------------------------

SHOWN = 320
"""Width of a graph's picture."""


def graph_picture(graph: Path) -> Image.Image:
    """The thumbnail of an example graph, reduced to a few colours."""
    picture = opened(graph.with_suffix(".jpg"))
    height = round(SHOWN * picture.height / picture.width)
    return picture.resize((SHOWN, height), Image.Resampling.LANCZOS).quantize(128, dither=Image.Dither.FLOYDSTEINBERG)


def picture_of(graph: Path) -> Path:
    """Where the picture of an example graph lies: its number says which."""
    return PICTURES / f"graph-{graph.name.split()[0]}.png"


def graphs() -> None:
    """One PNG per example graph, with the graph in its text `workflow`, where ComfyUI looks for it."""
    for old in PICTURES.glob("graph-*.png"):
        old.unlink()
    for graph in sorted(GRAPHS.glob("*.json")):
        text = PngInfo()
        text.add_text("workflow", json.dumps(json.loads(graph.read_text(encoding="utf-8"))))
        graph_picture(graph).save(picture_of(graph), pnginfo=text, optimize=True)


# --- logo ------------------------------------------------------------------------------------------------------------


def logo() -> None:
    """A face of which one half is blocks and the other one whole: the icon, and the banner with the name."""
    icon = _mark(400)
    icon.quantize(64).save(PICTURES / "icon.png", optimize=True)
    banner = Image.new("RGB", (1260, 540), BACKGROUND)
    banner.paste(_mark(540), (60, 0))
    pen = ImageDraw.Draw(banner)
    pen.text((620, 220), "CLR-Face", fill=PAPER, font=font(120), anchor="lm")
    pen.text((626, 330), "restores faces, keeps the person", fill=(190, 196, 208), font=font(38), anchor="lm")
    banner.quantize(64).save(PICTURES / "banner.png", optimize=True)


def _mark(side: int) -> Image.Image:
    large = 4 * side
    face = Image.new("RGB", (large, large), BACKGROUND)
    pen = ImageDraw.Draw(face)

    def box(x: float, y: float, across: float, down: float) -> list[float]:
        return [large * each for each in (x - across / 2, y - down / 2, x + across / 2, y + down / 2)]

    pen.ellipse(box(0.5, 0.52, 0.58, 0.74), fill=(236, 188, 150))
    pen.pieslice(box(0.5, 0.40, 0.62, 0.56), 180, 360, fill=(86, 52, 40))
    pen.ellipse(box(0.5, 0.56, 0.50, 0.54), fill=(244, 204, 170))
    for x in (0.39, 0.61):
        pen.ellipse(box(x, 0.50, 0.10, 0.065), fill=PAPER)
        pen.ellipse(box(x, 0.50, 0.058, 0.062), fill=(52, 92, 132))
        pen.arc(box(x, 0.465, 0.14, 0.10), 200, 340, fill=(86, 52, 40), width=large // 60)
    pen.arc(box(0.5, 0.585, 0.07, 0.09), 30, 150, fill=(206, 140, 110), width=large // 70)
    pen.chord(box(0.5, 0.69, 0.22, 0.13), 10, 170, fill=(196, 70, 74))
    whole = face.resize((side, side), Image.Resampling.LANCZOS)
    blocks = face.resize((12, 12), Image.Resampling.BOX).resize((side, side), Image.Resampling.NEAREST)
    whole.paste(blocks.crop((0, 0, side // 2, side)), (0, 0))
    ImageDraw.Draw(whole).line([(side // 2, 0), (side // 2, side)], fill=PAPER, width=max(side // 120, 2))
    return whole


MAKERS: dict[str, Callable[[], None]] = {"slider": slider, "gallery": gallery, "graphs": graphs, "logo": logo}


def main() -> None:
    """Make those that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m tools.pictures", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MAKERS)} (all)")
    names = parser.parse_args().names or list(MAKERS)
    unknown = [name for name in names if name not in MAKERS]
    if unknown:
        parser.error(f"expected names among {', '.join(MAKERS)}, got {', '.join(unknown)}")
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name in names:
        MAKERS[name]()


if __name__ == "__main__":
    main()
