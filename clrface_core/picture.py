"""What every part takes for a picture, and the side of an aligned face."""

from __future__ import annotations

from torch import Tensor

from .errors import CLRFaceError

FACE_SIZE = 512
"""Side in pixels of the aligned crops of every model, unless its file says otherwise."""


def check_picture(picture: Tensor) -> None:
    """Raise CLRFaceError unless this is a float (3,H,W) picture with at least one pixel."""
    if (
        not isinstance(picture, Tensor)
        or picture.ndim != 3
        or picture.shape[0] != 3
        or not picture.is_floating_point()
        or not picture.numel()
    ):
        got = f"{picture.dtype} {tuple(picture.shape)}" if isinstance(picture, Tensor) else type(picture).__name__
        raise CLRFaceError(
            f"Expected an RGB picture as a float tensor (3, height, width) in [0, 1], got {got}: convert it first."
        )
