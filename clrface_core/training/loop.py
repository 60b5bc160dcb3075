"""The one training loop: batches in, checkpoints, curves, sample grids and bundle parts out; resumable.

A run is a folder. Each stage keeps `<stage>/checkpoint.pt` (everything a resumed run needs),
`<stage>/log.jsonl` and TensorBoard events (the curves), `<stage>/samples-*.png` (the grids), and writes its
averaged network to `<stage>.safetensors`, where the next stages find it. `export` joins those to one bundle.
"""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torchvision.utils import save_image
from tqdm import tqdm

from ..errors import CLRFaceError
from ..models.identity import load_identity
from ..models.perceptual import LPIPS
from . import muon
from .assemble import assemble
from .curves import Curves
from .data import FaceShards, batches
from .parallel import as_first, average_gradients, find_accelerator
from .parts import Parts
from .settings import override, read_config
from .stages import STAGES, Judges, Stage

ENDLESS = 2**31
"""Steps of a stage that the clock ends."""


@dataclass
class TrainOptions:
    """What the command line decides; everything else stands in the config file.

    minutes: stop after so long. Where `steps` is null in the settings it is the time that the stage has in all, resumed
        parts included, and the learning rate comes down by the clock.
    init: a bundle to go on from, say the bundled one; a stage that the run folder already holds comes from there.
    fresh: the stage's own network starts from random weights all the same.
    """

    stage: str
    data: Sequence[Path]
    run: Path
    config: str | Path = "s"
    minutes: float | None = None
    steps: int | None = None
    device: str = "cpu"
    perceptual: Path | None = None
    init: Path | None = None
    fresh: bool = False
    seed: int = 0
    workers: int = 1
    val: Sequence[Path] = ()
    overrides: Sequence[str] = ()
    progress: bool = True


def learning_rate(step: int, progress: float, settings: dict[str, Any]) -> float:
    """Linear warm-up over steps, and a cosine to a hundredth of the peak where `progress`, from 0, reaches 1."""
    warm = min(1.0, (step + 1) / settings["warmup"])
    return settings["lr"] * warm * (0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, progress))) / 2)


def step_generator(seed: int, step: int, rank: int = 0) -> torch.Generator:
    """The step's own noise, on the CPU whatever the device; each process of several has its own."""
    state = np.random.SeedSequence((seed, step, 1, *([rank] if rank else []))).generate_state(2, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


class Trainer:
    """A stage with its optimiser, moving average and step count: what a checkpoint holds."""

    def __init__(self, options: TrainOptions) -> None:
        config = read_config(options.config)
        if options.stage not in STAGES:
            raise CLRFaceError(
                f"Expected a stage out of {', '.join(STAGES)}, got {options.stage!r}: choose one of them."
            )
        self.options = options
        self.settings = override(config["stages"][options.stage], options.overrides)
        if options.steps is not None:
            self.settings["steps"] = options.steps
        if self.settings["steps"] is None and options.minutes is None:
            raise CLRFaceError("Expected an end for this stage, but steps is null: set steps or pass --minutes.")
        self.accelerator = find_accelerator(options.device)
        alone = self.accelerator.num_processes == 1
        self.device = torch.device(options.device) if alone else self.accelerator.device
        torch.backends.cudnn.benchmark = self.device.type == "cuda"  # sizes stay the same all along
        torch.manual_seed(options.seed)  # the networks' initial weights; nothing else draws from it
        bundle = assemble(options.run, config["model"], options.init, options.stage if options.fresh else "")
        bundle = bundle.to(self.device, memory_format=torch.channels_last)
        self.bundle = bundle
        self.stage: Stage = STAGES[options.stage](bundle, self._judges(), self.settings, self.accelerator)
        self.network = self.stage.trained.train()
        self.average = AveragedModel(self.network, multi_avg_fn=self._move_average)
        self.optimiser = self._optimiser()
        self.dataset = self.stage.dataset(FaceShards(options.data), options.seed)
        self.dataset.first = self.accelerator.process_index * self.dataset.batch
        self.held_out = self._held_out_batch()
        self.step = 0
        self.spent = 0.0  # minutes of former calls
        self.started = time.monotonic()
        self.folder = options.run / options.stage
        self.folder.mkdir(parents=True, exist_ok=True)

    def _move_average(self, means: Sequence[Tensor], new: Sequence[Tensor], count: Tensor | int) -> None:
        """A moving average, short at first. All weights at once: on a GPU launches cost more than the arithmetic."""
        share = 1 - min(self.settings["ema"], (1 + float(count)) / (10 + float(count)))
        torch._foreach_lerp_(list(means), list(new), share)

    def _optimiser(self) -> torch.optim.Optimizer:
        rate, decay = self.settings["lr"], self.settings["weight_decay"]
        if self.settings["optimiser"] == "muon":
            return muon.optimiser(self.network, rate, decay)
        return torch.optim.AdamW(self.network.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=decay)

    def _judges(self) -> Judges:
        weights = self.settings["weights"]
        if weights.get("lpips", 0) > 0 and self.options.perceptual is None:
            raise CLRFaceError(
                "This stage has an LPIPS term but no weights came: pass --perceptual FILE or set weights.lpips=0."
            )
        lpips = LPIPS.load(self.options.perceptual).to(self.device) if weights.get("lpips", 0) > 0 else None  # type: ignore[arg-type]
        embed = load_identity("sface", device=self.device) if weights.get("identity", 0) > 0 else None
        if self.device.type == "cuda":
            for judge in filter(None, (lpips, embed)):
                judge.to(memory_format=torch.channels_last)
        return Judges(lpips, embed)

    def _held_out_batch(self) -> dict[str, Tensor]:
        """One fixed batch, of the validation shards where there are any, for curves and sample grids."""
        shards = FaceShards(self.options.val or self.options.data)
        dataset = self.stage.dataset(shards, self.options.seed + 1)
        dataset.batch = self.settings["val_batch"]
        return {key: value.to(self.device) for key, value in dataset[0].items()}

    def update(self, batch: dict[str, Tensor]) -> dict[str, float]:
        """One optimiser step; returns the figures to log. One whose gradient is not finite is left out, and says so."""
        rate = learning_rate(self.step, self.progress(), self.settings)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        batch = {key: value.to(self.device, non_blocking=True) for key, value in batch.items()}
        with self._precision():
            noise = step_generator(self.options.seed, self.step, self.accelerator.process_index)
            terms = self.stage.loss(self.network, batch, self.step, noise)
        total = torch.stack(list(terms.values())).sum()
        mean = float(self.accelerator.reduce(total.detach(), "mean"))
        if not math.isfinite(mean):  # for all processes at once: one that went on would wait for the others
            raise CLRFaceError(f"The loss became {mean} at step {self.step}: lower lr and resume.")
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        average_gradients(self.accelerator, self.network.parameters())
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.settings["clip"])
        finite = bool(torch.isfinite(norm))
        if finite:
            self.optimiser.step()
            self.average.update_parameters(self.network)
        figures = {name: float(term.detach()) for name, term in terms.items()}
        figures |= {"total": mean, "grad_norm": float(norm), "lr": rate}
        figures |= {} if finite else {"skipped": 1.0}
        figures |= self.stage.after_step(self.step)
        self.step += 1
        return figures

    def minutes(self) -> float:
        """How long this call has taken; where the clock decides, the calls that it resumed as well."""
        before = self.spent if self.settings["steps"] is None else 0.0
        return before + (time.monotonic() - self.started) / 60

    def progress(self) -> float:
        """The part of the schedule that is done: of the steps, or where those are not given, of the time."""
        steps, minutes = self.settings["steps"], self.options.minutes
        if steps is not None:
            return self.step / max(steps, 1)
        assert minutes is not None
        return float(as_first(self.accelerator, torch.tensor(self.minutes() / max(minutes, 1e-9))))

    def batches(self) -> Iterator[dict[str, Tensor]]:
        """The batches of this step and all that follow."""
        stop = ENDLESS if self.settings["steps"] is None else self.settings["steps"]
        return batches(self.dataset, self.step, stop, self.options.workers, pinned=self.device.type == "cuda")

    def over(self, here: bool) -> bool:
        """Whether the first process wants to stop: they all stop after the same step."""
        return bool(as_first(self.accelerator, torch.tensor(float(here))))

    @contextmanager
    def _precision(self) -> Iterator[None]:
        """bfloat16 where the config asks for it; weights and optimiser stay float32."""
        enabled = bool(self.settings.get("bf16", False))
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled):
            yield

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """The averaged network's losses on the held-out batch, and its sample grid as a PNG."""
        network, seed = self.average.module, self.options.seed
        terms = self.stage.loss(network, self.held_out, self.step, step_generator(seed, 0))
        columns = self.stage.pictures(network, self.held_out, step_generator(seed, 0))
        rows = torch.stack([column.float().cpu().clamp(0, 1) for column in columns], dim=1).flatten(0, 1)
        save_image(rows, self.folder / f"samples-{self.step:06d}.png", nrow=len(columns), padding=2)
        return {f"val/{name}": float(term) for name, term in terms.items()}

    def save(self) -> None:
        """Checkpoint and exported network, each to a temporary name first."""
        path = self.folder / "checkpoint.pt"
        temporary = path.with_suffix(".part")
        torch.save(
            {
                "step": self.step,
                "minutes": self.minutes(),
                "network": self.network.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "stage": self.stage.state(),
            },
            temporary,
        )
        os.replace(temporary, path)
        self.export()

    def export(self) -> None:
        """The averaged network as `<run>/<stage>.safetensors`, float32."""
        name = self.options.stage
        network = copy.deepcopy(self.average.module)
        self.stage.finish(network, self.held_out)
        notes = {"stage": name, "steps": self.step, "settings": self.settings}
        Parts({name: network}, self.bundle.name, notes, self.bundle.size).save(self.options.run / f"{name}.safetensors")

    def resume(self) -> bool:
        """Take up the run's checkpoint, if there is one."""
        path = self.folder / "checkpoint.pt"
        if not path.is_file():
            return False
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.stage.load_state(state["stage"])
        self.step = state["step"]
        self.spent = state.get("minutes", 0.0)
        return True


def train(options: TrainOptions) -> Trainer:
    """Run (or resume) one stage until its steps or `options.minutes` are over; ends with a checkpoint.

    Under `accelerate launch` every process calls this; the first one writes and reports, for all.
    """
    trainer = Trainer(options)
    resumed = trainer.resume()
    if trainer.accelerator.is_main_process:
        _lead(trainer, resumed)
    else:
        _follow(trainer)
    return trainer


def _follow(trainer: Trainer) -> None:
    """What a process does that is not the first."""
    for batch in trainer.batches():
        trainer.update(batch)
        if trainer.over(False):
            return


def _lead(trainer: Trainer, resumed: bool) -> None:
    options, settings = trainer.options, trainer.settings
    curves = Curves(trainer.folder)
    saved = time.monotonic()
    bar = tqdm(
        total=settings["steps"],
        initial=trainer.step,
        desc=options.stage,
        disable=not options.progress,
        mininterval=10,
    )
    if resumed:
        bar.write(f"resuming {options.stage} at step {trainer.step}")
    try:
        for batch in trainer.batches():
            figures = trainer.update(batch)
            bar.update()
            if trainer.step % settings["log_every"] == 0 or "codebook_use" in figures:
                curves.add(trainer.step, figures)
                bar.set_postfix_str(" ".join(f"{k}={v:.3g}" for k, v in figures.items()), refresh=False)
            if trainer.step % settings["eval_every"] == 0:
                curves.add(trainer.step, trainer.evaluate())
            if time.monotonic() - saved > 60 * settings["save_minutes"]:
                trainer.save()
                saved = time.monotonic()
            if trainer.over(options.minutes is not None and trainer.minutes() > options.minutes):
                break
    finally:
        # Also on an interrupt: what was learned since the last checkpoint is kept.
        trainer.save()
        bar.close()
    curves.add(trainer.step, trainer.evaluate())
    curves.close()
