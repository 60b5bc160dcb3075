"""The progress bar, previews, cancelling, and what a node shows afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.nodes.conftest import Photos, Run


def test_progress_previews_and_cancelling(
    run: Run, model: Any, two_faces: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.model_management as memory
    import comfy.utils
    from comfy.cli_args import LatentPreviewMethod, args

    seen: list[tuple[int, int, Any]] = []
    monkeypatch.setattr(
        comfy.utils, "PROGRESS_BAR_HOOK", lambda done, total, preview, **_: seen.append((done, total, preview))
    )
    monkeypatch.setattr(args, "preview_method", LatentPreviewMethod.Auto)
    run("CLRFaceRestoreFaces", image=two_faces(2), steps=4, batch_size=4)
    done = [event[0] / event[1] for event in seen]
    assert done == sorted(done) and done[-1] == 1.0 and len(set(done)) >= 4
    shapes = [event[2][1].size for event in seen if event[2] is not None]
    assert shapes == [(32, 32)] * 4  # a face at half size, once per step

    seen.clear()
    monkeypatch.setattr(args, "preview_method", LatentPreviewMethod.NoPreviews)
    memory.interrupt_current_processing()
    with pytest.raises(memory.InterruptProcessingException):
        run("CLRFaceRestoreFaces", image=two_faces(2), steps=4)
    assert seen == []
    run("CLRFaceRestoreFaces", image=two_faces(2), steps=4)
    assert seen and not any(event[2] for event in seen)


def test_the_previews_are_files_and_boxes(run: Run, model: Any, two_faces: Photos) -> None:
    import folder_paths

    found = run("CLRFaceDetectAlign", image=two_faces(2)).ui
    assert found["clrface_size"] == [192, 128] and [len(boxes) for boxes in found["clrface_faces"]] == [2, 2]
    assert found["clrface_faces"][0][0] == [20.0, 20.0, 78.0, 80.0]  # face 0 is the larger one
    restored = run("CLRFaceRestoreFaces", image=two_faces(2)).ui["clrface_pairs"]
    assert [(pair["frame"], pair["face"]) for pair in restored] == [(i, face) for i in (0, 1) for face in (None, 0, 1)]
    files = [pair[side] for pair in restored for side in ("before", "after")]
    for shown in (*found["clrface_pictures"], *files):
        assert (Path(folder_paths.get_temp_directory()) / shown["filename"]).is_file() and shown["type"] == "temp"
