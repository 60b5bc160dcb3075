"""Faces to train on, and runs in a folder of the test's own."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clrface_core.models.bundle import build
from clrface_core.training.loop import TrainOptions
from clrface_core.training.parts import Parts


@pytest.fixture
def shard_of(tmp_path: Path, smooth_picture: Callable[..., torch.Tensor]) -> Callable[[int], Path]:
    """`shard_of(side)`: three "faces" of set b at that side and one of set a1 at half of it."""

    def make(side: int) -> Path:
        path = tmp_path / f"faces-{side}.tar"
        with tarfile.open(path, "w") as tar:
            for number, (name, extent) in enumerate([("b-0", side), ("b-1", side), ("b-2", side), ("a1-0", side // 2)]):
                pixels = (smooth_picture(extent, extent, number).permute(1, 2, 0).numpy() * 255).astype(np.uint8)
                buffer = io.BytesIO()
                Image.fromarray(pixels).save(buffer, "PNG")
                member = tarfile.TarInfo(f"{name}.png")
                member.size = buffer.tell()
                buffer.seek(0)
                tar.addfile(member, buffer)
        return path

    return make


@pytest.fixture
def shard(shard_of: Callable[[int], Path]) -> Path:
    """Faces of 512 px, as the real ones are."""
    return shard_of(512)


@pytest.fixture
def small_shard(shard_of: Callable[[int], Path]) -> Path:
    """Faces of 128 px: the tiny model restores 64."""
    return shard_of(128)


@pytest.fixture
def options(small_shard: Path, tmp_path: Path) -> Callable[..., TrainOptions]:
    """`options(stage, run="run", **changes)`: what trains a stage of the tiny model in a folder of that name."""

    def make(stage: str, run: str = "run", **changes: object) -> TrainOptions:
        settings: dict = {"config": "tiny", "workers": 0, "progress": False} | changes
        return TrainOptions(stage, [small_shard], tmp_path / run, **settings)

    return make


@pytest.fixture
def prepare() -> Callable[..., None]:
    """`prepare(run, *stages)` puts random networks where earlier stages would have left theirs."""

    def put(run: Path, *stages: str) -> None:
        torch.manual_seed(0)
        networks = build("tiny").networks()
        for stage in stages:
            Parts({stage: networks[stage]}, "tiny", size=64).save(run / f"{stage}.safetensors")

    return put


@pytest.fixture
def losses_of() -> Callable[[Path, str], list[dict]]:
    """`losses_of(run, stage)` are the logged figures of its steps."""

    def read(run: Path, stage: str) -> list[dict]:
        rows = [json.loads(line) for line in (run / stage / "log.jsonl").read_text().splitlines()]
        return [row for row in rows if "lr" in row]

    return read
