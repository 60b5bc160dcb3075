"""The `clrface` command as a whole: wrong usage, help, version, and a run from a real shell."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clrface_core.cli import build_parser, main
from clrface_core.commands import options
from clrface_core.commands import restore as restore_command
from clrface_core.commands import train as train_command
from clrface_core.degrade import PRESETS
from clrface_core.diffusion.solvers import SOLVERS
from clrface_core.faces import detect
from clrface_core.faces.detect import ORDERS
from clrface_core.faces.region import REGIONS
from clrface_core.models.bundle import default_bundle_path
from clrface_core.precision import DTYPES
from clrface_core.references import SCALE, THRESHOLD
from clrface_core.training.stages import STAGES


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
        ["restore", "a.jpg", "-o", "out", "--reference", ""],
        ["restore", "a.jpg", "-o", "out", "--reference", "b.jpg", "--reference-threshold", "2"],
        ["restore", "a.jpg", "-o", "out", "--reference", "b.jpg", "--reference-scale", "-1"],
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


def test_the_names_in_the_help_are_those_of_the_library() -> None:
    assert set(options.SOLVERS) == set(SOLVERS)
    assert set(restore_command.DETECTORS) == set(detect.DETECTORS)
    assert set(restore_command.ORDERS) == set(ORDERS)
    assert set(options.DTYPES) == set(DTYPES)
    assert set(options.PRESETS) == set(PRESETS)
    assert options.REGIONS == REGIONS
    assert set(train_command.STAGES) == set(STAGES)
    assert (options.REFERENCE_THRESHOLD, options.REFERENCE_SCALE) == (THRESHOLD, SCALE)


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
        "--reference",
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
