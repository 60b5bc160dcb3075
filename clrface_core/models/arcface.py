"""ArcFace (Deng et al., arXiv 1801.07698): facexlib's IR-SE50, from a weights file the user already has.

It takes 112 px faces in [-1,1]. facexlib itself never says in which channel order; its weights are those of
TreB1eN/InsightFace_Pytorch, which were trained on images written out as BGR, so BGR it is.
"""

import pickle
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import CLRFaceError

FILE_NAME = "recognition_arcface_ir_se50.pth"


def find_arcface(weights: Path | str | None = None) -> Path:
    """The weights file: `weights` (or in that folder), else in facexlib's folder. CLRFaceError if absent."""
    package = find_spec("facexlib")
    if package is None or not package.submodule_search_locations:
        raise CLRFaceError("Expected facexlib for the identity network 'arcface', found none: pip install facexlib.")
    path = Path(weights) if weights else Path(package.submodule_search_locations[0]) / "weights"
    path = path / FILE_NAME if path.is_dir() else path
    if not path.is_file():
        raise CLRFaceError(
            f"Expected the ArcFace weights at {path}, found no file: put facexlib's {FILE_NAME} there, "
            "or use the identity network 'sface', which needs no file."
        )
    return path


def load_arcface(path: Path) -> nn.Module:
    """facexlib's Backbone in float32: (B,3,112,112) BGR in [-1,1] -> (B,512). Checks every name and shape."""
    from facexlib.recognition.arcface_arch import Backbone  # heavy: only for those who ask for it

    with torch.device("meta"):  # no random initialisation of 44 million weights that are about to be replaced
        model = Backbone(num_layers=50, drop_ratio=0.6, mode="ir_se")
    stored = _read_weights(path)
    state = {}
    for name, wanted in model.state_dict().items():
        if name.endswith("num_batches_tracked"):  # counts training steps, and old files lack it
            state[name] = torch.zeros((), dtype=torch.long)
            continue
        found = stored.get(name)
        if not isinstance(found, Tensor) or found.shape != wanted.shape:
            shape = tuple(found.shape) if isinstance(found, Tensor) else "nothing"
            raise CLRFaceError(
                f"Expected IR-SE50 weights with '{name}' of shape {tuple(wanted.shape)}, {path} has {shape}: "
                f"use facexlib's {FILE_NAME}."
            )
        state[name] = found.float()
    if unknown := stored.keys() - state.keys():
        raise CLRFaceError(
            f"Expected IR-SE50 weights alone, {path} also has '{min(unknown)}': use facexlib's {FILE_NAME}."
        )
    model.load_state_dict(state, assign=True)
    return model


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        stored = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise CLRFaceError(
            f"Expected a weights file, {path} cannot be read ({type(error).__name__}): get {FILE_NAME} again."
        ) from error
    if not isinstance(stored, dict):
        raise CLRFaceError(f"Expected named weights, {path} holds a {type(stored).__name__}: use {FILE_NAME}.")
    return stored
