"""Writing: whole or not at all, rounded, clear refusals."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clrface_core.errors import CLRFaceError
from clrface_core.photo import MAX_PIXELS, Photo, read_photo, write_photo

RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(0, 256, (11, 14, 4), dtype=np.uint8)


def test_grey_that_got_colours_is_written_as_rgb(
    tmp_path: Path, save: Callable[..., Path], written: Callable[[Path, Photo], np.ndarray]
) -> None:
    photo = read_photo(save(tmp_path / "in.png", Image.fromarray(BYTES[..., 0])))
    rgb = photo.rgb.clone()
    rgb[:, 2, 3] = torch.tensor([1.0, 0, 0])
    values = written(tmp_path / "out.png", photo.with_rgb(rgb))
    expected = BYTES[..., :1].repeat(3, -1)
    expected[2, 3] = 255, 0, 0
    np.testing.assert_array_equal(values, expected)


def test_tensors_are_written_rounded_and_clamped(tmp_path: Path) -> None:
    values = torch.tensor([-0.5, 0.0, 0.4 / 255, 0.6 / 255, 1.0, 7.0]).expand(3, 1, -1)
    write_photo(tmp_path / "out.png", values)
    assert read_photo(tmp_path / "out.png").rgb[0, 0].mul(255).tolist() == pytest.approx([0, 0, 0, 1, 255, 255])
    write_photo(tmp_path / "mask.png", values[:1].bfloat16())
    assert read_photo(tmp_path / "mask.png").grey


@pytest.mark.parametrize("place", ["absent/out.png", "file/out.png", "folder.png", "out.bmp", "x" * 300 + ".png"])
def test_unwritable_places_are_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CLRFaceError, match=r"^Expected .*out|folder|xxx"):
        write_photo(tmp_path / place, torch.zeros(3, 2, 2))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device"), RuntimeError])
@pytest.mark.parametrize("there", [False, True])
def test_a_failed_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: type[BaseException] | OSError, there: bool
) -> None:
    path = tmp_path / "out.png"
    if there:
        path.write_bytes(b"the old file")

    def fail(*_: object) -> None:
        assert len(list(tmp_path.iterdir())) == 1 + there  # the temporary file lies beside it
        raise failure

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(CLRFaceError if isinstance(failure, OSError) else failure):
        write_photo(path, torch.zeros(3, 2, 2))
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([b"the old file"] if there else [])


def test_overwriting_replaces_the_file(tmp_path: Path) -> None:
    for value in (0.0, 1.0):
        write_photo(tmp_path / "out.png", torch.full((3, 2, 2), value))
        assert read_photo(tmp_path / "out.png").rgb.mean() == value
    assert [file.name for file in tmp_path.iterdir()] == ["out.png"]


@pytest.mark.parametrize(
    "values",
    [torch.zeros(2, 3, 3), torch.zeros(3, 0, 3), torch.zeros(3, 3, 3).byte(), torch.full((3, 3, 3), torch.nan)],
)
def test_useless_tensors_are_refused(tmp_path: Path, values: torch.Tensor) -> None:
    with pytest.raises(CLRFaceError, match=r"^Expected"):
        write_photo(tmp_path / "out.png", values)
    assert not list(tmp_path.iterdir())


def test_useless_photos_are_refused() -> None:
    with pytest.raises(CLRFaceError, match="alpha"):
        Photo(torch.zeros(3, 4, 4), torch.zeros(4, 5))
    with pytest.raises(CLRFaceError, match="bits"):
        Photo(torch.zeros(3, 4, 4), bits=12)
    assert MAX_PIXELS > 6000 * 4000
