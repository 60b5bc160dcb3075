"""A face along its track: steadier than picture by picture, still where nothing moves, and its own where it blinks."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from clrface_core.errors import CLRFaceError
from clrface_core.fidelity import low_pass
from clrface_core.video.flow import SIDE, chained, flow, moved_by
from clrface_core.video.steady import SteadyFace, Steadying

Picture = Callable[..., Tensor]


def textured(smooth_picture: Picture, seed: int = 0) -> Tensor:
    return smooth_picture(256, 256, seed) * 0.6 + 0.2 * torch.rand(3, 64, 64).repeat_interleave(4, 1).repeat_interleave(
        4, 2
    )


def shifted(picture: Tensor, x: float) -> Tensor:
    """The picture's content moved to the right."""
    offsets = torch.zeros(2, SIDE, SIDE)
    offsets[0] = -x * SIDE / picture.shape[-1]
    return moved_by(picture, offsets)


class Networks:
    """In place of the networks: an estimate, and detail that is invented anew in every picture."""

    def __init__(self) -> None:
        self.invented = 0

    def estimate(self, crop: Tensor) -> Tensor:
        return low_pass(crop[None], 2.0)[0]

    def invent(self, crop: Tensor, estimate: Tensor) -> Tensor:
        self.invented += 1
        generator = torch.Generator().manual_seed(self.invented)
        return estimate + 0.1 * torch.randn(crop.shape, generator=generator)


def face(settings: Steadying = Steadying()) -> tuple[SteadyFace, Networks]:
    networks = Networks()
    return SteadyFace(networks.estimate, networks.invent, settings), networks


def test_flow_finds_a_movement_and_none_where_there_is_none(smooth_picture: Picture) -> None:
    picture = textured(smooth_picture)
    assert not flow(picture, picture).any()
    offsets = flow(picture, shifted(picture, 3.0))[:, 20:-20, 20:-20]
    assert offsets.mean((1, 2)).tolist() == pytest.approx([-3.0 * SIDE / 256, 0], abs=0.1)


def test_chained_movements_add_up(smooth_picture: Picture) -> None:
    there, on = torch.full((2, SIDE, SIDE), 0.5), torch.full((2, SIDE, SIDE), -2.0)
    assert torch.allclose(chained(there, on), torch.full((2, SIDE, SIDE), -1.5))


def test_a_repeated_picture_is_repeated_to_the_bit(smooth_picture: Picture) -> None:
    steady, networks = face()
    crop = textured(smooth_picture)
    results = [steady.restore(crop.clone()) for _ in range(9)]
    assert networks.invented == 1
    assert all(torch.equal(result, results[0]) for result in results)


def test_detail_stays_where_only_noise_changes(smooth_picture: Picture) -> None:
    crop = textured(smooth_picture)
    noise = [0.01 * torch.randn(crop.shape, generator=torch.Generator().manual_seed(at)) for at in range(16)]
    flicker = {}
    for name, settings in {"steady": Steadying(), "alone": Steadying(memory=0, key_every=1, key_memory=0)}.items():
        steady, networks = face(settings)
        results = [steady.restore((crop + each).clamp(0, 1)) for each in noise]
        flicker[name] = np.mean([float((b - a).abs().mean()) for a, b in pairwise(results[4:])])
        assert networks.invented == (16 if name == "alone" else 4)
    assert flicker["steady"] < 0.35 * flicker["alone"]


def test_detail_moves_along(smooth_picture: Picture) -> None:
    crop = textured(smooth_picture)
    steady, networks = face(Steadying(key_every=100))
    first = steady.restore(crop)
    for at in range(1, 5):
        last = steady.restore(shifted(crop, at))
    middle = (slice(None), slice(40, -40), slice(40, -40))
    assert networks.invented == 1
    alike = torch.corrcoef(
        torch.stack([(a - low_pass(a[None], 2.0)[0])[middle].flatten() for a in (shifted(first, 4), last)])
    )
    assert float(alike[0, 1]) > 0.8


def test_what_is_new_is_seen_at_once(smooth_picture: Picture) -> None:
    """A hand before a third of the face: there is a key, and the old crop shows through nowhere."""
    crop = textured(smooth_picture)
    covered = crop.clone()
    covered[:, 60:200, 90:180] = torch.tensor([0.9, 0.2, 0.1])[:, None, None]
    steady, networks = face(Steadying(key_every=100))
    for _ in range(3):
        steady.restore(crop + 0)
    result = steady.restore(covered)
    assert networks.invented == 2
    middle = result[:, 80:180, 105:165]
    assert float((middle.mean((1, 2)) - torch.tensor([0.9, 0.2, 0.1])).abs().max()) < 0.02


def test_settings() -> None:
    for memory, key_memory in ((1.0, 0.7), (0.7, -0.1)):
        with pytest.raises(CLRFaceError, match="from 0 to below 1"):
            Steadying(memory=memory, key_memory=key_memory)
    with pytest.raises(CLRFaceError, match="key_every"):
        Steadying(key_every=0)
