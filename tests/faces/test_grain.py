"""Grain: measured where the photo has it, made with its spectrum, none where there is none."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from clrface_core.faces.align import align_faces
from clrface_core.faces.grain import lost_grain, make_grain, power
from clrface_core.faces.paste import Blending, paste_faces
from tests.faces.test_paste import landmarks

SIGMA = 16 / 255


def white(count: int, sigma: float, seed: int = 0) -> Tensor:
    return 0.5 + sigma * torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def smooth(count: int) -> Tensor:
    return torch.full((count, 3, 8, 8), 0.5)


def std_of(picture: Tensor) -> float:
    """Of the detail of the middle of a picture with the face of `pasted`."""
    middle = picture[:, 230:290, 210:300]
    coarse = avg_pool2d(middle, 5, 1, 2, count_include_pad=False)
    return float((middle - coarse).std())


def pasted(photo: Tensor, **settings: float) -> Tensor:
    """The photo with a face in it whose crop has lost all detail."""
    crops, alignment = align_faces(photo, landmarks(0.6, 10, 250, 260), 512)
    bare = torch.nn.functional.interpolate(avg_pool2d(crops, 64), 512, mode="bicubic", align_corners=False)
    return paste_faces(photo, bare.clamp(0, 1), alignment, Blending(**settings))[0]  # type: ignore[arg-type]


def grainy(photo: Tensor, sigma: float = SIGMA) -> Tensor:
    noise = torch.randn(photo.shape, generator=torch.Generator().manual_seed(3))
    return (photo + sigma * noise).clamp(0, 1)


def test_white_noise_has_a_flat_spectrum_of_its_variance() -> None:
    spectrum = power(white(4000, SIGMA))[:, :, 1:].mean(0)
    assert float(spectrum.mean().sqrt()) == pytest.approx(SIGMA, rel=0.01)
    assert float(spectrum.std() / spectrum.mean()) < 0.05


def test_what_the_face_has_lost_is_measured() -> None:
    lost = lost_grain(white(300, SIGMA), smooth(300), white(300, SIGMA, 1))
    assert lost is not None
    assert float(lost[:, 3:, 3:].mean().sqrt()) == pytest.approx(SIGMA, rel=0.05)
    half = lost_grain(white(300, SIGMA), white(300, SIGMA * 0.75**0.5, 2), white(300, SIGMA, 1))
    assert half is not None
    assert float(half[:, 3:, 3:].mean().sqrt()) == pytest.approx(SIGMA / 2, rel=0.2)


def test_what_the_surroundings_have_not_is_no_grain() -> None:
    assert lost_grain(white(300, SIGMA), smooth(300), smooth(300)) is None
    less = lost_grain(white(300, SIGMA), smooth(300), white(300, SIGMA / 4, 1))
    assert less is not None
    assert float(less[:, 3:, 3:].mean().sqrt()) == pytest.approx(SIGMA / 4, rel=0.1)


def test_nothing_lost_nothing_made() -> None:
    assert lost_grain(white(300, SIGMA), white(300, SIGMA), white(300, SIGMA, 1)) is None
    assert lost_grain(white(300, 0.5 / 255), smooth(300), white(300, 0.5 / 255, 1)) is None
    assert lost_grain(white(7, SIGMA), smooth(7), white(7, SIGMA, 1)) is None
    assert lost_grain(white(300, SIGMA) - 0.5, smooth(300), white(300, SIGMA)) is None  # black: clipped


def test_made_grain_has_the_spectrum_asked_for() -> None:
    falling = SIGMA**2 * torch.exp(-torch.arange(8) / 8.0)
    spectrum = (falling[:, None] * falling / SIGMA**2).expand(3, 8, 8) * torch.tensor([1, 0.3, 0.1])[:, None, None]
    grain = make_grain(spectrum, 1024, 1024, seed=0, face_id=0)
    found = power(grain.unfold(1, 8, 8).unfold(2, 8, 8).flatten(1, 2).movedim(0, 1)).mean(0)
    # The cosines of a block are no sharp bands: what falls steeply leaks a little into the finer ones.
    torch.testing.assert_close(found[:, 1:7, 1:7], spectrum[:, 1:7, 1:7], rtol=0.25, atol=0)
    assert float(found[:, 1:7, 1:7].mean()) == pytest.approx(float(spectrum[:, 1:7, 1:7].mean()), rel=0.15)


def test_grain_depends_on_seed_and_face_and_on_nothing_else() -> None:
    spectrum = torch.ones(3, 8, 8)
    first = make_grain(spectrum, 40, 50, seed=1, face_id=2)
    torch.rand(3)
    assert torch.equal(first, make_grain(spectrum, 40, 50, seed=1, face_id=2))
    for seed, face_id in ((2, 2), (1, 3)):
        assert not torch.equal(first, make_grain(spectrum, 40, 50, seed=seed, face_id=face_id))


def test_a_grey_spectrum_makes_grey_grain() -> None:
    spectrum = torch.zeros(3, 8, 8)
    spectrum[0] = 1
    grain = make_grain(spectrum, 64, 64, seed=0, face_id=0)
    assert float((grain - grain[:1]).abs().max()) < 1e-5
    assert float(grain.std()) > 0.5


def test_a_pasted_face_is_as_grainy_as_its_photo(smooth_picture) -> None:
    photo = grainy(0.3 + 0.4 * smooth_picture(512, 512))
    before = std_of(photo)
    assert std_of(pasted(photo, grain=0)) < 0.4 * before
    assert std_of(pasted(photo)) == pytest.approx(before, rel=0.1)
    assert std_of(pasted(photo, grain=0.5)) == pytest.approx(before / 2, rel=0.2)


def test_a_clean_photo_gets_none(smooth_picture) -> None:
    photo = 0.3 + 0.4 * smooth_picture(512, 512)
    assert torch.equal(pasted(photo), pasted(photo, grain=0))


def test_a_restored_face_that_shows_half_is_as_grainy_too(smooth_picture) -> None:
    photo = grainy(0.3 + 0.4 * smooth_picture(512, 512))
    crops, alignment = align_faces(photo, landmarks(0.6, 10, 250, 260), 512)
    flat = torch.full_like(crops, 0.5)
    half, mask = paste_faces(photo, flat, alignment, strengths=[0.5])
    assert float(mask.max()) == 0.5
    assert std_of(half) == pytest.approx(std_of(photo), rel=0.1)
    none, mask = paste_faces(photo, flat, alignment, strengths=[0])
    assert torch.equal(none, photo) and not mask.any()
