"""Two processes on the CPU train one model, and it is the model that one process with their batches would have got."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch

from clrface_core.training.parts import Parts

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}


def arguments(shard: Path, run: Path, stage: str, *settings: str) -> list[str]:
    """Of the command `clrface`."""
    options = ["--config", "tiny", "--steps", "6", "--workers", "0", "--device", "cpu", "--quiet"]
    return ["train", stage, "--data", str(shard), "--run", str(run), *options, "--set", *settings]


def launch(shard: Path, run: Path, stage: str, processes: int, *settings: str) -> dict[str, torch.Tensor]:
    """The trained network's weights; seen from the outside, as a user would start it."""
    several = ["accelerate.commands.launch", "--multi_gpu", "--num_machines", "1", "--mixed_precision", "no"]
    several += ["--dynamo_backend", "no", "--main_process_port", "0", "--num_processes", str(processes), "-m"]
    launcher = ["-m", *several] if processes > 1 else ["-m"]  # --multi_gpu also starts processes where there are none
    command = [sys.executable, *launcher, "clrface_core", *arguments(shard, run, stage, *settings)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=shard.parent, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    return Parts.load(run / f"{stage}.safetensors").networks[stage].state_dict()


def test_two_processes_are_one_with_twice_the_batch(small_shard: Path, tmp_path: Path) -> None:
    """But for rounding, which the optimisers enlarge where gradients are next to nothing."""
    two = launch(small_shard, tmp_path / "two", "irn", 2, "batch=1", 'optimiser="adamw"')
    one = launch(small_shard, tmp_path / "one", "irn", 1, "batch=2", 'optimiser="adamw"')
    alone = launch(small_shard, tmp_path / "alone", "irn", 1, "batch=1", 'optimiser="adamw"')

    def distance(weights: dict[str, torch.Tensor]) -> float:
        return sum(float((weights[key] - one[key]).abs().sum()) for key in one)

    assert distance(two) < 0.02 * distance(alone), (distance(two), distance(alone))


def test_both_processes_keep_one_codebook(small_shard: Path, tmp_path: Path) -> None:
    """The VQ's codebook is placed anew from what each process saw, and its discriminator trains too."""
    weights = launch(small_shard, tmp_path / "run", "vq", 2, "batch=1")
    assert all(torch.isfinite(value).all() for value in weights.values() if value.is_floating_point())
    assert len((tmp_path / "run" / "vq" / "log.jsonl").read_text().splitlines()) >= 6, "one process writes, for all"


ONE_FAILS = """
import os, sys
from clrface_core.cli import main
from clrface_core.training.stages.irn import IRNStage

whole = IRNStage.loss
if os.environ["RANK"] == "1":
    def broken(self, network, batch, step, generator):
        factor = float("nan") if step == 2 else 1
        return {name: factor * term for name, term in whole(self, network, batch, step, generator).items()}
    IRNStage.loss = broken
sys.exit(main(sys.argv[1:]))
"""


def test_a_loss_that_is_no_number_in_one_process_ends_both(small_shard: Path, tmp_path: Path) -> None:
    """Started by hand: a launcher would end the second as soon as the first has failed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    team = ENVIRONMENT | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-c", ONE_FAILS, *arguments(small_shard, tmp_path / "run", "irn", "batch=1")]
    both = [
        subprocess.Popen(command, env=team | {"RANK": rank, "LOCAL_RANK": rank}, stderr=subprocess.PIPE, text=True)
        for rank in ("0", "1")
    ]
    try:
        messages = [process.communicate(timeout=300)[1] for process in both]
    finally:
        for process in both:
            process.kill()
    assert [process.returncode for process in both] == [1, 1], messages
    assert all("clrface: The loss became nan at step 2: lower lr and resume." in message for message in messages)
    assert (tmp_path / "run" / "irn" / "checkpoint.pt").is_file(), "what was learned until then is kept"
