"""The chain of nodes gives what the one node gives, whatever the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.nodes.conftest import Photos, Run


def chain(run: Run, model: Any, image: Tensor, **sampling: Any) -> tuple[Tensor, Tensor]:
    """Detect, estimate, refine, decode and paste, one node each."""
    crops, alignment, _ = run("CLRFaceDetectAlign", image=image).args
    fidelity = {name: sampling.pop(name) for name in ("fidelity",) if name in sampling}
    latent, estimate, *_ = run("CLRFaceIRNInit", model=model, crops=crops, alignment=alignment).args
    (refined,) = run("CLRFaceLatentRefineSampler", model=model, latent=latent, **sampling).args
    restored, _ = run("CLRFaceVQDecode", model=model, latent=refined, estimate=estimate, **fidelity).args
    return run("CLRFaceFacePaste", image=image, crops=restored, alignment=alignment).args


@pytest.mark.parametrize(
    "sampling",
    [{}, {"steps": 3, "seed": 7, "solver": "dpmpp_2m", "denoise": 0.4, "fidelity": 0.3}, {"guidance_scale": 1.0}],
)
def test_the_chain_and_the_one_node_give_the_same_pixels(
    run: Run, model: Any, two_faces: Photos, sampling: dict[str, Any]
) -> None:
    photos = two_faces(3)
    photos[1, 0, 0] = 0  # no face on this one
    image, mask = chain(run, model, photos, **sampling)
    one, where, count, *_ = run("CLRFaceRestoreFaces", image=photos, model=model, **sampling).args
    assert torch.equal(image, one) and torch.equal(mask, where)
    assert count == 4 and image.shape == photos.shape and mask.shape == photos.shape[:3]
    assert torch.equal(image[1], photos[1]) and not mask[1].any() and (image[0] != photos[0]).any()
    assert torch.equal(image[mask == 0], photos[mask == 0])


def test_a_batch_gives_what_its_pictures_give_alone(run: Run, model: Any, two_faces: Photos) -> None:
    photos = two_faces(3)
    settings = {"guidance_scale": 0.0, "steps": 2, "batch_size": 1}
    together = run("CLRFaceRestoreFaces", image=photos, **settings).args[0]
    for index in range(3):
        alone = run("CLRFaceRestoreFaces", image=photos[index : index + 1], **settings).args[0]
        assert torch.equal(together[index : index + 1], alone)


def test_identical_frames_come_out_identical(run: Run, model: Any, two_faces: Photos) -> None:
    frames = two_faces(1).expand(3, -1, -1, -1)
    one = run("CLRFaceRestoreFaces", image=frames, batch_size=2).args[0]
    stages, _ = chain(run, model, frames)
    for image in (one, stages):
        assert torch.equal(image[0], image[1]) and torch.equal(image[0], image[2]) and (image[0] != frames[0]).any()


def test_no_face_passes_through_and_leaves_out_what_needs_one(
    run: Run, nodes: dict[str, Any], model: Any, two_faces: Photos
) -> None:
    """Core's sign stops the nodes between; Select Faces and Face Paste, which know that there is none, do not ask."""
    photos = two_faces(2)
    photos[:, 0, 0] = 0
    crops, alignment, count = run("CLRFaceDetectAlign", image=photos).args
    assert count == 0 and type(crops).__name__ == "ExecutionBlocker" and crops.message is None
    for node in ("CLRFaceSelectFaces", "CLRFaceFacePaste"):
        assert {entry.id for entry in nodes[node].define_schema().inputs if entry.lazy} == {"crops"}
        assert nodes[node].check_lazy_status(alignment=alignment, crops=None) == []
    crops, alignment, count = run("CLRFaceSelectFaces", alignment=alignment, faces="0").args
    assert count == 0 and type(crops).__name__ == "ExecutionBlocker"
    pasted = run("CLRFaceFacePaste", image=photos, alignment=alignment)
    image, where = pasted.args
    assert torch.equal(image, photos) and not where.any() and pasted.ui["clrface_notes"] == ["no_faces"]
    one = run("CLRFaceRestoreFaces", image=photos)
    assert one.ui["clrface_notes"] == ["no_faces"] and torch.equal(one.args[0], photos)
    assert [type(each).__name__ for each in one.args[4:]] == ["ExecutionBlocker"] * 2

    crops, alignment, _ = run("CLRFaceDetectAlign", image=two_faces(1)).args
    for node in ("CLRFaceSelectFaces", "CLRFaceFacePaste"):
        assert nodes[node].check_lazy_status(alignment=alignment, crops=None, image=photos) == ["crops"]
        assert nodes[node].check_lazy_status(alignment=alignment, crops=crops, image=photos) == []
    by_itself, where, _ = run("CLRFaceSelectFaces", alignment=alignment, faces="1").args
    assert torch.equal(by_itself, crops[1:]) and torch.equal(where.crops, by_itself)  # the alignment has the crops
    none = run("CLRFaceSelectFaces", crops=crops, alignment=alignment, min_size=500)
    assert none.args[2] == 0 and type(none.args[0]).__name__ == "ExecutionBlocker"


def test_empty_batches_of_others_pass_through_every_stage(run: Run, model: Any) -> None:
    crops = torch.zeros(0, 64, 64, 3)
    latent, estimate, *_ = run("CLRFaceIRNInit", model=model, crops=crops).args
    (mask,) = run("CLRFaceIdentityMask", model=model, latent=latent).args
    (latent,) = run("CLRFaceLatentRefineSampler", model=model, latent=latent, mask=mask, guidance_scale=1.0).args
    restored, _ = run("CLRFaceVQDecode", model=model, latent=latent).args
    assert estimate.shape == restored.shape == (0, 64, 64, 3) and mask.shape == (0, 16, 16)
    (encoded,) = run("CLRFaceVQEncode", model=model, image=crops).args
    assert encoded["samples"].shape == (0, 3, 16, 16)
    assert run("CLRFaceFaceSimilarity", faces=crops, reference=restored).args == ([], "no face to compare")


def test_half_precision_travels_between_nodes(
    run: Run, model: Any, two_faces: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.model_management as memory

    monkeypatch.setattr(memory, "intermediate_dtype", lambda: torch.float16)
    photos = two_faces(1).half()
    image, mask = chain(run, model, photos)
    assert image.dtype == mask.dtype == torch.float16
    assert torch.equal(image[mask == 0], photos[mask == 0]) and (image != photos).any()


def test_memory_does_not_grow_with_the_frames(
    run: Run, model: Any, two_faces: Photos, part: Callable[[str], Any]
) -> None:
    """Of a long batch, no more pictures are made at once than a micro-batch of faces needs."""
    photos = two_faces(1).expand(24, -1, -1, -1)
    alive, most = 0, 0
    original = part("nodes.tensors").as_pictures

    class Counted(torch.Tensor):
        pass

    def counted(image: Tensor) -> Tensor:
        nonlocal alive, most
        import weakref

        picture = original(image)
        alive += 1
        most = max(most, alive)

        def gone() -> None:
            nonlocal alive
            alive -= 1

        weakref.finalize(picture, gone)
        return picture

    part("nodes.tensors").as_pictures = counted
    try:
        image, *_ = run("CLRFaceRestoreFaces", image=photos, batch_size=4).args
    finally:
        part("nodes.tensors").as_pictures = original
    assert len(image) == 24 and most <= 4
