"""Animations and documents of several pages: one is read and the rest counted, or all are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, features

from clrface_core.errors import CLRFaceError
from clrface_core.photo import FRAMED, Photo, as_photo, count_frames_of, read_frames, read_photo, write_frames

ANIMATED = [".gif", ".png", ".webp", *([".avif"] if features.check("avif") else [])]
COLOURS = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]


def frames(size: tuple[int, int] = (32, 24)) -> list[Image.Image]:
    return [Image.new("RGB", size, colour) for colour in COLOURS]


@pytest.mark.parametrize("ending", [*ANIMATED, ".tif"])
def test_frames_left_out_are_counted_and_all_are_read(tmp_path: Path, ending: str) -> None:
    first, *others = frames()
    path = tmp_path / f"in{ending}"
    options: dict[str, Any] = {} if ending == ".tif" else {"duration": 40}
    first.save(path, save_all=True, append_images=others, **options)
    assert read_photo(path).frames_left_out == 2
    assert as_photo(path).frames_left_out == 2 and count_frames_of(path) == 3
    found = list(read_frames(path))
    assert len(found) == 3
    for photo, colour in zip(found, COLOURS, strict=True):
        assert photo.rgb.mean((1, 2)).mul(255).tolist() == pytest.approx(colour, abs=6)
        assert photo.duration == (None if ending == ".tif" else 40)
    write_frames(tmp_path / f"out{ending}", found)
    again = list(read_frames(tmp_path / f"out{ending}"))
    assert len(again) == 3 and [photo.duration for photo in again] == [photo.duration for photo in found]
    for photo, colour in zip(again, COLOURS, strict=True):
        assert photo.rgb.mean((1, 2)).mul(255).tolist() == pytest.approx(colour, abs=8)


def test_one_frame_is_one_frame(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "in.png")
    [photo] = read_frames(tmp_path / "in.png")
    assert photo.frames_left_out == 0 and count_frames_of(tmp_path / "in.png") == 1


def test_pages_keep_size_and_depth(tmp_path: Path) -> None:
    deep = torch.from_numpy(np.random.default_rng(0).integers(0, 65536, (3, 9, 11)).astype(np.float32)) / 65535
    pages = [Photo(deep, bits=16), Photo(torch.rand(3, 5, 4).mul(255).round() / 255, torch.ones(5, 4))]
    write_frames(tmp_path / "out.tif", pages)
    first = read_photo(tmp_path / "out.tif")
    assert torch.equal(first.rgb, deep) and first.bits == 16 and first.frames_left_out == 1
    assert [photo.rgb.shape for photo in read_frames(tmp_path / "out.tif")] == [(3, 9, 11), (3, 5, 4)]


def test_frames_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    pages = [Photo(torch.zeros(3, 4, 4)), Photo(torch.zeros(3, 5, 4))]
    for photos, name in ((pages, "out.webp"), ([], "out.tif"), (pages, "out.jpg")):
        with pytest.raises(CLRFaceError, match=r"^Expected "):
            write_frames(tmp_path / name, photos)
    assert not list(tmp_path.iterdir()) and ".jpg" not in FRAMED


def test_grey_and_coloured_frames_go_together(tmp_path: Path) -> None:
    grey = Photo(torch.full((3, 4, 4), 0.5), grey=True, bits=16)
    write_frames(tmp_path / "out.png", [grey, Photo(torch.rand(3, 4, 4), torch.ones(4, 4))])
    assert len(list(read_frames(tmp_path / "out.png"))) == 2
