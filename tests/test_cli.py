"""The `clrface` command: what it writes, what it says, and how it ends, also when things go wrong."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clrface_core.cli import build_parser, main
from clrface_core.commands import evaluate as evaluate_command
from clrface_core.commands import options
from clrface_core.commands import restore as restore_command
from clrface_core.commands import train as train_command
from clrface_core.degrade import PRESETS
from clrface_core.diffusion.solvers import SOLVERS
from clrface_core.evaluation.compared.plan import ABLATIONS
from clrface_core.evaluation.metrics.catalogue import METRICS
from clrface_core.faces import detect
from clrface_core.faces.detect import ORDERS, Face
from clrface_core.models.bundle import build, default_bundle_path, save_bundle
from clrface_core.pipeline import Restorer
from clrface_core.precision import DTYPES
from clrface_core.training import assemble, loop
from clrface_core.training.stages import STAGES
from tests.tiny import SIDE, Given, face_at


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    bundle = build("tiny")
    bundle.notes = {"data": "none"}
    save_bundle(path, bundle)
    return path


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Face]:
    """The faces that the detector finds in every picture: none, unless a test adds some. Crops are small."""
    faces: list[Face] = []

    given = Given()
    given.faces = faces
    monkeypatch.setattr("clrface_core.pipeline.load_detector", lambda *args, **kwargs: given)
    return faces


@pytest.fixture
def restore(model: Path, found: list[Face]) -> Callable[..., int]:
    """`clrface restore` with the tiny model, one step, on the CPU."""

    def run(*arguments: object) -> int:
        fixed = ("--model", str(model), "--steps", "1", "--device", "cpu", "--dtype", "float32")
        return main(["restore", *map(str, arguments), *fixed])

    return run


def picture(path: Path, mode: str = "RGB", size: tuple[int, int] = (40, 30), **options: Any) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).convert(mode).save(path, **options)
    return path


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_one_photo_to_one_file(restore: Callable[..., int], found: list[Face], tmp_path: Path, capsys: Any) -> None:
    found.append(face_at(5, 2, 24))
    source = picture(tmp_path / "photo.jpg")
    assert restore(source, "-o", tmp_path / "done.png") == 0
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
    assert restore(source, missing, "-o", tmp_path / "out", "--faces", "0", "--seed", "3", "--json") == 1
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


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["polish"],
        ["restore"],
        ["restore", "a.jpg"],
        ["restore", "a.jpg", "-o", "out", "--steps", "0"],
        ["restore", "a.jpg", "-o", "out", "--steps", "some"],
        ["restore", "a.jpg", "-o", "out", "--solver", "newton"],
        ["restore", "a.jpg", "-o", "out", "--denoise", "0"],
        ["restore", "a.jpg", "-o", "out", "--denoise", "nan"],
        ["restore", "a.jpg", "-o", "out", "--guidance-scale", "-1"],
        ["restore", "a.jpg", "-o", "out", "--guidance-scale", "inf"],
        ["restore", "a.jpg", "-o", "out", "--faces", "biggest"],
        ["restore", "a.jpg", "-o", "out", "--feather", "2"],
        ["restore", "a.jpg", "-o", "out", "--score-threshold", "1"],
        ["restore", "a.jpg", "-o", "out", "--at-most", "-1"],
        ["restore", "a.jpg", "-o", "out.bmp"],
        ["restore", "a.jpg", "-o", ""],
        ["restore", "", "-o", "out"],
        ["restore", "a.jpg", "-o", "out", "--format", "gif"],
        ["restore", "a.jpg", "-o", "out", "--quality", "101"],
        ["restore", "a.jpg", "b.jpg", "-o", "out.png"],
        ["degrade", "a.jpg", "-o", "out", "--preset", "mild", "--config", "own.json"],
        ["train"],
        ["train", "decoder"],
        ["train", "vq", "--run", "run"],
    ],
)
def test_wrong_usage(arguments: list[str], capsys: Any) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_a_model_that_cannot_be_loaded_is_one_error(found: list[Face], tmp_path: Path, capsys: Any) -> None:
    source, model = picture(tmp_path / "face.jpg"), tmp_path / "none.safetensors"
    assert main(["restore", str(source), "-o", str(tmp_path / "out"), "--model", str(model)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "none.safetensors" in lines[0]


def test_degrading_is_reproducible_and_does_not_depend_on_company(tmp_path: Path) -> None:
    one, other = picture(tmp_path / "one.png", size=(64, 64)), picture(tmp_path / "other.png", size=(64, 64))
    out = [tmp_path / name for name in ("a", "b", "c")]
    assert main(["degrade", str(one), "-o", str(out[0]), "--seed", "1", "--quiet"]) == 0
    assert main(["degrade", str(other), str(one), "-o", str(out[1]), "--seed", "1", "--quiet"]) == 0
    assert main(["degrade", str(one), "-o", str(out[2]), "--seed", "2", "--quiet"]) == 0
    first, among, differently = ((folder / "one.png").read_bytes() for folder in out)
    assert first == among != differently != one.read_bytes()


def test_degrading_with_ranges_of_ones_own(tmp_path: Path, capsys: Any) -> None:
    source, config = picture(tmp_path / "one.png", size=(64, 64)), tmp_path / "own.json"
    config.write_text('{"reduction": [2, 2], "quality": [40, 40]}')
    arguments = ["degrade", str(source), "-o", str(tmp_path / "out.png"), "--config", str(config)]
    assert main([*arguments, "--json"]) == 0
    drawn = json.loads(capsys.readouterr().out)["results"][0]["degradation"]
    assert (drawn["reduction"], drawn["quality"]) == (2, 40)
    for text in ('{"blur": [1, 2]}', "[1, 2]", "no json", '{"reduction": [4, 2]}'):
        config.write_text(text)
        assert main(arguments) == 1
        assert capsys.readouterr().err.startswith("clrface: Expected ")


def test_info(model: Path, capsys: Any) -> None:
    assert main(["info", str(model), "--json"]) == 0
    description = json.loads(capsys.readouterr().out)
    bundle = build("tiny")
    for name, network in bundle.networks().items():
        assert description["networks"][name]["parameters"] == sum(p.numel() for p in network.parameters())
    assert description["bytes"] == model.stat().st_size and description["notes"] == {"data": "none"}
    assert main(["info", str(model)]) == 0
    table = capsys.readouterr().out
    assert description["sha256"] in table and "refiner" in table and "n_embed=64" in table
    assert main(["info", str(model.parent)]) == 1


def test_training_and_export_reach_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    class Done:
        step = 7

    def train(options: loop.TrainOptions) -> Done:
        seen.append(options)
        return Done()

    def export(*arguments: Any) -> None:
        seen.append(arguments)

    monkeypatch.setattr(loop, "train", train)
    monkeypatch.setattr(assemble, "export", export)
    notes = tmp_path / "notes.json"
    notes.write_text('{"compute": "two cores"}')
    command = ["train", "irn", "--data", "a.tar", "b.tar", "--run", "run", "--minutes", "2.5", "--device", "cpu"]
    assert main([*command, "--set", "lr=0.1", "--quiet"]) == 0
    assert (seen[0].stage, seen[0].data, seen[0].minutes) == ("irn", [Path("a.tar"), Path("b.tar")], 2.5)
    assert seen[0].overrides == ["lr=0.1"] and seen[0].device == "cpu" and not seen[0].progress
    assert main(["train", "export", "--run", "run", "-o", "m.safetensors", "--notes", str(notes)]) == 0
    assert seen[1] == (Path("run"), Path("m.safetensors"), "s", {"compute": "two cores"}, None, {})
    assert main(["train", "export", "--run", "run", "-o", "m.safetensors", "--average", "irn=0.6", "mask=1"]) == 0
    assert seen[2][5] == {"irn": 0.6, "mask": 1.0}


def test_evaluation_writes_a_report(model: Path, tmp_path: Path, capsys: Any) -> None:
    faces, out = tmp_path / "faces", tmp_path / "report"
    for name in ("b-1.png", "b-2.png", "c-1.png"):
        picture(faces / name, size=(64, 64))
    (faces / "c-0.png").write_text("damaged")
    command = ["evaluate", "--data", str(faces), "-o", str(out), "--model", str(model), "--limit", "1", "--steps", "1"]
    assert main([*command, "--device", "cpu", "--dtype", "float32", "--json"]) == 1
    assert {"contact.png", "report.json", "report.md"} <= {*files_in(out)}
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert {row["output"] for row in report["rows"]} == {"input", "IRN alone", "1 step"}
    assert report["settings"]["model"] == "tiny" and "c-0" in printed.err
    text = (out / "report.md").read_text()
    assert "## Set b, 1 faces" in text and "| 1 step |" in text and "Missing metric lpips-vgg" in text
    assert set(evaluate_command.METRICS) == set(METRICS) and set(evaluate_command.ABLATIONS) == set(ABLATIONS)


def test_the_names_in_the_help_are_those_of_the_library() -> None:
    assert set(options.SOLVERS) == set(SOLVERS)
    assert set(restore_command.DETECTORS) == set(detect.DETECTORS)
    assert set(restore_command.ORDERS) == set(ORDERS)
    assert set(options.DTYPES) == set(DTYPES)
    assert set(options.PRESETS) == set(PRESETS)
    assert set(train_command.STAGES) == set(STAGES)


def test_help_answers_without_loading_torch() -> None:
    code = (
        "import sys\n"
        "from clrface_core.cli import main\n"
        "try:\n    main(['restore', '--help'])\n"
        "except SystemExit as end:\n    code = end.code\n"
        "sys.exit(code or ('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for option in (
        "--aligned",
        "--steps",
        "--solver",
        "--denoise",
        "--guidance-scale",
        "--seed",
        "--detector",
        "--faces",
    ):
        assert option in done.stdout


def test_version(capsys: Any) -> None:
    from importlib.metadata import PackageNotFoundError, version

    from clrface_core import __version__

    with pytest.raises(SystemExit):
        build_parser().parse_args(["--version"])
    assert __version__ in capsys.readouterr().out
    try:
        assert version("clr-face") == __version__
    except PackageNotFoundError:
        pytest.skip("the package is not installed here, only on the path")


def test_the_module_is_the_command(tmp_path: Path) -> None:
    """A real photograph from a real shell: the bundled detector and model, in another process."""
    sample = Path(__file__).parents[1] / "samples" / "grace-hopper.jpg"
    if not default_bundle_path().is_file():
        pytest.skip("no bundled model in this checkout")
    command = [sys.executable, "-m", "clrface_core", "restore", str(sample), "-o", str(tmp_path / "out.png"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert len(result["faces"]) == 1 and result["faces"][0]["restored"]
    with Image.open(tmp_path / "out.png") as restored, Image.open(sample) as before:
        assert restored.size == before.size
        change = np.abs(np.asarray(restored, dtype=int) - np.asarray(before.convert("RGB"), dtype=int)).max(2)
    assert (change > 8).any() and (change == 0).mean() > 0.5
