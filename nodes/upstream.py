"""ComfyUI's latent nodes that count in pixels, and take 8 of them for one latent: ours stand for 4.

What they make can be told from nothing in the latents (twice the size by half the count is the same size), so the graph
is asked.
"""

from __future__ import annotations

from typing import Any

from ..clrface_core.errors import CLRFaceError

IN_PIXELS = {
    "LatentUpscale": (("width", "height"), "use 'Upscale Latent By', which takes a factor"),
    "LatentCrop": (("width", "height"), "use 'LatentCut', which counts latents"),
    "LatentComposite": (("x", "y", "feather"), "leave them 0"),
    "LatentCompositeMasked": (("x", "y"), "leave them 0"),
}
"""Node id to those of its settings that are pixels, and what to do instead."""

LATENTS = {"latent", "samples", "latent_image", "samples1", "samples2", "samples_to", "samples_from"}
LATENTS |= {"destination", "source"}
"""The inputs through which ComfyUI's nodes, and ours, take latents."""


def check_upstream(hidden: Any) -> None:
    """CLRFaceError where such a node lies on the way of the latents to one of ours.

    hidden: what ComfyUI tells a node of the graph, `prompt`, and of its own number in it, `unique_id`; None where a
    host tells nothing.
    """
    prompt = getattr(hidden, "prompt", None) or {}
    seen: set[str] = set()
    waiting = [str(getattr(hidden, "unique_id", ""))]
    while waiting:
        number = waiting.pop()
        if number in seen or number not in prompt:
            continue
        seen.add(number)
        node, given = prompt[number]["class_type"], prompt[number]["inputs"]
        settings, instead = IN_PIXELS.get(node, ((), ""))
        if any(given.get(name) for name in settings):
            raise CLRFaceError(
                f"Expected latents that no node has counted in pixels, got those of {node}, which takes 8 px for one "
                f"where these have 4 (its {' and '.join(settings)} would be halved): {instead}."
            )
        waiting += [str(value[0]) for name, value in given.items() if name in LATENTS and isinstance(value, list)]
