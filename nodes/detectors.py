"""The detectors that there are weights for: the one that is included, and facexlib's in ComfyUI's model folders."""

from __future__ import annotations

from pathlib import Path

import folder_paths

from ..clrface_core.errors import CLRFaceError
from ..clrface_core.faces.detect import DETECTORS
from ..clrface_core.faces.search.retinaface import FILES, default_weights

FOLDERS = ("facedetection", "facexlib")
"""Folders of models in which other face nodes keep facexlib's files."""


def register_folders() -> None:
    """Below ComfyUI's models, besides what extra_model_paths.yaml names."""
    for folder in FOLDERS:
        folder_paths.add_model_folder_path(folder, str(Path(folder_paths.models_dir) / folder))


def available() -> list[str]:
    """The detectors that can be loaded."""
    return [name for name in DETECTORS if file_of(name) is None or weights_of(name) is not None]


def file_of(name: str) -> str | None:
    """The file that a detector needs, by facexlib's name; None for the one that is included."""
    return FILES.get(name.removeprefix("retinaface_"))


def weights_of(name: str) -> Path | None:
    """Where that file lies; None where it does not, or none is needed."""
    file = file_of(name)
    if file is None:
        return None
    places = [Path(place) / file for folder in FOLDERS for place in folder_paths.get_folder_paths(folder)]
    try:
        places.append(default_weights(name.removeprefix("retinaface_")))
    except CLRFaceError:  # facexlib is not installed
        return None
    return next((place for place in places if place.is_file()), None)


def checked(name: str) -> bool | str:
    """True, or why this detector cannot be chosen, in a sentence."""
    if name in available():
        return True
    if name not in DETECTORS:
        return f"Expected a detector among {', '.join(DETECTORS)}, got {name}: choose one of these."
    return (
        f"Expected the weights of the detector {name} in models/{FOLDERS[0]}, found none: put facexlib's "
        f"{file_of(name)} there, or choose the detector yunet, which needs none."
    )
