"""Kills, full disks and the like, a few of them; `python -m tools.faults` makes more happen."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(sys.platform != "linux", reason="tools.faults is for Linux")
def test_faults_lose_nothing_and_fake_nothing() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tools.faults", "--kills", "3", "--pictures", "6"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=900)
    rows = [line.split(" | ") for line in done.stdout.splitlines()[2:]]
    assert len(rows) == 7 and {row[1] for row in rows} <= {"yes", "not tried"}, done.stdout + done.stderr
    assert done.returncode == 0
