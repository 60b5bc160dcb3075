"""Whatever happens to a batch, nothing is lost and nothing faked: `python -m tools.faults`, in short."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(sys.platform != "linux", reason="the faults are made with means of Linux")
def test_a_batch_survives_every_fault() -> None:
    command = [sys.executable, "-m", "tools.faults", "--kills", "3", "--pictures", "6"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    verdicts = [line.split("|")[2].strip() for line in done.stdout.splitlines()[2:]]
    assert len(verdicts) == 7 and set(verdicts) <= {"yes", "not tried"} and verdicts.count("yes") >= 5, done.stdout
