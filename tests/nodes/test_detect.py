"""Detect & Align Faces takes faces that another node has found."""

from __future__ import annotations

from typing import Any

import torch

from tests.nodes.conftest import Photos, Run


def test_faces_from_elsewhere(run: Run, model: Any, two_faces: Photos) -> None:
    photos = two_faces(1)
    mesh = torch.zeros(478, 2).numpy()
    for index, point in {
        33: (30, 40),
        133: (40, 40),
        362: (60, 40),
        263: (70, 40),
        1: (50, 55),
        61: (40, 70),
        291: (60, 70),
    }.items():
        mesh[index] = point
    landmarks = {"frames": [[{"landmarks_xy": mesh}]]}
    assert run("CLRFaceDetectAlign", image=photos, face_landmarks=landmarks).args[2] == 1
    box = {"x": 130, "y": 20, "width": 40, "height": 42}
    assert run("CLRFaceDetectAlign", image=photos, bboxes=[[box]]).args[2] == 1
    assert run("CLRFaceDetectAlign", image=photos, bboxes={**box, "x": 90, "width": 8}).args[2] == 0
    nothing: list[list[Any]] = [[], [[]], [[], []]]
    for none in nothing:
        given = photos if len(none) < 2 else two_faces(2)
        assert run("CLRFaceDetectAlign", image=given, bboxes=none).args[2] == 0
