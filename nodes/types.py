"""The types of our own that travel along the wires, and the category of every node."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

from comfy_api.latest import io

CATEGORY = "CLR-Face"

Model = io.Custom("CLRFACE_MODEL")
Alignment = io.Custom("CLRFACE_ALIGNMENT")
References = io.Custom("CLRFACE_REFERENCE")
FaceLandmarks = io.Custom("FACE_LANDMARKS")  # ComfyUI's own, of its MediaPipe nodes


def model_input() -> io.Input:
    """The model, as every node asks for it."""
    return Model.Input(
        "model",
        tooltip="The CLR-Face model.\nComes from 'Load CLR-Face Model'.",
    )


def seed_input(what: str) -> io.Input:
    """A seed with the control that changes it after every run."""
    return io.Int.Input(
        "seed",
        default=0,
        min=0,
        max=0xFFFFFFFFFFFFFFFF,
        control_after_generate=True,
        tooltip=f"Seed of {what}.\nThe same seed gives the same result, however faces are batched.",
    )


Settings = TypeVar("Settings")


def settings(kind: type[Settings], widgets: dict[str, Any]) -> Settings:
    """A settings dataclass of the library, made of those widgets that bear the names of its fields."""
    return kind(**{each.name: widgets[each.name] for each in fields(kind) if each.name in widgets})  # type: ignore[arg-type]
