"""The clock takes turns, the counters count, and the report lands between its marks."""

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def measure() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmarks_measure", ROOT / "benchmarks" / "measure.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_medians_warm_up_and_take_turns(measure: ModuleType) -> None:
    calls: list[str] = []
    waits = iter([0.0, 0.03, 0.3, 0.03])

    def slow() -> None:
        calls.append("slow")
        time.sleep(next(waits))

    seconds = measure.medians({"slow": slow, "quick": lambda: calls.append("quick")}, repeats=3)
    assert calls == ["slow", "quick"] * 4
    assert 0.03 <= seconds["slow"] < 0.2, "the one slow run does not count"
    assert seconds["quick"] < 0.01


def test_slow_works_are_repeated_less_often(measure: ModuleType) -> None:
    calls: list[str] = []

    def slow() -> None:
        calls.append("slow")
        time.sleep(0.06)

    measure.medians({"slow": slow, "quick": lambda: calls.append("quick")}, repeats=5, patience=0.1)
    assert calls.count("slow") == 1 + 2 and calls.count("quick") == 1 + 5


def test_a_busy_machine_is_timed_by_the_seconds_of_its_processor(
    measure: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(measure.BUSY, "1")
    assert measure.medians({"waiting": lambda: time.sleep(0.1)}, repeats=1)["waiting"] < 0.05


def test_gmac_and_parameters_of_a_convolution(measure: ModuleType) -> None:
    conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
    assert measure.parameters(conv, None, conv) == 2 * 8 * 3 * 9
    assert measure.gmac(lambda: conv(torch.zeros(1, 3, 100, 100))) == pytest.approx(8 * 3 * 9 * 1e4 / 1e9)


def results() -> dict:
    def row(name: str, seconds: float) -> dict:
        of = {"CodeFormer": seconds / 4, "RestoreFormer": seconds / 3, "GFPGAN": seconds / 2}
        return {"name": name, "seconds": seconds, "of": of, "gmac": 60.0, "parameters": 15e6, "peak_gb": 1.0}

    ours, slow = row("s, 4 steps, end to end", 0.5), [row("CodeFormer", 4), row("RestoreFormer", 3), row("GFPGAN", 2)]
    quick = [row("CodeFormer", 2), row("RestoreFormer", 1.5), row("GFPGAN", 1), ours]
    return {
        "machine": {"cpu": "A", "threads": 2, "gpu": None, "torch": "2"}, "repeats": 3, "chosen": "float32",
        "float32": [*slow, ours], "bfloat16": quick,
        "stages": {"IRN": {"ms": 123.4, "of": ours["of"], "gmac": 2.0, "parameters": 6e6}},
        "beginning": {"import": 0.05, "load": 0.2, "first": 1.2, "next": 1.0}, "crowd": {"1": 1.5, "20": 1.6},
        "scaling": {"faces": [{"at": 1, "seconds": 1.5, "peak_gb": 0.9}, {"at": 40, "seconds": 30, "peak_gb": 1.1}]},
    }  # fmt: skip


def report(tmp_path: Path, readme: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "results.json").write_text(json.dumps(results()))
    (tmp_path / "README.md").write_text(readme)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "benchmarks.md").write_text(
        "before\n<!-- benchmarks -->\nold\n<!-- end of benchmarks -->\nafter"
    )
    command = [sys.executable, "-m", "benchmarks.report", str(tmp_path / "results.json"), "--root", str(tmp_path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_report_replaces_what_stands_between_its_marks(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need matplotlib (the extra `benchmarks`)")
    done = report(tmp_path, "before\n<!-- speed: by a command -->\nold\n<!-- end of speed -->\nafter")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "docs" / "benchmarks.md").read_text()
    assert text.startswith("before") and text.endswith("after") and "old" not in text
    assert "| CLR-Face, 4 steps, end to end | 0.50 | 0.12 | 0.17 | 0.25 | 60 | 15.0 | 1.00 |" in text
    ours = "| CLR-Face, 4 steps, end to end, in float32 | 0.50 | 0.25 | 0.33 | 0.50 |"
    assert ours in text, "against the peers in bfloat16"
    assert "| IRN | 123 | 0.12 | 0.17 | 0.25 | 2.0 | 6.00 |" in text
    assert "each further one adds 0.49 of" in text and "1.50 GB with 1, 1.60 GB with 20 faces" in text
    assert "(pictures/scaling.png)" in text
    assert (tmp_path / "docs" / "pictures" / "scaling.png").read_bytes().startswith(b"\x89PNG")
    short = (tmp_path / "README.md").read_text()
    assert short.startswith("before\n<!-- speed: by a command -->\n| one face") and short.endswith("after")
    assert (
        "| **CLR-Face**, 4 steps | 0.50 | 0.12 | 15 | 1.0 |" in short
        and "| CodeFormer | 4.00 | 1.00 | 15 | 1.0 |" in short
    )


def test_a_readme_without_marks_is_left_alone(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need matplotlib (the extra `benchmarks`)")
    done = report(tmp_path, "no marks")
    assert done.returncode != 0 and "found none" in done.stderr
    assert (tmp_path / "README.md").read_text() == "no marks"
