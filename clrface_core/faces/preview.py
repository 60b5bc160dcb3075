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
    width = max(2, round(max(picture.size) / 400))
    for face, number in zip(faces, numbers, strict=True):
        draw.rectangle(face.box, outline=COLOUR, width=width)
        x0, y0, x1, _ = face.box
        font = ImageFont.load_default(max(12, (x1 - x0) / 4))
        left, top, right, bottom = draw.textbbox((x0, y0), str(number), font=font)
        draw.rectangle((left - width, top - width, right + width, bottom + width), fill=COLOUR)
        draw.text((x0, y0), str(number), fill=(0, 0, 0), font=font)
    return torch.from_numpy(np.asarray(picture).copy()).movedim(-1, 0).float() / 255
