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


@pytest.mark.parametrize("fidelity", [0.0, 0.8])
@pytest.mark.parametrize("seen", [{}, {"scale": 0.7, "threshold": 0.99}])
def test_references_pull_in_the_chain_as_in_the_one_node(
    run: Run, model: Any, two_faces: Photos, colours: None, fidelity: float, seen: dict[str, float]
) -> None:
    photos, settings = two_faces(1), {"steps": 2}
    blind, _, _, nothing, *_ = run("CLRFaceRestoreFaces", image=photos, fidelity=fidelity, **settings).args
    references, count, text = run("CLRFaceReferenceFaces", image=photos, **{"threshold": 0.5, **seen}).args
    assert count == 2 and "reference 1: 2 people are seen" in text and "face 1: quality 0." in text
    whole = run("CLRFaceRestoreFaces", image=photos, references=references, fidelity=fidelity, **settings)
    one, _, _, matches, *_ = whole.args
    assert nothing == "" and matches.startswith("picture 0, face 0: ")
    crops, alignment, _ = run("CLRFaceDetectAlign", image=photos).args
    latent, estimate, *_ = run("CLRFaceIRNInit", model=model, crops=crops, alignment=alignment).args
    (refined,) = run("CLRFaceLatentRefineSampler", model=model, latent=latent, **settings).args
    restored, told = run(
        "CLRFaceVQDecode", model=model, latent=refined, estimate=estimate, fidelity=fidelity, references=references
    ).args
    pasted, _ = run("CLRFaceFacePaste", image=photos, crops=restored, alignment=alignment).args
    assert torch.equal(pasted, one) and told == matches.replace("picture 0, ", "")
    assert torch.equal(one, blind) == ("references used" not in matches) and (seen or "references used" in matches)


def test_decoding_without_estimates_matches_what_it_decodes(
    run: Run, model: Any, two_faces: Photos, colours: None
) -> None:
    photos = two_faces(1)
    crops, _, _ = run("CLRFaceDetectAlign", image=photos).args
    (latent,) = run("CLRFaceVQEncode", model=model, image=crops).args
    references, *_ = run("CLRFaceReferenceFaces", image=photos, threshold=-1.0).args
    plain, nothing = run("CLRFaceVQDecode", model=model, latent=latent).args
    drawn, told = run("CLRFaceVQDecode", model=model, latent=latent, references=references).args
    assert nothing == "" and told.count("2 of 2 references used") == 2 and not torch.equal(plain, drawn)


def test_a_strangers_reference_changes_nothing(run: Run, model: Any, two_faces: Photos, colours: None) -> None:
    photos = two_faces(1)
    references, *_ = run("CLRFaceReferenceFaces", image=1 - photos + (photos == 1) * 1.0, threshold=0.9).args
    image, _, _, matches, *_ = run("CLRFaceRestoreFaces", image=photos, references=references).args
    assert torch.equal(image, run("CLRFaceRestoreFaces", image=photos).args[0])
    assert matches.count("no match (cosine ") == matches.count("restored without references") == 2


def test_a_reference_without_a_face_is_an_error(
    run: Run, part: Callable[[str], Any], model: Any, two_faces: Photos, colours: None
) -> None:
    photos = two_faces(2)
    photos[0, 0, 0] = 0
    _, count, text = run("CLRFaceReferenceFaces", image=photos).args
    assert count == 2 and "reference 1: Expected a face in this reference photo, found none" in text
    with pytest.raises(part("clrface_core.errors").CLRFaceError, match="reference 1: Expected a face"):
        run("CLRFaceReferenceFaces", image=photos[:1])


def test_guidance_of_cores_samplers_takes_references(
    run: Run, part: Callable[[str], Any], model: Any, two_faces: Photos, colours: None
) -> None:
    """A face that matches is drawn towards its references, every other one towards its own estimate."""
    photos = two_faces(1)
    crops, alignment, _ = run("CLRFaceDetectAlign", image=photos).args
    latent, *_ = run("CLRFaceIRNInit", model=model, crops=crops, alignment=alignment).args
    references, *_ = run("CLRFaceReferenceFaces", image=photos, threshold=-1.0).args
    strangers = replace_threshold(references, 1.0)
    z = latent["samples"].clone()
    step = {"denoised": z, "sigma": torch.tensor([1.0]), "cond": [{"model_conds": {"c_concat": Known(z)}}]}
    guide = part("nodes.guidance").Guide
    host = part("nodes.sampling").FaceModel(model)

    def moved(given: Any) -> Tensor:
        return guide(host, 1.0, (0.0, 99.0), None, given)(step)

    own, drawn, alone = moved(None), moved(references), moved(strangers)
    assert torch.equal(own, alone) and not torch.equal(own, drawn)
    assert torch.equal(drawn[:, 3:], z[:, 3:])


def replace_threshold(references: Any, threshold: float) -> Any:
    from dataclasses import replace

    return replace(references, threshold=threshold)


class Known:
    """A condition of core's."""

    def __init__(self, cond: Tensor) -> None:
        self.cond = cond
