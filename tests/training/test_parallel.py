"""Two processes on the CPU train one model, and it is the model that one process with their batches would have got."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from clrface_core.training.parts import Parts

pytest.importorskip("accelerate", reason="the extra `training` is not installed")


def launch(shard: Path, run: Path, stage: str, processes: int, *settings: str) -> dict[str, torch.Tensor]:
    """The trained network's weights; seen from the outside, as a user would start it."""
    several = ["accelerate.commands.launch", "--multi_gpu", "--num_machines", "1", "--mixed_precision", "no"]
    several += ["--dynamo_backend", "no", "--main_process_port", "0", "--num_processes", str(processes), "-m"]
    launcher = ["-m", *several] if processes > 1 else ["-m"]  # --multi_gpu also starts processes where there are none
    command = [sys.executable, *launcher, "clrface_core", "train", stage, "--config", "tiny", "--data", str(shard)]
    command += ["--run", str(run), "--steps", "6", "--workers", "0", "--device", "cpu", "--quiet", "--set", *settings]
    root = Path(__file__).parents[2]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=shard.parent, env=environment)
    assert done.returncode == 0, done.stderr
    return Parts.load(run / f"{stage}.safetensors").networks[stage].state_dict()


def test_two_processes_are_one_with_twice_the_batch(shard: Path, tmp_path: Path) -> None:
    """But for rounding, which the optimisers enlarge where gradients are next to nothing."""
    two = launch(shard, tmp_path / "two", "irn", 2, "batch=1", 'optimiser="adamw"')
    one = launch(shard, tmp_path / "one", "irn", 1, "batch=2", 'optimiser="adamw"')
    alone = launch(shard, tmp_path / "alone", "irn", 1, "batch=1", 'optimiser="adamw"')

    def distance(weights: dict[str, torch.Tensor]) -> float:
        return sum(float((weights[key] - one[key]).abs().sum()) for key in one)

    assert distance(two) < 0.02 * distance(alone), (distance(two), distance(alone))


def test_both_processes_keep_one_codebook(shard: Path, tmp_path: Path) -> None:
    """The VQ's codebook is placed anew from what each process saw, and its discriminator trains too."""
    weights = launch(shard, tmp_path / "run", "vq", 2, "batch=1")
    assert all(torch.isfinite(value).all() for value in weights.values() if value.is_floating_point())
    assert len((tmp_path / "run" / "vq" / "log.jsonl").read_text().splitlines()) >= 6, "one process writes, for all"
