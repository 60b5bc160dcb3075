"""Select Faces chooses crops; a chosen face keeps its noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.nodes.conftest import Photos, Run


def test_choosing_faces(run: Run, model: Any, two_faces: Photos) -> None:
    photos = two_faces(2)
    crops, alignment, count = run("CLRFaceDetectAlign", image=photos).args
    assert count == len(crops) == len(alignment) == 4
    second, where, count = run("CLRFaceSelectFaces", crops=crops, alignment=alignment, faces="1").args
    assert count == 2 and torch.equal(second, crops[[1, 3]])
    image, mask = run("CLRFaceFacePaste", image=photos, crops=torch.ones_like(second), alignment=where).args
    assert not mask[:, 50, 40].any() and (mask[:, 40, 150] == 1).all() and (image[:, 40, 150] > 0.99).all()
    assert run("CLRFaceSelectFaces", crops=crops, alignment=alignment, side="right half").args[2] == 2
    assert run("CLRFaceSelectFaces", crops=crops, alignment=alignment, min_size=50, at_most=1).args[2] == 2


def test_a_chosen_face_keeps_its_noise(run: Run, model: Any, two_faces: Photos) -> None:
    """Through Select Faces, the one node's faces, and what core's Latent From Batch and Repeat Latent Batch do."""
    photos = two_faces(2)
    crops, alignment, _ = run("CLRFaceDetectAlign", image=photos).args
    second, where, _ = run("CLRFaceSelectFaces", crops=crops, alignment=alignment, faces="1").args

    def refined(crops: Tensor, alignment: Any, change: Callable[[dict], dict] = dict) -> Tensor:
        latent, *_ = run("CLRFaceIRNInit", model=model, crops=crops, alignment=alignment).args
        refine = {"model": model, "latent": change(latent), "batch_size": 1}
        return run("CLRFaceLatentRefineSampler", **refine).args[0]["samples"]

    def from_batch(latent: dict) -> dict:  # as ComfyUI's LatentFromBatch with batch_index 1, length 1
        return latent | {"samples": latent["samples"][1:2], "batch_index": latent["batch_index"][1:2]}

    def repeated(latent: dict) -> dict:  # as its RepeatLatentBatch with amount 2
        ids = latent["batch_index"]
        later = [x + max(ids) - min(ids) + 1 for x in ids]
        return latent | {"samples": latent["samples"].repeat(2, 1, 1, 1), "batch_index": ids + later}

    every = refined(crops, alignment)
    assert alignment.ids == (0, 1, 0, 1) and where.ids == (1, 1)
    assert torch.equal(refined(second, where), every[[1, 3]])
    assert not torch.equal(refined(second, None), every[[1, 3]])  # without its alignment it is the first face
    assert torch.equal(refined(crops, alignment, from_batch), every[1:2])
    twice = refined(crops, alignment, repeated)
    assert torch.equal(twice[:4], every) and not torch.equal(twice[4:], every)
    all_faces = run("CLRFaceRestoreFaces", image=photos, batch_size=1).args[0]
    chosen, mask, count, *_ = run("CLRFaceRestoreFaces", image=photos, batch_size=1, faces="1").args
    assert count == 2 and torch.equal(chosen[mask == 1], all_faces[mask == 1])


def test_crops_are_only_asked_for_where_they_are_connected(
    nodes: dict[str, Any], run: Run, model: Any, two_faces: Photos
) -> None:
    """ComfyUI ends a graph in which a node asks for an input that nothing is connected to."""
    _, alignment, _ = run("CLRFaceDetectAlign", image=two_faces(1)).args
    ask = nodes["CLRFaceSelectFaces"].check_lazy_status
    assert ask(alignment=alignment, faces="all") == [] and ask(alignment=alignment, crops=None) == ["crops"]
