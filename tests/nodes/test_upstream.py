"""Latent nodes of ComfyUI that count in pixels end in a sentence: ours have 4 px each, those think of 8."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.nodes.conftest import Photos, Run


def told(kind: str, **settings: Any) -> Any:
    """What ComfyUI tells the last node of a graph in which a node of this kind lies between IRN Init and KSampler."""
    nodes = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "2": {"class_type": "CLRFaceIRNInit", "inputs": {"crops": ["1", 0]}},
        "3": {"class_type": kind, "inputs": {"samples": ["2", 0], "destination": ["2", 0], **settings}},
        "4": {"class_type": "KSampler", "inputs": {"latent_image": ["3", 0], "positive": ["2", 2]}},
        "5": {"class_type": "CLRFaceVQDecode", "inputs": {"latent": ["4", 0], "estimate": ["2", 1]}},
    }
    return SimpleNamespace(prompt=nodes, unique_id="5")


@pytest.mark.parametrize("node", ["CLRFaceVQDecode", "CLRFaceLatentRefineSampler", "CLRFaceIdentityMask"])
def test_pixels_are_refused(
    run: Run, nodes: dict[str, Any], model: Any, two_faces: Photos, sentence: Any, monkeypatch: Any, node: str
) -> None:
    crops, *_ = run("CLRFaceDetectAlign", image=two_faces(1)).args
    latent, *_ = run("CLRFaceIRNInit", model=model, crops=crops).args
    refused = [
        (told("LatentUpscale", width=1024, height=1024), "LatentUpscale"),
        (told("LatentUpscale", width=0, height=1024), "LatentUpscale"),
        (told("LatentCrop", width=512, height=512, x=0, y=0), "LatentCrop"),
        (told("LatentComposite", x=8, y=0, feather=0), "LatentComposite"),
        (told("LatentCompositeMasked", x=0, y=64), "LatentCompositeMasked"),
    ]
    for graph, words in refused:
        monkeypatch.setattr(nodes[node], "hidden", graph)
        with sentence(words):
            run(node, model=model, latent=latent)
    fine = [told("LatentUpscaleBy", scale_by=2.0), told("LatentComposite", x=0, y=0, feather=0), told("LatentFlip")]
    for graph in [*fine, told("LatentUpscale", width=0, height=0), None]:
        monkeypatch.setattr(nodes[node], "hidden", graph)
        run(node, model=model, latent=latent)
    looped = told("LatentFlip")
    looped.prompt["3"]["inputs"]["samples"] = ["4", 0]  # ComfyUI refuses such a graph; it must not hang here
    monkeypatch.setattr(nodes[node], "hidden", looped)
    run(node, model=model, latent=latent)
