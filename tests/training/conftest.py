"""Faces to train on."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture
def shard(tmp_path: Path, smooth_picture: Callable[..., torch.Tensor]) -> Path:
    """Three 512 px "faces" of set b and one 256 px one of set a1."""
    path = tmp_path / "faces.tar"
    with tarfile.open(path, "w") as tar:
        for number, (name, side) in enumerate([("b-0", 512), ("b-1", 512), ("b-2", 512), ("a1-0", 256)]):
            pixels = (smooth_picture(side, side, number).permute(1, 2, 0).numpy() * 255).astype(np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            member = tarfile.TarInfo(f"{name}.png")
            member.size = buffer.tell()
            buffer.seek(0)
            tar.addfile(member, buffer)
    return path
