"""How degraded a face is, and what follows from it."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from clrface_core import Blending, CLRFaceError
from clrface_core.degrade import MILD, STANDARD
from clrface_core.evaluation.cases import choose_faces, load, make_case
from clrface_core.restorer import FaceRestorer
from clrface_core.severity import CLEAN, DEGRADED, SIDES, in_photo, severity, show, strength_for
from clrface_core.verdict import BLURRED, MOVED, SHARP, judge


def blurred(crops: Tensor, factor: int) -> Tensor:
    return interpolate(avg_pool2d(crops, factor), crops.shape[-1], mode="bicubic", align_corners=False)


@pytest.fixture
def crops() -> Tensor:
    return torch.rand(2, 3, 512, 512, generator=torch.Generator().manual_seed(0))


def test_an_estimate_that_agrees_says_clean(crops: Tensor) -> None:
    assert torch.equal(severity(crops, crops), torch.zeros(2, len(SIDES)))


def test_what_the_crop_lacks_counts_and_more_of_it_counts_more(crops: Tensor) -> None:
    found = [float(severity(blurred(crops, factor), crops)[0, 0]) for factor in (1, 4, 8, 16)]
    assert found == sorted(found) and found[0] < 0.01 and found[-1] > 0.5


def test_a_face_too_small_for_the_finest_is_judged_by_the_coarser() -> None:
    severities = torch.tensor([3.0, 2.0, 1.0])
    assert [in_photo(severities, side) for side in (1000, 171, 170, 86, 85, 3)] == [3, 3, 2, 2, 1, 1]


def test_strength_rises_from_clean_to_degraded() -> None:
    values = [strength_for(x) for x in (0, CLEAN, (CLEAN + DEGRADED) / 2, DEGRADED, 9)]
    assert values == pytest.approx([0, 0, 0.5, 1, 1])


def test_so_much_is_shown(crops: Tensor) -> None:
    shown = show(crops, 1 - crops, [0.0, 1.0])
    torch.testing.assert_close(shown, torch.stack([crops[0], 1 - crops[1]]))


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_strengths_out_of_range_are_refused(strength: float) -> None:
    with pytest.raises(CLRFaceError, match="Expected a strength from 0 to 1"):
        Blending(strength=strength)


def test_verdicts() -> None:
    severities, areas, gone = [0.05, 0.5, 0.5, 0.5], [100.0, 50.0, 200.0, 50.0], [False, False, False, True]
    usual = judge(severities, areas, gone, Blending())
    assert [(each.strength, each.reason) for each in usual] == [(0, SHARP), (1, ""), (1, ""), (0, MOVED)]
    skipped = judge(severities, areas, gone, Blending(skip_blurred=True))
    assert [each.reason for each in skipped] == [SHARP, BLURRED, "", MOVED]
    fixed = judge(severities, areas, gone, Blending(strength=0.4))
    assert [each.strength for each in fixed] == [0.4, 0.4, 0.4, 0]


def test_held_out_faces_are_told_apart(shared_dir: Path) -> None:
    """By the bundled model: clean ones next to nothing, degraded ones all that can be done."""
    restorer = FaceRestorer.load(device="cpu", identity_net=None)
    faces = choose_faces(shared_dir / "faces" / "val-512-000.tar", 2)
    for face in faces:
        clean, standard, mild = (load(face), *(make_case(face, c, 0).degraded for c in (STANDARD, MILD)))
        grain = 22 / 255 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
        pictures = torch.stack([clean, standard, mild, (clean + grain).clamp(0, 1)])
        found = severity(pictures, restorer.estimate(pictures))[:, 0].tolist()
        assert found[0] < CLEAN and found[1] > DEGRADED and found[2] > found[0]
        assert found[3] < CLEAN  # the rest of the photo has its grain too: a face without would look pasted in
