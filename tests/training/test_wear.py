"""The faults of real photographs, and photos of a person that are not the picture itself."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from clrface_core.shards import StoredFace
from clrface_core.training.album import disguised, mates
from clrface_core.training.wear import KINDS, worn


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("side", [64, 256])
def test_every_kind_of_wear_changes_a_face_and_leaves_it_one(
    kind: Callable[..., Tensor], side: int, smooth_picture: Callable[..., Tensor]
) -> None:
    face = smooth_picture(side, side, 0).clamp(0, 1)
    changed = kind(face, np.random.default_rng(5)).clamp(0, 1)
    assert changed.shape == face.shape
    assert torch.isfinite(changed).all()
    assert 1e-4 < (changed - face).abs().mean() < 0.1
    assert abs(changed.mean() - face.mean()) < 0.03


def test_wear_is_a_function_of_its_seed(smooth_picture: Callable[..., Tensor]) -> None:
    face = smooth_picture(64, 64, 0).clamp(0, 1)
    first, again, other = (worn(face, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_disguised_face_has_none_of_its_pixels_in_place(smooth_picture: Callable[..., Tensor]) -> None:
    face = smooth_picture(128, 128, 0).clamp(0, 1)
    photo = disguised(face, np.random.default_rng(0))
    assert photo.shape == face.shape
    assert ((photo - face).abs().amax(0) > 1 / 255).float().mean() > 0.7


def test_mates_are_the_other_photos_of_a_person(tmp_path: Path) -> None:
    keys = ["q-anna-a", "b-1", "q-ben-a", "q-anna-b", "q-anna-c"]
    assert mates([StoredFace(key, tmp_path) for key in keys]) == {0: [3, 4], 3: [0, 4], 4: [0, 3]}
