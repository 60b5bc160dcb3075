"""The networks in ComfyUI's hands: its choice of number format, and one load for all that a node needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.nodes.conftest import Photos, Run


@pytest.mark.parametrize(
    ("forced", "bf16", "fp16", "expected"),
    [
        (True, True, True, torch.float32),
        (False, True, True, torch.bfloat16),
        (False, False, True, torch.float16),
        (False, False, False, torch.float32),
    ],
)
def test_the_number_format_is_comfyuis(
    part: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
    forced: bool,
    bf16: bool,
    fp16: bool,
    expected: torch.dtype,
) -> None:
    memory = part("nodes.memory")
    monkeypatch.setattr(memory.args, "force_fp32", forced, raising=False)
    monkeypatch.setattr(memory.memory, "is_device_cpu", lambda device: device.type == "cpu", raising=False)
    monkeypatch.setattr(memory.memory, "should_use_bf16", lambda device: bf16, raising=False)
    monkeypatch.setattr(memory.memory, "should_use_fp16", lambda device: fp16, raising=False)
    assert memory.network_dtype(torch.device("cuda")) == expected


def test_on_a_cpu_the_faster_one_unless_float32_is_forced(
    part: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = part("nodes.memory")
    monkeypatch.setattr(memory, "choose_dtype", lambda device: torch.bfloat16)
    monkeypatch.setattr(memory.memory, "is_device_cpu", lambda device: True, raising=False)
    monkeypatch.setattr(memory.args, "force_fp32", False, raising=False)
    assert memory.network_dtype(torch.device("cpu")) == torch.bfloat16
    monkeypatch.setattr(memory.args, "force_fp32", True, raising=False)
    assert memory.network_dtype(torch.device("cpu")) == torch.float32


def test_all_that_a_node_needs_is_loaded_at_once_and_whole(
    run: Run, model: Any, two_faces: Photos, part: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the recognition network could push the refiner out in mid-sampling."""
    memory = part("nodes.memory").memory
    loads: list[tuple[int, bool]] = []

    def load_models_gpu(models: list[Any], memory_required: float = 0, force_full_load: bool = False) -> None:
        loads.append((len(models), force_full_load))

    monkeypatch.setattr(memory, "load_models_gpu", load_models_gpu)
    run("CLRFaceRestoreFaces", image=two_faces(2), guidance_scale=1.0, steps=3)
    assert loads == [(2, True)]  # the model and the recognition network; this test's detector has no weights
