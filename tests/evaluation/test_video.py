"""Clips of known motion, and what the measures say of videos that are steady, and that are not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from clrface_core.commands import evaluate_video
from clrface_core.evaluation.video import measures
from clrface_core.evaluation.video.clips import MOTIONS, Clip, fitted
from clrface_core.evaluation.video.run import Steadiness, degradation, mean_of, measure, table
from clrface_core.models.bundle import Bundle
from clrface_core.pipeline import Restorer
from clrface_core.restorer import FaceRestorer
from tests.tiny import Colours, Given, face_at

Picture = Callable[..., Tensor]


@pytest.mark.parametrize("motion", MOTIONS)
def test_motion_is_known(smooth_picture: Picture, motion: str) -> None:
    clip = Clip(smooth_picture(96, 96), motion, 5)
    mask = torch.zeros(96, 96)
    mask[30:66, 30:66] = 1
    wrong = torch.tensor([[1, 0, 2.0], [0, 1, 0]], dtype=torch.float64)
    right = measures.flicker(clip.frame(3), clip.frame(4), clip.between(3, 4), mask)
    assert right < 0.3
    assert measures.flicker(clip.frame(3), clip.frame(4), wrong, mask) > 5 * right


def test_noise_is_fresh_unless_it_is_not(smooth_picture: Picture) -> None:
    clip = Clip(smooth_picture(96, 96), "still", 3, degradation())
    frozen = Clip(clip.still, "still", 3, degradation(), fresh=False)
    assert not torch.equal(clip.frame(0), clip.frame(1))
    assert torch.equal(frozen.frame(0), frozen.frame(1)) and torch.equal(clip.frame(2), clip.frame(2))


def test_flicker_counts_what_it_says() -> None:
    black, grey, mask = torch.zeros(3, 64, 64), torch.full((3, 64, 64), 10 / 255), torch.ones(64, 64)
    still = torch.eye(2, 3, dtype=torch.float64)
    assert measures.flicker(black, grey, still, mask) == pytest.approx(10, abs=1e-3)
    assert measures.fine_flicker(black, grey, still, mask) == pytest.approx(0, abs=1e-3)
    assert measures.warping_error(black, grey, still, mask) == pytest.approx(1000 * (10 / 255) ** 2, rel=1e-4)
    assert measures.psnr(grey, black, mask) == pytest.approx(20 * np.log10(25.5), abs=1e-3)


def test_jitter_of_people_and_points() -> None:
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([0.6, 0.8])
    assert measures.identity_jitter([one, one, one]) == 0
    assert measures.identity_jitter([one, other, one]) == pytest.approx(0.4)
    points = np.arange(10.0).reshape(5, 2)
    right = torch.tensor([[1, 0, 3.0], [0, 1, 0]], dtype=torch.float64)
    assert measures.landmark_jitter([points, np.add(points, (3, 0))], [right]) == 0
    assert measures.landmark_jitter([points, np.add(points, (3, 4))], [right]) == pytest.approx(4)


def test_a_still_is_the_part_of_a_photo_that_was_asked_for(smooth_picture: Picture) -> None:
    photo = smooth_picture(80, 100)
    assert torch.allclose(fitted(photo, 40, (49.5, 39.5, 40)), photo[:, 20:60, 30:70], atol=1e-4)


def test_ways_are_measured_side_by_side(tiny_bundle: Bundle, smooth_picture: Picture) -> None:
    restorer = Restorer(FaceRestorer(tiny_bundle, Colours()), Given(face_at(16, 16, 64)))
    clip = Clip(smooth_picture(96, 96), "pan", 3)
    ways: dict[str, Any] = {
        "as it is": lambda pictures: pictures,
        "boiling": lambda pictures: [each + 0.05 * torch.randn_like(each) for each in pictures],
    }
    rows = measure(clip, restorer, ways)
    assert rows["as it is"].flicker < 0.2 < 4 < rows["boiling"].flicker
    assert rows["as it is"].psnr > 100 and rows["as it is"].identity == pytest.approx(1, abs=1e-5)
    assert rows["boiling"].identity_jitter > rows["as it is"].identity_jitter
    mean = mean_of([rows, rows])
    assert mean["boiling"].psnr == pytest.approx(rows["boiling"].psnr)
    assert [line.split("|")[1].strip() for line in table(mean).splitlines()[2:]] == ["as it is", "boiling"]
    assert isinstance(mean["boiling"], Steadiness)


def test_filters_give_as_many_pictures(smooth_picture: Picture) -> None:
    pytest.importorskip("av", reason="needs PyAV")
    from clrface_core.evaluation.video.filters import filtered

    pictures = [smooth_picture(48, 64) * share for share in (1.0, 0.4, 0.7, 0.9)]
    mixed = filtered(pictures, "tmix", "frames=3")
    assert len(mixed) == 4 and torch.allclose(mixed[2], sum(pictures[:3]) / 3, atol=1e-3)  # type: ignore[arg-type]
    light = [float(each.mean()) for each in filtered(pictures, "deflicker", "size=3")]
    assert len(light) == 4 and np.ptp(light) < np.ptp([float(each.mean()) for each in pictures])


def test_the_command_knows_all_motions() -> None:
    assert tuple(MOTIONS) == evaluate_video.MOTIONS
