"""Reference Faces, and what the nodes that restore do with references."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tiny import Colours

Run = Callable[..., Any]
Photos = Callable[[int], Tensor]


@pytest.fixture
def colours(part: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A recognition network that tells faces by their colours, in the hands of ComfyUI."""
    monkeypatch.setattr(part("nodes.memory"), "_identity", lambda: (Colours(), None))


def test_references_pull_in_the_chain_as_in_the_one_node(
    run: Run, model: Any, two_faces: Photos, colours: None
) -> None:
    photos = two_faces(1)
    blind, _, _, nothing, *_ = run("CLRFaceRestoreFaces", image=photos, steps=2).args
    references, count, text = run("CLRFaceReferenceFaces", image=photos, threshold=0.5).args
    assert count == 2 and "reference 1: 2 people are seen" in text and "face 1: quality 0." in text
    one, _, _, matches, *_ = run("CLRFaceRestoreFaces", image=photos, steps=2, references=references, fidelity=0.0).args
    first, second = matches.split("\n")
    assert first.startswith("picture 0, face 0: the same person (cosine") and "face 1: the same" in second
    assert nothing == "" and not torch.equal(one, blind)
    crops, alignment, _ = run("CLRFaceDetectAlign", image=photos).args
    latent, *_ = run("CLRFaceIRNInit", model=model, crops=crops, alignment=alignment).args
    refined, told = run("CLRFaceLatentRefineSampler", model=model, latent=latent, steps=2, references=references).args
    (restored,) = run("CLRFaceVQDecode", model=model, latent=refined).args
    pasted, _ = run("CLRFaceFacePaste", image=photos, crops=restored, alignment=alignment).args
    assert torch.equal(pasted, one) and len(told.split("\n")) == 2


def test_a_strangers_reference_changes_nothing(run: Run, model: Any, two_faces: Photos, colours: None) -> None:
    photos = two_faces(1)
    references, *_ = run("CLRFaceReferenceFaces", image=1 - photos + (photos == 1) * 1.0, threshold=0.9).args
    image, _, _, matches, *_ = run("CLRFaceRestoreFaces", image=photos, references=references).args
    assert torch.equal(image, run("CLRFaceRestoreFaces", image=photos).args[0])
    assert matches.count("no match (cosine 0.") == matches.count("restored without references") == 2


def test_a_reference_without_a_face_is_an_error(
    run: Run, part: Callable[[str], Any], model: Any, two_faces: Photos, colours: None
) -> None:
    photos = two_faces(2)
    photos[0, 0, 0] = 0
    _, count, text = run("CLRFaceReferenceFaces", image=photos).args
    assert count == 2 and "reference 1: Expected a face in this reference photo, found none" in text
    with pytest.raises(part("clrface_core.errors").CLRFaceError, match="reference 1: Expected a face"):
        run("CLRFaceReferenceFaces", image=photos[:1])
