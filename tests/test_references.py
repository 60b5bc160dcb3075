"""Who is matched with whom, what the target is, and how a photo's quality counts: on embeddings that are given."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from clrface_core import CLRFaceError
from clrface_core.references import (
    LEAST_QUALITY,
    SCALE,
    SURE,
    THRESHOLD,
    Match,
    Reference,
    References,
    quality_of,
    sharpness,
    usual_threshold,
)


def at(cosine: float, axis: int = 1) -> Tensor:
    """A unit vector at this cosine to the first axis."""
    vector = torch.zeros(4)
    vector[0], vector[axis] = cosine, (1 - cosine**2) ** 0.5
    return vector


FACE = at(1.0)[None]


def test_only_those_over_the_threshold_are_used() -> None:
    near, far = Reference(at(THRESHOLD + 0.01), source="a.jpg"), Reference(at(THRESHOLD - 0.01), source="b.jpg")
    [match] = References((far, near)).match(FACE)
    assert match.used == (1,) and match.sources == ("b.jpg", "a.jpg") and match.scale == SCALE
    assert match.cosines == pytest.approx((THRESHOLD - 0.01, THRESHOLD + 0.01))
    torch.testing.assert_close(match.target, near.embedding)
    [match] = References((far,)).match(FACE)
    assert match.used == () and match.target is None and match.cosine == pytest.approx(THRESHOLD - 0.01)


def test_the_verdict_says_how_sure_it_is() -> None:
    def verdict(cosine: float) -> str:
        return References((Reference(at(cosine)),)).match(FACE)[0].verdict

    assert verdict(SURE + 0.01) == "the same person"
    assert verdict((SURE + THRESHOLD) / 2) == "probably the same person"
    assert verdict(0.1) == "no match"
    assert Match().verdict == "no references" and Match().cosine is None
    assert References(()).match(FACE)[0].verdict == "no references" == str(Match())
    assert str(References((Reference(at(0.1)),)).match(FACE)[0]) == (
        "no match (cosine 0.10), restored without references"
    )
    assert str(References((Reference(at(0.6)), Reference(at(0)))).match(FACE)[0]) == (
        "the same person (cosine 0.60), 1 of 2 references used"
    )


def test_the_target_is_the_mean_weighted_by_quality() -> None:
    first, second = at(0.9, 1), at(0.8, 2)
    [match] = References((Reference(3 * first, 1.0), Reference(second, 0.25))).match(FACE)
    torch.testing.assert_close(match.target, functional.normalize(first + 0.25 * second, dim=0))


def test_what_is_compared_is_not_what_draws() -> None:
    fine, coarse = at(0.0, 2), at(0.9)
    [match] = References((Reference(fine, coarse=coarse),)).match(FACE)
    assert match.cosine == pytest.approx(0.9) and match.target is not None and torch.equal(match.target, fine)


def test_each_face_has_its_own_references() -> None:
    anna, bert = torch.eye(4)[0], torch.eye(4)[1]
    matches = References((Reference(anna), Reference(bert))).match(torch.stack([bert, anna, torch.eye(4)[2]]))
    assert [match.used for match in matches] == [(1,), (0,), ()]


def test_sharp_and_large_photos_count_most(smooth_picture: Any) -> None:
    grain = torch.rand(3, 128, 128, generator=torch.Generator().manual_seed(0))
    sharp, soft = smooth_picture(128, 128) * 0.5 + grain * 0.5, smooth_picture(128, 128)
    assert sharpness(sharp) > 2 * sharpness(soft) > 0 and sharpness(torch.full((3, 64, 64), 0.5)) == 0
    assert quality_of(sharp, 0.9, 1000) == pytest.approx(0.9)
    assert quality_of(sharp, 0.9, 128) == pytest.approx(0.45)
    assert quality_of(soft, 0.9, 1000) < 0.9
    assert quality_of(torch.zeros(3, 64, 64), 0.9, 1000) == LEAST_QUALITY


@pytest.mark.parametrize(
    "settings", [{"threshold": 1.5}, {"threshold": float("nan")}, {"scale": -1}, {"scale": float("inf")}]
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(CLRFaceError, match=r"^Expected .*, got .*: .*\.$"):
        References((), **settings)


def test_references_of_another_network_are_refused() -> None:
    with pytest.raises(CLRFaceError, match=r"128 numbers a face, got 4: make them anew"):
        References((Reference(at(1.0)),)).match(torch.zeros(1, 128))
    assert usual_threshold("sface") == usual_threshold(None) == THRESHOLD
    with pytest.raises(CLRFaceError, match="only SFace's was measured"):
        usual_threshold("arcface")
