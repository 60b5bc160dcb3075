"""Only detectors that there are weights for are offered; a missing one is told its folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_detectors_without_weights_are_not_offered(
    nodes: dict[str, Any], part: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import folder_paths

    detectors = part("nodes.detectors")
    monkeypatch.setattr(detectors, "default_weights", lambda name: tmp_path / "facexlib" / detectors.FILES[name])

    def offered(node: str) -> list[str]:
        return next(entry.options for entry in nodes[node].define_schema().inputs if entry.id == "detector")

    both = ("CLRFaceDetectAlign", "CLRFaceRestoreFaces", "CLRFaceReferenceFaces")
    for node in both:
        assert offered(node) == ["yunet"] and nodes[node].validate_inputs(detector="yunet") is True
        said = nodes[node].validate_inputs(detector="retinaface_resnet50")
        assert said.startswith("Expected") and "models/facedetection" in said
        assert "detection_Resnet50_Final.pth" in said and "site-packages" not in said
        assert "retinaface" in nodes[node].validate_inputs(detector="other")
    for folder, name in zip(("facedetection", "facexlib"), ("mobile0.25", "resnet50"), strict=True):
        place = Path(folder_paths.models_dir) / folder / detectors.FILES[name]
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(b"weights")
        for node in both:
            assert f"retinaface_{name}" in offered(node)
            assert nodes[node].validate_inputs(detector=f"retinaface_{name}") is True
        assert detectors.weights_of(f"retinaface_{name}") == place
        place.unlink()
