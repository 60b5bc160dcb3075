"""Prompts of earlier versions go on working, and pictures of the example graphs come when they are needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_old_names_and_settings_that_have_come_since(part: Callable[[str], Any], nodes: dict[str, Any]) -> None:
    earlier = part("nodes.earlier")
    defaults = earlier.defaults_of(list(nodes.values()))
    prompt: dict[str, Any] = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "a.png", "t0": 1}},
        "2": {
            "class_type": "CLRFaceRestoreFaces",
            "inputs": {"image": ["1", 0], "t0": 0.4, "identity": 0.7, "seed": 3},
        },
        "3": {"class_type": "CLRFaceSelectFaces", "inputs": {"numbers": "1", "alignment": ["4", 1]}},
        "4": "no node",
    }
    now = earlier.updated(prompt, defaults)
    one = now["2"]["inputs"]
    assert (one["denoise"], one["guidance_scale"], one["seed"], one["image"]) == (0.4, 0.7, 3, ["1", 0])
    assert (one["fidelity"], one["strength"], one["region"]) == (0.8, "auto", "crop") and "t0" not in one
    assert now["3"]["inputs"]["faces"] == "1" and now["3"]["inputs"]["alignment"] == ["4", 1]
    assert now["1"] == prompt["1"] and now["4"] == "no node" and prompt["2"]["inputs"]["t0"] == 0.4
    assert earlier.updated(now, defaults) == now
    cut = earlier.updated({"5": {"class_type": "CLRFaceDetectAlign", "inputs": {"image": ["1", 0]}}}, defaults)
    assert "bboxes" not in cut["5"]["inputs"]  # what is not connected stays so, though ComfyUI has a default of it


def test_every_new_name_is_an_input(part: Callable[[str], Any], nodes: dict[str, Any]) -> None:
    for kind, names in part("nodes.earlier").RENAMED.items():
        inputs = {entry.id for entry in nodes[kind].define_schema().inputs}
        assert set(names.values()) <= inputs and not set(names) & inputs


def test_samples_are_put_where_load_image_finds_them(
    part: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = part("nodes.samples")
    monkeypatch.setattr(samples.folder_paths, "get_input_directory", lambda: str(tmp_path))
    (tmp_path / "astronaut.jpg").write_bytes(b"the user's own")
    assert set(samples.put_samples()) == set(samples.SAMPLES) - {"astronaut.jpg"}
    assert (tmp_path / "astronaut.jpg").read_bytes() == b"the user's own"
    assert all((tmp_path / name).stat().st_size > 10 for name in samples.SAMPLES)
    assert samples.put_samples() == []
