"""A lent machine, rehearsed on the CPU: parts go over, training goes on from what came back, nothing is lost."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from clrface_core.errors import CLRFaceError
from clrface_core.training.loop import TrainOptions

sys.path.insert(0, str(Path(__file__).parents[2]))
from tools import gpu_round


def test_files_go_over_in_parts(tmp_path: Path) -> None:
    contents = {"code.tar": bytes(range(256)) * 50, "empty": b"", "small": b"abc"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    parts, there = tmp_path / "parts", tmp_path / "there"
    gpu_round.pack([tmp_path / name for name in contents], parts, 5000)
    assert max(path.stat().st_size for path in parts.glob("0*")) == 5000
    gpu_round.unpack(parts, there)
    assert {path.name: path.read_bytes() for path in there.iterdir()} == contents
    (parts / "000.001").write_bytes(b"cut")
    with pytest.raises(CLRFaceError, match=r"000\.001"):
        gpu_round.unpack(parts, there)


def test_a_round_goes_on_from_what_came_back(options: Callable[..., TrainOptions], tmp_path: Path) -> None:
    plain = options("irn")

    def a_round(run: str, seconds: float) -> None:
        minutes = [f"{stage}={seconds / 60}" for stage in ("irn", "refiner")]
        places = ["--run", str(tmp_path / run), "--out", str(tmp_path / "out"), "--data", *map(str, plain.data)]
        how = ["--config", "tiny", "--device", "cpu", "--workers", "0", "--part", "1"]
        gpu_round.main(["run", "--minutes", *minutes, *places, *how])

    a_round("first", 1.0)
    saved = torch.load(tmp_path / "first/irn/checkpoint.pt", weights_only=True)
    assert saved["step"] > 0
    gpu_round.main(["restore", str(tmp_path / "out"), "--run", str(tmp_path / "second")])
    back = torch.load(tmp_path / "second/irn/checkpoint.pt", weights_only=True)
    assert back["step"] == saved["step"]
    for key, value in saved["network"].items():
        torch.testing.assert_close(back["network"][key], value, rtol=1e-3, atol=1e-6)
    a_round("second", 2.5)
    further = torch.load(tmp_path / "second/refiner/checkpoint.pt", weights_only=True)
    assert further["step"] > torch.load(tmp_path / "first/refiner/checkpoint.pt", weights_only=True)["step"]
