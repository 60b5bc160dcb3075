"""A contact sheet: one face a row, one output a column, names on top."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional

from ...errors import CLRFaceError

TILE = 256
HEADER = 24


def save_sheet(path: Path, titles: Sequence[str], rows: Sequence[Sequence[Tensor]]) -> None:
    """Write a PNG of pictures (3,S,S) in [0,1], each shown at 256 px; every row has one for each title."""
    if not rows or any(len(row) != len(titles) for row in rows):
        raise CLRFaceError(f"Expected rows of {len(titles)} pictures for the contact sheet, got others.")
    grid = torch.cat([torch.cat([_tile(picture) for picture in row], dim=2) for row in rows], dim=1)
    pixels = (grid.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    sheet = Image.new("RGB", (pixels.shape[1], pixels.shape[0] + HEADER), "white")
    sheet.paste(Image.fromarray(pixels), (0, HEADER))
    pen = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        pen.text((column * TILE + 6, 6), title, fill="black")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        sheet.save(temporary, "PNG")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _tile(picture: Tensor) -> Tensor:
    mode = "area" if picture.shape[1] > TILE else "nearest"
    return functional.interpolate(picture[None].float(), (TILE, TILE), mode=mode)[0]
