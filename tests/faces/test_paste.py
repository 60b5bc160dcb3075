"""Pasting: round trips, exactness outside the mask, crops of any size, overlaps, and the blending options."""

import io
import math
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from clrface_core.errors import CLRFaceError
from clrface_core.faces import paste
from clrface_core.faces.align import FFHQ_TEMPLATE_512, Alignment, align_faces
from clrface_core.faces.detect import Face
from clrface_core.faces.paste import Blending, paste_batch, paste_faces
from clrface_core.faces.select import cut_faces

RED = torch.tensor([1.0, 0, 0])
PLAIN = Blending(detail=0, grain=0)
"""Crops as they are, however little they look like the photo."""


def landmarks(scale: float, degrees: float, x: float, y: float) -> Tensor:
    """Landmarks (1,5,2) of a face whose 512 px crop covers 512 * scale photo pixels, centred at (x, y)."""
    a = math.radians(degrees)
    turn = torch.tensor([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]], dtype=torch.float64)
    centre = torch.tensor([x, y], dtype=torch.float64)
    return ((torch.from_numpy(FFHQ_TEMPLATE_512) - 255.5) @ turn.T * scale + centre)[None]


def placed(image: Tensor, *faces: Tensor) -> Alignment:
    return align_faces(image, torch.cat(faces), 8)[1]


def plain(color: Tensor, size: int) -> Tensor:
    return color[:, None, None].expand(3, size, size)


def noise(height: int, width: int) -> Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(1))


def round_trip(photo: Tensor, faces: Tensor, size: int = 512, **options: float) -> float:
    """Mean absolute change inside the mask, in units of 1/255, of pasting back what was cut out."""
    crops, alignment = align_faces(photo, faces, size)
    result, mask = paste_faces(photo, crops, alignment, Blending(**options))  # type: ignore[arg-type]
    inside = mask[0] > 0
    assert torch.equal(result[:, ~inside], photo[:, ~inside])
    assert inside.any()
    return float((result - photo)[:, inside].abs().mean() * 255)


@pytest.mark.parametrize("centre", [(300, 280), (0, 100), (590, 559)])
@pytest.mark.parametrize(("scale", "degrees"), [(1, 0), (1, 90), (1.1, 17), (0.7, 120)])
def test_unrestored_crop_changes_next_to_nothing(
    smooth_picture, scale: float, degrees: float, centre: tuple[float, float]
) -> None:
    assert round_trip(smooth_picture(560, 600), landmarks(scale, degrees, *centre)) < 0.3


def test_unrestored_real_face_changes_less_than_one_step(shared_dir: Path) -> None:
    errors = []
    with tarfile.open(shared_dir / "faces" / "val-512-000.tar") as shard:
        pictures = [member for member in shard.getmembers() if member.name.endswith(".webp")]
        for member, degrees in zip(pictures[::40], (0, 12, 90, 47), strict=True):
            file = shard.extractfile(member)
            assert file is not None
            pixels = np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB"))
            photo = torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255
            errors.append(round_trip(photo, landmarks(1, degrees, 255.5, 255.5)))
    assert max(errors) < 1


@pytest.mark.parametrize("scale", [0.2, 1, 2.5])
def test_full_detail_makes_the_round_trip_lossless(scale: float) -> None:
    assert round_trip(noise(300, 300), landmarks(scale, 25, 150, 150), 128, detail=1) < 0.01


def test_detail_keeps_what_the_crop_cannot_hold() -> None:
    photo = 0.5 + 0.1 * (noise(400, 400) - 0.5)
    crops, alignment = align_faces(photo, landmarks(0.7, 0, 200, 200), 64)
    brighter = crops + 0.2
    soft, _ = paste_faces(photo, brighter, alignment, PLAIN)
    sharp, _ = paste_faces(photo, brighter, alignment, Blending(detail=1, grain=0))
    middle = (slice(None), slice(150, 250), slice(150, 250))
    torch.testing.assert_close(sharp[middle], photo[middle] + 0.2, atol=1e-3, rtol=0)
    assert soft[middle].std() < 0.5 * photo[middle].std()


@pytest.mark.parametrize("size", [32, 100, 512, 777])
def test_crops_of_any_size_land_in_the_same_place(size: int) -> None:
    photo = torch.zeros(3, 300, 300)
    alignment = placed(photo, landmarks(0.4, 37, 150, 140))
    x = (torch.arange(size) + 0.5) / size
    crop = torch.stack([x.expand(size, -1), x[:, None].expand(-1, size), torch.zeros(size, size)])
    result, mask = paste_faces(photo, crop[None], alignment)
    y, x = (mask[0] == 1).nonzero().T.double()
    unit = alignment.matrices[0] @ torch.stack([x, y, torch.ones_like(x)])
    expected = (unit + 0.5) / alignment.size
    assert (result[:2, mask[0] == 1] - expected).abs().max() < 0.02 / min(size, 200)


def test_each_crop_may_have_its_own_size() -> None:
    photo = torch.zeros(3, 100, 200)
    alignment = placed(photo, landmarks(0.15, 0, 50, 50), landmarks(0.15, 0, 150, 50))
    result, _ = paste_faces(photo, [plain(RED, 3), plain(RED.flip(0), 300)], alignment)
    torch.testing.assert_close(result[:, 50, 50], RED)
    torch.testing.assert_close(result[:, 50, 150], RED.flip(0))


@pytest.mark.parametrize("degrees", [0, 45])
def test_crop_finer_than_the_photo_is_averaged(degrees: float) -> None:
    photo = torch.full((3, 60, 60), 0.5)
    checks = ((torch.arange(512) + torch.arange(512)[:, None]) % 4 < 2).float().expand(1, 3, -1, -1)
    result, mask = paste_faces(photo, checks, placed(photo, landmarks(24 / 512, degrees, 30, 30)))
    assert 300 < (mask > 0).sum() < 24 * 24
    assert (result - 0.5).abs().max() < 0.02


def test_crop_of_a_small_face_changes_its_face_only(smooth_picture) -> None:
    photo = smooth_picture(80, 80)
    assert round_trip(photo, landmarks(24 / 512, 70, 40, 40)) < 0.5


def test_mask_is_soft_round_and_inside_the_crop() -> None:
    photo = torch.zeros(3, 512, 512)
    _, mask = paste_faces(
        photo, plain(RED, 8)[None], placed(photo, landmarks(1, 0, 255.5, 255.5)), Blending(feather=0.1)
    )
    assert mask.shape == (1, 512, 512)
    assert mask.max() == 1
    for edge in (mask[0, 0], mask[0, -1], mask[0, :, 0], mask[0, :, -1], mask[0].diagonal()[:40]):
        assert edge.max() == 0
    assert mask.diff(dim=-1).abs().max() < 1.6 / 51.2  # the steepest of a smooth step 0.1 * 512 px wide
    template = torch.from_numpy(FFHQ_TEMPLATE_512).round().long()
    assert (mask[0, template[:, 1], template[:, 0]] == 1).all()


def test_feather_is_relative_to_the_face() -> None:
    widths = []
    for scale in (0.25, 0.5):
        photo = torch.zeros(3, 400, 400)
        _, mask = paste_faces(
            photo, plain(RED, 8)[None], placed(photo, landmarks(scale, 0, 200, 200)), Blending(feather=0.2)
        )
        row = mask[0, 200]
        widths.append(float(((row > 0) & (row < 1)).sum() / scale))
    assert widths[0] == pytest.approx(2 * 0.2 * 512, rel=0.05)
    assert widths[1] == pytest.approx(widths[0], rel=0.05)


def test_no_feather_leaves_an_edge_of_one_pixel() -> None:
    photo = torch.zeros(3, 200, 200)
    _, mask = paste_faces(photo, plain(RED, 8)[None], placed(photo, landmarks(0.3, 0, 100, 100)), Blending(feather=0))
    row = mask[0, 100]
    assert ((row > 0) & (row < 1)).sum() <= 2


@pytest.mark.parametrize("blend", [0.0, 0.5, 1.0])
def test_blend_mixes_with_the_photo(blend: float) -> None:
    photo = noise(120, 120)
    result, mask = paste_faces(
        photo, plain(RED, 8)[None], placed(photo, landmarks(0.2, 0, 60, 60)), replace(PLAIN, blend=blend)
    )
    torch.testing.assert_close(result[:, 60, 60], torch.lerp(photo[:, 60, 60], RED, blend))
    assert mask.max() == blend
    assert torch.equal(result, photo) == (blend == 0)


@pytest.mark.parametrize("shape", [(1, 120, 120), (120, 120)])
def test_region_mask_protects(shape: tuple[int, ...]) -> None:
    photo, region = noise(120, 120), torch.ones(shape)
    region[..., :60] = 0
    alignment = placed(photo, landmarks(0.2, 0, 60, 60))
    result, mask = paste_faces(photo, plain(RED, 8)[None], alignment, PLAIN, region_mask=region)
    assert torch.equal(result[:, :, :60], photo[:, :, :60])
    assert mask[..., :60].max() == 0
    torch.testing.assert_close(result[:, 60, 62], RED)


def test_color_match_takes_the_tint_of_the_photo(smooth_picture) -> None:
    photo = 0.3 + 0.4 * smooth_picture(300, 300)
    crops, alignment = align_faces(photo, landmarks(0.5, 20, 150, 150), 128)
    tinted = crops + torch.tensor([0.15, -0.1, 0.05])[:, None, None]
    change = [
        float((paste_faces(photo, tinted, alignment, Blending(color_match=match))[0] - photo).abs().max())
        for match in (False, True)
    ]
    assert change[0] > 0.14
    assert change[1] < 0.01


def test_color_match_keeps_the_detail_of_the_crop() -> None:
    photo = torch.full((3, 300, 300), 0.5)
    stripes = 0.3 + 0.2 * (torch.arange(256) % 16 < 8).float().expand(1, 3, 256, -1)
    alignment = placed(photo, landmarks(0.5, 0, 149.5, 149.5))
    result, _ = paste_faces(photo, stripes, alignment, Blending(color_match=True))
    middle = result[0, 150, 100:200]
    assert float(middle.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(middle.max() - middle.min()) > 0.18


def test_overlapping_faces_share_by_nearness_whatever_their_order() -> None:
    photo, colors = torch.full((3, 200, 260), 0.5), torch.eye(3)
    faces = torch.cat([landmarks(0.3, 0, 90, 100), landmarks(0.3, 30, 160, 100), landmarks(0.1, 0, 125, 60)])
    crops = torch.stack([plain(color, 16) for color in colors])
    results = []
    for order in ([0, 1, 2], [2, 0, 1]):
        result, mask = paste_faces(photo, crops[order], placed(photo, faces[order]))
        results.append(result)
        for color, (x, y) in zip(colors, ((90, 100), (160, 100), (125, 60)), strict=True):
            assert (result[:, y, x] - color).abs().max() < 0.05  # mostly its own
        assert mask.max() == 1
        assert result[:, mask[0] == 1].sum(0).sub(1).abs().max() < 1e-5  # a mixture of the faces alone
    torch.testing.assert_close(results[0], results[1])


def test_overlap_of_equal_crops_shows_no_trace(smooth_picture) -> None:
    photo = smooth_picture(560, 600)
    faces = torch.cat([landmarks(0.8, 0, 250, 280), landmarks(0.8, 40, 350, 280)])
    assert round_trip(photo, faces) < 0.3


def test_tiles_meet_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = noise(300, 300)
    alignment = placed(photo, landmarks(0.5, 20, 140, 150), landmarks(0.2, 50, 200, 160))
    crops = torch.stack([noise(300, 300), 1 - noise(300, 300)])
    whole, whole_mask = paste_faces(photo, crops, alignment, Blending(color_match=True, detail=0.5))
    monkeypatch.setattr(paste, "TILE", 37)
    tiled, tiled_mask = paste_faces(photo, crops, alignment, Blending(color_match=True, detail=0.5))
    torch.testing.assert_close(tiled, whole, atol=1e-4, rtol=0)
    torch.testing.assert_close(tiled_mask, whole_mask, atol=1e-5, rtol=0)


def test_only_the_part_around_a_face_is_touched() -> None:
    photo = torch.full((3, 400, 400), float("nan"))
    photo[:, 150:250, 150:250] = 0.5
    crops, alignment = align_faces(photo, landmarks(0.1, 45, 200, 200), 32)
    result, mask = paste_faces(photo, crops, alignment)
    outside = mask[0] == 0
    torch.testing.assert_close(result[:, outside], photo[:, outside], atol=0, rtol=0, equal_nan=True)
    assert torch.isfinite(result[:, ~outside]).all()


def test_no_face_leaves_the_photo() -> None:
    photo = noise(50, 40)
    crops, alignment = align_faces(photo, [])
    result, mask = paste_faces(photo, crops, alignment)
    assert torch.equal(result, photo)
    assert result is not photo
    assert mask.shape == (1, 50, 40)
    assert mask.max() == 0


def test_forty_faces() -> None:
    photo = noise(200, 320)
    faces = torch.cat([landmarks(0.08, 9 * i, 20 + 40 * (i % 8), 20 + 40 * (i // 8)) for i in range(40)])
    _, alignment = align_faces(photo, faces, 32)
    result, mask = paste_faces(photo, plain(RED, 16).expand(40, -1, -1, -1), alignment, PLAIN)
    x, y = torch.arange(20, 320, 40), torch.arange(20, 200, 40)
    torch.testing.assert_close(result[:, y[:, None], x], RED[:, None, None].expand(3, 5, 8))
    assert torch.equal(result[:, mask[0] == 0], photo[:, mask[0] == 0])


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1)])
def test_tiny_photos(size: tuple[int, int]) -> None:
    photo = noise(*size)
    where = placed(photo, landmarks(0.5, 90, size[1] / 2, size[0] / 2))
    result, _ = paste_faces(photo, plain(RED, 8)[None], where, PLAIN)
    torch.testing.assert_close(result, RED[:, None, None].expand(3, *size))


def test_large_photo_with_faces_at_its_corners() -> None:
    photo = torch.full((1, 1, 1), 0.25).expand(3, 4000, 6000)
    corners = [landmarks(0.5, 45, x, y) for x in (0, 5999) for y in (0, 3999)]
    result, _ = paste_faces(photo, plain(RED, 8).expand(4, -1, -1, -1), placed(photo, *corners))
    torch.testing.assert_close(result[:, ::3999, ::5999], RED[:, None, None].expand(3, 2, 2))
    assert torch.equal(result[:, 200:3800], photo[:, 200:3800])


def test_face_beside_the_photo_changes_nothing() -> None:
    photo = noise(50, 40)
    result, mask = paste_faces(photo, plain(RED, 8)[None], placed(photo, landmarks(0.1, 0, -500, 900)))
    assert torch.equal(result, photo)
    assert mask.max() == 0


def test_paste_into_the_enlarged_photo(smooth_picture) -> None:
    photo = smooth_picture(101, 140)
    alignment = placed(photo, landmarks(0.2, 15, 70, 50))
    small, small_mask = paste_faces(photo, plain(RED, 8)[None], alignment)
    enlarged = torch.nn.functional.interpolate(photo[None], (303, 420), mode="nearest")[0]
    large, large_mask = paste_faces(enlarged, plain(RED, 8)[None], alignment)
    # The middle pixel of each 3 x 3 block lies where the pixel of the small photo does.
    torch.testing.assert_close(large_mask[:, 1::3, 1::3], small_mask, atol=1e-4, rtol=0)
    torch.testing.assert_close(large[:, 1::3, 1::3], small, atol=1e-3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_stay_exact_outside(dtype: torch.dtype) -> None:
    photo = noise(60, 60).to(dtype)
    crops, alignment = align_faces(photo, landmarks(0.08, 0, 30, 30), 32)
    result, mask = paste_faces(photo, 1 - crops, alignment)
    assert result.dtype == dtype
    assert torch.equal(result[:, mask[0] == 0], photo[:, mask[0] == 0])
    assert not torch.equal(result, photo)


WRONG: dict[str, Callable[[Tensor, Tensor, Alignment], object]] = {
    "a crop too many": lambda photo, crop, where: paste_faces(photo, crop.repeat(2, 1, 1, 1), where),
    "an oblong crop": lambda photo, crop, where: paste_faces(photo, crop[..., :5], where),
    "a grey crop": lambda photo, crop, where: paste_faces(photo, crop[:, :1], where),
    "NaN": lambda photo, crop, where: paste_faces(photo, crop * float("nan"), where),
    "feather 2": lambda photo, crop, where: paste_faces(photo, crop, where, Blending(feather=2)),
    "blend -1": lambda photo, crop, where: paste_faces(photo, crop, where, Blending(blend=-1)),
    "detail NaN": lambda photo, crop, where: paste_faces(photo, crop, where, Blending(detail=float("nan"))),
    "another photo": lambda photo, crop, where: paste_faces(photo[:, :30], crop, where),
    "a batch": lambda photo, crop, where: paste_faces(photo[None], crop, where),
    "NaN in the region mask": lambda photo, crop, where: paste_faces(
        photo, crop, where, region_mask=torch.full((60, 60), float("nan"))
    ),
    "a small region mask": lambda photo, crop, where: paste_faces(photo, crop, where, region_mask=torch.ones(1, 5, 5)),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_fit_is_refused(what: str) -> None:
    photo = noise(60, 60)
    crop, alignment = align_faces(photo, landmarks(0.08, 0, 30, 30), 16)
    with pytest.raises(CLRFaceError, match=r"^Expected .*, got .*: "):
        WRONG[what](photo, crop, alignment)


# Several pictures


SMALL, LARGE, RIGHT = (
    landmarks(32 / 512, 0, 20, 20)[0],
    landmarks(64 / 512, 0, 72, 42)[0],
    landmarks(0.1, 0, 144, 84)[0],
)


def a_face(points: Tensor) -> Face:
    return Face((0, 0, 9, 9), 0.9, points.numpy())


@pytest.fixture
def photos() -> Tensor:
    return torch.rand(3, 3, 120, 200, generator=torch.Generator().manual_seed(0))


def test_crops_come_back_to_their_own_picture(photos: Tensor) -> None:
    found = [[LARGE, SMALL], [], [RIGHT]]
    _, batch = cut_faces(photos, [[a_face(points) for points in faces] for faces in found], 32)
    white, soft = torch.ones(3, 3, 32, 32), Blending(feather=0.2, detail=0, grain=0)
    pasted = list(paste_batch(photos, white, batch, soft))
    for index, faces in enumerate(found):
        image, mask = pasted[index]
        assert torch.equal(image[:, mask[0] == 0], photos[index][:, mask[0] == 0])
        assert all((image[:, int(points[2, 1]), int(points[2, 0])] > 0.99).all() for points in faces)
        assert bool(mask.any()) == bool(faces)
        if faces:
            expected = paste_faces(
                photos[index], white[: len(faces)], placed(photos[index], *(f[None] for f in faces)), soft
            )
            assert torch.equal(image, expected[0]) and torch.equal(mask, expected[1])
    region = torch.zeros(1, 120, 200)
    assert not any(mask.any() for _, mask in paste_batch(photos, white, batch, region_mask=region))


def test_pictures_without_faces_come_back(photos: Tensor) -> None:
    crops, batch = cut_faces(photos, [[], [], []], 32)
    for (image, mask), before in zip(paste_batch(photos, crops, batch), photos, strict=True):
        assert torch.equal(image, before) and not mask.any()


def test_crops_and_pictures_of_another_count_are_refused(photos: Tensor) -> None:
    _, batch = cut_faces(photos, [[a_face(LARGE), a_face(SMALL)], [], [a_face(RIGHT)]], 32)
    with pytest.raises(CLRFaceError, match="Expected 3 crops"):
        list(paste_batch(photos, torch.ones(2, 3, 32, 32), batch))
    with pytest.raises(CLRFaceError, match="Expected 3 pictures"):
        list(paste_batch(photos[:2], torch.ones(3, 3, 32, 32), batch))
