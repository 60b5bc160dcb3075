"""`clrface restore`: what it writes, what it says, and how it ends, also when things go wrong."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clrface_core.cli import main
from clrface_core.faces.detect import Face
from clrface_core.models.bundle import build
from clrface_core.pipeline import Restorer
from clrface_core.references import SCALE, THRESHOLD
from tests.tiny import SIDE, Colours, face_at, files_in, picture


def test_one_photo_to_one_file(restore: Callable[..., int], found: list[Face], tmp_path: Path, capsys: Any) -> None:
    found.append(face_at(5, 2, 24))
    source = picture(tmp_path / "photo.jpg")
    assert restore(source, "-o", tmp_path / "done.png", "--strength", "1") == 0
    with Image.open(tmp_path / "done.png") as image:
        assert (image.format, image.size, image.mode) == ("PNG", (40, 30), "RGB")
    assert "1 face restored" in capsys.readouterr().out
    assert files_in(tmp_path) == ["done.png", "photo.jpg"]


def test_folders_and_files_to_a_folder(restore: Callable[..., int], tmp_path: Path) -> None:
    album = tmp_path / "album"
    for name in ("b.jpg", "a.png", "deeper/c.webp"):
        picture(album / name)
    (album / "notes.txt").write_text("no picture")
    single = picture(tmp_path / "single.tif")
    assert restore(album, single, "-o", tmp_path / "out") == 0
    assert files_in(tmp_path / "out") == ["a.png", "b.png", "single.png"]
    assert restore(album, "-o", tmp_path / "all", "--recursive") == 0
    assert files_in(tmp_path / "all") == ["a.png", "b.png", "deeper/c.png"]


def test_pictures_of_every_kind(restore: Callable[..., int], tmp_path: Path, capsys: Any) -> None:
    source = tmp_path / "in"
    for mode in ("RGB", "L", "RGBA", "P", "1", "LA"):
        picture(source / f"{mode}.png", mode)
    picture(source / "cmyk.jpg", "CMYK")
    picture(source / "dot.png", size=(1, 1))
    Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50).save(source / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(source / "turned.jpg", exif=exif)
    assert restore(source, "-o", tmp_path / "out") == 0
    sizes = {}
    for name in files_in(tmp_path / "out"):
        with Image.open(tmp_path / "out" / name) as image:
            sizes[name] = image.size
            if name == "RGBA.png":
                assert image.mode == "RGBA"
            if name == "deep.png":
                assert np.array_equal(np.asarray(image).astype(int).ravel(), np.arange(1200) * 50)
    assert sizes.pop("turned.png") == (30, 40) and sizes.pop("dot.png") == (1, 1)
    assert len(sizes) == 8 and set(sizes.values()) == {(40, 30)}
    assert "no face found, picture unchanged" in capsys.readouterr().out


def test_a_picture_of_24_megapixels(restore: Callable[..., int], found: list[Face], tmp_path: Path) -> None:
    found.append(face_at(3000, 2000, 700))
    Image.new("RGB", (6000, 4000), (90, 120, 150)).save(tmp_path / "large.jpg")
    assert restore(tmp_path / "large.jpg", "-o", tmp_path / "large.png") == 0
    with Image.open(tmp_path / "large.png") as image:
        assert image.size == (6000, 4000)


def bad_files(folder: Path) -> dict[str, Path]:
    folder.mkdir()
    whole = picture(folder / "whole.jpg", size=(200, 200)).read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("this is no picture")
    (folder / "empty.png").write_bytes(b"")
    (folder / "none").mkdir()
    (folder / "whole.jpg").unlink()
    return {name: folder / name for name in ("cut.jpg", "text.jpg", "empty.png", "none", "missing.jpg")}


def test_bad_inputs_are_named_and_the_others_done(restore: Callable[..., int], tmp_path: Path, capsys: Any) -> None:
    bad = bad_files(tmp_path / "bad")
    first, last = picture(tmp_path / "first.jpg"), picture(tmp_path / "last.jpg")
    assert restore(first, *bad.values(), last, "-o", tmp_path / "out") == 1
    assert files_in(tmp_path / "out") == ["first.png", "last.png"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(bad)
    for path, line in zip(bad.values(), lines, strict=True):
        assert line.startswith(f"clrface: {path}: ") and line.endswith("."), line


@pytest.mark.parametrize("name", ["cut.jpg", "text.jpg", "empty.png", "none", "missing.jpg"])
def test_a_bad_input_alone_leaves_nothing(restore: Callable[..., int], tmp_path: Path, capsys: Any, name: str) -> None:
    bad = bad_files(tmp_path / "bad")[name]
    assert restore(bad, "-o", tmp_path / "out") == 1
    assert not (tmp_path / "out").exists()
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_results_that_would_meet_get_names_of_their_own(restore: Callable[..., int], tmp_path: Path) -> None:
    one, other = picture(tmp_path / "x/face.jpg"), picture(tmp_path / "y/face.png", "L")
    assert restore(one, other, one, "-o", tmp_path / "out") == 0
    assert files_in(tmp_path / "out") == ["face.png", "face.png.png"]
    with Image.open(tmp_path / "out" / "face.png") as image:
        assert image.mode == "RGB"  # the first one's


def test_an_input_is_never_replaced(restore: Callable[..., int], tmp_path: Path, capsys: Any) -> None:
    source = picture(tmp_path / "face.png")
    before = source.read_bytes()
    assert restore(source, "-o", tmp_path) == 1
    assert restore(source, "-o", source) == 1
    photo = picture(tmp_path / "face.jpg")
    assert restore(photo, source, "-o", tmp_path) == 1
    assert source.read_bytes() == before
    assert files_in(tmp_path) == ["face.jpg", "face.png"]
    assert "would replace the input" in capsys.readouterr().err


def test_an_output_that_cannot_be_written(restore: Callable[..., int], tmp_path: Path, capsys: Any) -> None:
    source = picture(tmp_path / "face.jpg")
    (tmp_path / "file").write_text("in the way")
    assert restore(source, "-o", tmp_path / "file" / "out.png") == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert files_in(tmp_path) == ["face.jpg", "file"]


def test_no_partial_output_when_writing_fails(
    restore: Callable[..., int], tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    source = picture(tmp_path / "face.jpg")
    monkeypatch.setattr(os, "replace", full)
    assert restore(source, "-o", tmp_path / "face.png") == 1
    assert files_in(tmp_path) == ["face.jpg"]
    assert "No space left" in capsys.readouterr().err


def test_a_bug_is_not_reported_as_bad_input(
    restore: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(Restorer, "attempt_photos", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        restore(picture(tmp_path / "face.jpg"), "-o", tmp_path / "out")


def test_out_of_memory_stops_one_picture(
    restore: Callable[..., int], tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hungry(*args: object, **kwargs: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB")

    monkeypatch.setattr("clrface_core.pipeline.find_faces", hungry)
    assert restore(picture(tmp_path / "face.jpg"), "-o", tmp_path / "out") == 1
    assert "--batch-size" in capsys.readouterr().err


def test_interruption(
    restore: Callable[..., int], tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Restorer, "attempt_photos", interrupted)
    assert restore(picture(tmp_path / "face.jpg"), "-o", tmp_path / "out") == 130
    assert not (tmp_path / "out").exists()
    assert capsys.readouterr().err.splitlines() == ["clrface: interrupted"]


def test_the_report(restore: Callable[..., int], found: list[Face], tmp_path: Path, capsys: Any) -> None:
    found += [face_at(0, 0, 12), face_at(14, 2, 24)]
    source, missing = picture(tmp_path / "face.jpg"), tmp_path / "missing.jpg"
    assert (
        restore(source, missing, "-o", tmp_path / "out", "--faces", "0", "--seed", "3", "--json", "--strength", "1")
        == 1
    )
    report = json.loads(capsys.readouterr().out)
    assert report["model"] == "tiny" and report["device"] == "cpu" and report["dtype"] == "float32"
    assert report["settings"]["seed"] == 3 and report["settings"]["steps"] == 1
    assert report["settings"]["denoise"] == build("tiny").refiner.config.t0
    good, bad = report["results"]
    assert good["output"] == str(tmp_path / "out" / "face.png") and good["error"] is None and good["seconds"] > 0
    assert [face["restored"] for face in good["faces"]] == [True, False]
    assert good["faces"][0]["box"] == [14, 2, 38, 26]  # the largest comes first
    assert len(good["faces"][0]["landmarks"]) == 5 and good["faces"][0]["score"] == 0.9
    assert bad["output"] is None and bad["error"].endswith(".")


def test_aligned_faces(restore: Callable[..., int], tmp_path: Path, capsys: Any) -> None:
    square, oblong = picture(tmp_path / "square.png", size=(50, 50)), picture(tmp_path / "oblong.png")
    assert restore(square, oblong, "-o", tmp_path / "out", "--aligned") == 1
    assert files_in(tmp_path / "out") == ["square.png"]
    with Image.open(tmp_path / "out" / "square.png") as image:
        assert image.size == (SIDE, SIDE)
    assert "square" in capsys.readouterr().err


def test_a_number_of_a_face_that_is_not_there(
    restore: Callable[..., int], found: list[Face], tmp_path: Path, capsys: Any
) -> None:
    found.append(face_at(0, 0, 20))
    assert restore(picture(tmp_path / "face.jpg"), "-o", tmp_path / "out", "--faces", "1") == 1
    assert "(0 to 0), got 1" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_quiet_says_nothing(restore: Callable[..., int], tmp_path: Path, capsys: Any) -> None:
    assert restore(picture(tmp_path / "face.jpg"), "-o", tmp_path / "out", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_a_model_that_cannot_be_loaded_is_one_error(found: list[Face], tmp_path: Path, capsys: Any) -> None:
    source, model = picture(tmp_path / "face.jpg"), tmp_path / "none.safetensors"
    assert main(["restore", str(source), "-o", str(tmp_path / "out"), "--model", str(model)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "none.safetensors" in lines[0]


def test_references(
    restore: Callable[..., int], found: list[Face], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The photo itself is a reference that matches; one that is no picture is named, and the exit status says so."""
    found += [face_at(0, 0, 12), face_at(14, 2, 24)]
    monkeypatch.setattr("clrface_core.restorer.load_identity", lambda name, device: Colours())
    source = picture(tmp_path / "face.jpg")
    album = picture(tmp_path / "album" / "a.jpg").parent
    arguments = (source, "--reference", album, "--faces", "0", "--strength", "1", "--json")
    assert restore(*arguments, "-o", tmp_path / "one.png") == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert report["references"]["threshold"] == THRESHOLD and report["references"]["scale"] == SCALE
    assert "a.jpg: 2 people are seen" in printed.err and "2 people" in report["references"]["notes"][0]
    first, second = report["results"][0]["faces"]
    assert first["match"]["verdict"] == "the same person" and str(album / "a.jpg, face 0") in first["match"]["used"]
    assert first["match"]["cosines"].keys() == {face["source"] for face in report["references"]["faces"]}
    assert "match" not in second
    (album / "b.jpg").write_text("not a picture")
    missing = ("--reference", tmp_path / "missing.jpg")
    assert restore(*arguments[:-1], *missing, "-o", tmp_path / "two.png", "--reference-scale", "0") == 1
    printed = capsys.readouterr()
    assert "b.jpg" in printed.err and "missing.jpg: Expected a picture or a folder" in printed.err
    assert "face 0: the same person (cosine 1.00), 1 of 2 references used" in printed.out
    assert restore(source, "-o", tmp_path / "blind.png", "--faces", "0", "--strength", "1") == 0
    one, two, blind = (np.array(Image.open(tmp_path / f"{name}.png")) for name in ("one", "two", "blind"))
    assert np.array_equal(two, blind) and not np.array_equal(one, blind)
    assert restore(source, *missing, "-o", tmp_path / "three.png") == 1
    assert not (tmp_path / "three.png").exists() and "missing.jpg" in capsys.readouterr().err
