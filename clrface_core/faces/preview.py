"""A picture with its faces boxed and numbered, to choose from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .detect import Face

COLOUR = (255, 200, 0)


def numbered(image: Tensor, faces: Sequence[Face], numbers: Sequence[int]) -> Tensor:
    """`image` (3,H,W) in [0,1] with a box and a number drawn on every face, as float32."""
    pixels = (image.float().clamp(0, 1) * 255).round().byte().movedim(0, -1).cpu().numpy()
    picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    side = max(picture.size)
    line = max(2, side // 300)
    for face, number in zip(faces, numbers, strict=True):
        x0, y0, x1, _ = face.box
        draw.rectangle(face.box, outline=COLOUR, width=line)
        font = ImageFont.load_default(max(12, min(x1 - x0, side / 25)))  # to be read where the picture is shown small
        left, top, right, bottom = draw.textbbox((0, 0), str(number), font=font)
        width, height = right - left + 4 * line, bottom - top + 4 * line
        x = min(max(x0, 0), max(picture.width - width, 0))
        y = y0 - height if y0 >= height else max(y0, 0)  # above the box, within it where there is no room
        draw.rectangle((x, y, x + width, y + height), fill=COLOUR)
        draw.text((x + 2 * line - left, y + 2 * line - top), str(number), fill=(0, 0, 0), font=font)
    return torch.from_numpy(np.asarray(picture).copy()).movedim(-1, 0).float() / 255
