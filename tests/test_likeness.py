"""Drawing faces towards someone: how far, how coarse, and within what a picture can hold."""

import pytest
import torch
from torch.nn import functional

from clrface_core.likeness import COARSE, LARGEST_CHANGE, draw_towards
from tests.tiny import SIDE, Colours

FACES = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25
SHADING = torch.randn(2, 1, 2, 2, generator=torch.Generator().manual_seed(1)) / 4
TARGETS = Colours()(FACES + functional.interpolate(SHADING, size=SIDE)).detach()


def nearness(faces: torch.Tensor) -> torch.Tensor:
    return (Colours()(faces) * TARGETS).sum(1)


@pytest.mark.parametrize("scale", [1.0, 2.0, 3.5])
def test_a_larger_scale_comes_nearer(scale: float) -> None:
    less, more = (nearness(draw_towards(FACES, TARGETS, Colours(), each)) for each in (scale / 2, scale))
    assert (nearness(FACES) < less).all() and (less < more).all()


def test_a_large_scale_is_several_moves() -> None:
    calls = 0

    class Counting(Colours):
        def __call__(self, images: torch.Tensor) -> torch.Tensor:
            nonlocal calls
            calls += 1
            return super().__call__(images)

    for scale, moves in ((0.0, 0), (0.5, 1), (1.0, 1), (2.5, 3)):
        calls = 0
        drawn = draw_towards(FACES, TARGETS, Counting(), scale)
        assert calls == moves and torch.equal(drawn, FACES) == (scale == 0)


def test_what_changes_is_coarse() -> None:
    """It is a picture COARSE times smaller, enlarged: between its pixels it is linear."""
    change = draw_towards(FACES, TARGETS, Colours(), 1.0) - FACES
    across = change[..., COARSE // 2 : -COARSE // 2].unfold(-1, COARSE, COARSE)
    bends = across[..., 2:] - 2 * across[..., 1:-1] + across[..., :-2]
    assert float(bends.abs().max()) < 1e-6 < float(change.abs().max())


def test_what_changes_is_grey_and_small() -> None:
    """Free colours and values leave blotches on the skin."""
    change = draw_towards(FACES, TARGETS, Colours(), 4.0) - FACES
    assert float((change - change.mean(1, keepdim=True)).abs().max()) < 1e-6
    assert 0.001 < float(change.abs().max()) <= LARGEST_CHANGE + 1e-6


def test_each_face_has_its_own_target_and_stays_a_picture() -> None:
    faces = FACES.round()
    together = draw_towards(faces, TARGETS, Colours(), 2.0)
    assert float(together.min()) >= 0 and float(together.max()) <= 1 and not together.requires_grad
    for row in range(2):
        alone = draw_towards(faces[[row]], TARGETS[[row]], Colours(), 2.0)
        torch.testing.assert_close(alone[0], together[row])
