"""Restore Faces: what it shows, says and gives, and what a change of its settings costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.nodes.conftest import Photos, Run


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
    whole = restorer.restore_matched

    def counted(self: Any, *given: Any, **named: Any) -> Any:
        nonlocal made
        made += 1
        return whole(self, *given, **named)

    monkeypatch.setattr(restorer, "restore_matched", counted)
    monkeypatch.setattr(part("nodes.restore"), "RECENT", recent.Recent())
    photos = two_faces(2)
    photos[1, 0, 0] = 0
    region = torch.ones(1, 128, 192)
    region[:, :40] = 0
    changes: dict[str, Any] = {"feather": 0.3, "color_match": True, "blend": 0.5, "detail": 0.5, "mask": region}
    changes |= {"region": "face", "strength": "0.5"}
    plain = run("CLRFaceRestoreFaces", image=photos)
    first = made
    cheap = {name: run("CLRFaceRestoreFaces", image=photos.clone(), **{name: each}) for name, each in changes.items()}
    assert made == first > 0
    for name, value in changes.items():
        part("nodes.restore").RECENT.clear()
        full = run("CLRFaceRestoreFaces", image=photos, **{name: value})
        for ours, theirs in zip(cheap[name].args, full.args, strict=True):
            assert ours == theirs if isinstance(ours, (int, str)) else torch.equal(ours, theirs), name
        assert not torch.equal(full.args[0], plain.args[0])
    made = 0
    run("CLRFaceRestoreFaces", image=photos)
    assert made == 0
    brighter = photos.clone()
    brighter[0, 5, 5] = 0.25
    dear: list[dict[str, Any]] = [
        {"seed": 1},
        {"steps": 2},
        {"fidelity": 0.3},
        {"faces": "1"},
        {"min_size": 50},
        {"denoise": 0.4},
    ]
    for change in [*dear, {"image": brighter}, {"batch_size": 1}]:
        before = made
        run("CLRFaceRestoreFaces", **{"image": photos} | change)
        assert made > before, change
    monkeypatch.setattr(recent, "MOST_FACES", 1)
    before = made
    for _ in range(2):
        run("CLRFaceRestoreFaces", image=photos, seed=9)
    assert made == before + 2 * first  # too many faces to be kept


def test_the_one_node_gives_its_crops_and_is_short(
    run: Run, nodes: dict[str, Any], model: Any, two_faces: Photos
) -> None:
    photos = two_faces(1)
    crops, alignment, _ = run("CLRFaceDetectAlign", image=photos).args
    image, _, _, _, before, after = run("CLRFaceRestoreFaces", image=photos).args
    assert torch.equal(before, crops) and after.shape == crops.shape and (after != crops).any()
    pasted, _ = run("CLRFaceFacePaste", image=photos, crops=after, alignment=alignment).args
    assert torch.equal(pasted, image)
    inputs = nodes["CLRFaceRestoreFaces"].define_schema().inputs
    shown = [entry.id for entry in inputs if not entry.advanced and hasattr(entry, "default")]
    assert len(shown) <= 8 and {"seed", "faces", "blend"} <= set(shown)


def test_clean_faces_are_left_alone_and_that_is_said(
    run: Run, model: Any, two_faces: Photos, part: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, sentence: Any
) -> None:
    monkeypatch.setattr(part("clrface_core.pipeline"), "in_photo", lambda degraded, side: 0.01)
    photos = two_faces(1)
    clean = run("CLRFaceRestoreFaces", image=photos)
    assert torch.equal(clean.args[0], photos) and clean.args[2] == 2 and clean.ui["clrface_notes"] == ["left_alone"]
    forced = run("CLRFaceRestoreFaces", image=photos, strength=" 1 ")
    assert not torch.equal(forced.args[0], photos) and forced.ui["clrface_notes"] == []
    for wrong in ("", "much", "1.5", "nan"):
        with sentence("strength"):
            run("CLRFaceRestoreFaces", image=photos, strength=wrong)


def test_blurred_faces_beside_a_sharp_one_can_be_skipped(
    run: Run, model: Any, two_faces: Photos, part: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part("clrface_core.pipeline"), "in_photo", lambda degraded, side: 0.01 if side > 70 else 0.5)
    photos = two_faces(1)
    both = run("CLRFaceRestoreFaces", image=photos).args[1]
    sharp = run("CLRFaceRestoreFaces", image=photos, skip_blurred=True).args[1]
    assert both.any() and not sharp.any()


def test_frames_of_a_video_are_followed(
    run: Run, model: Any, two_faces: Photos, part: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same tracks as Restore Video has: what is the library's is the node's, and a frame shown twice stays."""
    one = two_faces(1)
    noisy = (one + 0.02 * torch.randn(4, *one.shape[1:], generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    frames = torch.cat([one, one, noisy])
    apart = run("CLRFaceRestoreFaces", image=frames, strength="1")
    image, mask, count, _, before, after = run("CLRFaceRestoreFaces", image=frames, strength="1", video=True).args
    assert count == 2 * len(frames) == len(before) == len(after) and image.shape == frames.shape
    assert torch.equal(image[0], image[1]) and torch.equal(image[mask == 0], frames[mask == 0])
    steps = [(faces[2:] - faces[:-2]).abs().mean() for faces in (after, apart.args[5])]
    assert steps[0] < 0.8 * steps[1]
    assert not torch.equal(run("CLRFaceRestoreFaces", image=frames, strength="0.5", video=True).args[0], image)
    largest = run("CLRFaceRestoreFaces", image=frames, strength="1", video=True, faces="largest")
    assert largest.args[2] == len(frames)
    left = run("CLRFaceRestoreFaces", image=frames, strength="0", video=True)
    assert torch.equal(left.args[0], frames) and left.ui["clrface_notes"] == ["left_alone"]


def test_what_a_restoration_depends_on(part: Callable[[str], Any]) -> None:
    """Pixels by their content, objects by themselves; none is kept alive for it."""
    recent = part("nodes.recent")

    class Model:
        def __eq__(self, other: object) -> bool:
            return True

    model, image = Model(), torch.rand(2, 4, 5, 3)
    key = recent.key_of(image, model=model, seed=1)
    assert key == recent.key_of(image.clone(), seed=1, model=model)
    assert key != recent.key_of(image, model=Model(), seed=1) and key != recent.key_of(image, model=model, seed=2)
    assert key != recent.key_of(image.half(), model=model, seed=1) and key != recent.key_of(
        image[:1], model=model, seed=1
    )
    assert recent.key_of(image.movedim(1, 2), model=model) == recent.key_of(image.movedim(1, 2).clone(), model=model)
    del model
    assert key != recent.key_of(image, model=Model(), seed=1)  # gone, and so equal to none
