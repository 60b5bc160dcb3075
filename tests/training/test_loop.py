"""The one loop: it resumes bit-exactly, ends when it should, and names what does not fit."""

import copy
from collections.abc import Callable
from dataclasses import replace
from itertools import count, pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from clrface_core.errors import CLRFaceError
from clrface_core.training.data import FaceShards
from clrface_core.training.loop import Trainer, TrainOptions, learning_rate, train


@pytest.mark.parametrize(("stage", "earlier"), [("vq", ()), ("irn", ()), ("refiner", ("vq", "irn"))])
def test_resuming_is_bit_exact(
    options: Callable[..., TrainOptions], tmp_path: Path, stage: str, earlier: tuple, prepare: Callable[..., None]
) -> None:
    """Six steps and two plus four steps end in the same weights, averages and optimiser state."""
    for run in ("whole", "parts"):
        prepare(tmp_path / run, *earlier)
    # The cosine ends at `steps`, so both runs keep the same horizon and one of them is cut short.
    horizon = ("steps=6",)
    whole = train(options(stage, "whole", overrides=horizon))
    cut = options(stage, "parts", overrides=horizon, minutes=0.0)
    assert train(cut).step == 1
    assert train(cut).step == 2
    parts = train(options(stage, "parts", overrides=horizon))
    assert whole.step == parts.step == 6
    for one, other in ((whole.network, parts.network), (whole.average, parts.average)):
        for key, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[key]), key
    states = [torch.load(tmp_path / run / stage / "checkpoint.pt", weights_only=True) for run in ("whole", "parts")]
    moments = [state["optimiser"]["state"] for state in states]
    assert moments[0] and all(
        torch.equal(torch.as_tensor(value), torch.as_tensor(moments[1][i][key]))
        for i in moments[0]
        for key, value in moments[0][i].items()
    )


def test_learning_rate_warms_up_and_falls() -> None:
    settings = {"lr": 1.0, "warmup": 10}
    rates = [learning_rate(step, step / 100, settings) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == max(rates[:11])
    assert all(a >= b for a, b in pairwise(rates[10:]))
    assert rates[100] == pytest.approx(0.01)


def test_the_clock_can_end_a_stage(
    options: Callable[..., TrainOptions],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    losses_of: Callable[..., list[dict]],
) -> None:
    """Without a number of steps the learning rate comes down with the time, over resumed parts as over one."""
    seconds = count()  # a clock that moves on whenever it is looked at
    monkeypatch.setattr("clrface_core.training.loop.time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    with pytest.raises(CLRFaceError, match="pass --minutes"):
        train(options("irn", overrides=("steps=null",)))
    timed = options("irn", overrides=("steps=null", "log_every=1", "warmup=1"), minutes=0.5)
    first = train(timed)
    rates = [row["lr"] for row in losses_of(tmp_path / "run", "irn")]
    assert first.step == len(rates) > 3
    assert all(a >= b for a, b in pairwise(rates)) and rates[-1] < 0.5 * rates[0]
    again = train(timed)
    assert again.step == first.step + 1, "its time was over"
    assert losses_of(tmp_path / "run", "irn")[-1]["lr"] == pytest.approx(0.01 * again.settings["lr"])
    with_more = train(replace(timed, minutes=1.0))
    assert with_more.step > again.step + 2


def test_a_step_without_a_finite_gradient_is_left_out(
    options: Callable[..., TrainOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(options("irn"))
    before = copy.deepcopy(trainer.network.state_dict())

    def at_the_roots_edge(network: torch.nn.Module, *_: object) -> dict[str, torch.Tensor]:
        return {"l1": (0 * torch.cat([p.flatten() for p in network.parameters()]).sum()).sqrt()}

    monkeypatch.setattr(trainer.stage, "loss", at_the_roots_edge)
    figures = trainer.update(trainer.dataset[0])
    assert figures["skipped"] == 1 and trainer.step == 1
    assert all(torch.equal(value, before[key]) for key, value in trainer.network.state_dict().items())
    monkeypatch.undo()
    assert "skipped" not in trainer.update(trainer.dataset[1])
    assert any(not torch.equal(value, before[key]) for key, value in trainer.network.state_dict().items())


def test_bad_input_is_named(options: Callable[..., TrainOptions], tmp_path: Path) -> None:
    with pytest.raises(CLRFaceError, match="choose one of them"):
        train(options("vqq"))
    with pytest.raises(CLRFaceError, match="--perceptual"):
        train(options("irn", overrides=("weights.lpips=0.1",)))
    with pytest.raises(CLRFaceError, match="sets c"):
        train(options("irn", overrides=('mix={"c": 1.0}',)))
    (tmp_path / "text.tar").write_text("no tar")
    with pytest.raises(CLRFaceError, match="tar shard"):
        FaceShards([tmp_path / "text.tar"])
