"""An album of small photos, a store of objects, and `clrface restore` with a tiny model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageEnhance

from clrface_core.cli import main

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
COUNT = 6


@pytest.fixture(scope="session")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of 96 px, no two the same."""
    return fill(tmp_path_factory.mktemp("photos") / "album", COUNT)


def fill(folder: Path, count: int) -> Path:
    """Put so many photos into a folder."""
    folder.mkdir()
    with Image.open(SAMPLES / "astronaut.jpg") as image:
        small = image.convert("RGB").resize((96, 96))
    for number in range(count):
        ImageEnhance.Brightness(small).enhance(0.7 + 0.5 * number / count).save(folder / f"{number:03d}.jpg")
    return folder


@pytest.fixture
def restore(tiny_file: Path) -> Callable[..., int]:
    """`clrface restore` with the tiny model, which takes all of a picture for a face."""

    def run(*arguments: object) -> int:
        fixed = ("--model", tiny_file, "--device", "cpu", "--dtype", "float32", "--aligned")
        return main(["restore", *map(str, (*arguments, *fixed))])

    return run


@pytest.fixture
def single(album: Path, restore: Callable[..., int], tmp_path: Path) -> dict[str, bytes]:
    """The results of a plain run, by name."""
    assert restore(album, "-o", tmp_path / "single", "--quiet") == 0
    return contents(tmp_path / "single")


def contents(folder: Any) -> dict[str, bytes]:
    """The pictures in a folder, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".png"}
