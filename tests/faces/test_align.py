"""Alignment: the least-squares similarity, pixel centres, antialiasing, and faces at the edge of the photo."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from clrface_core.errors import CLRFaceError
from clrface_core.faces.align import FFHQ_TEMPLATE_512, Faces, align_faces, similarity_transform
from clrface_core.faces.warp import compose, inverse, resizing


@dataclass(frozen=True)
class Found:
    landmarks: np.ndarray


def landmarks(scale: float, degrees: float, x: float, y: float) -> Tensor:
    """Landmarks (1,5,2) of a face whose 512 px crop covers 512 * scale photo pixels, centred at (x, y)."""
    a = math.radians(degrees)
    turn = torch.tensor([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]], dtype=torch.float64)
    centre = torch.tensor([x, y], dtype=torch.float64)
    return ((torch.from_numpy(FFHQ_TEMPLATE_512) - 255.5) @ turn.T * scale + centre)[None]


def ramps(height: int, width: int) -> Tensor:
    """A photo whose channels are x / 1000, y / 1000 and (x + y) / 2000: a value tells where it was taken."""
    x, y = torch.arange(width) / 1000, torch.arange(height)[:, None] / 1000
    return torch.stack([x.expand(height, -1), y.expand(-1, width), (x + y) / 2])


def positions(to_photo: Tensor, size: int) -> Tensor:
    """Photo coordinates (2,size,size) of the pixel centres of a crop."""
    x, y = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="xy")
    return torch.einsum("ij,jhw->ihw", to_photo, torch.stack([x, y, torch.ones_like(x)]).double())


def umeyama(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Equations 40 to 43 of Umeyama (1991), with its singular value decomposition."""
    source_mean, target_mean = source.mean(0), target.mean(0)
    u, d, vt = np.linalg.svd((target - target_mean).T @ (source - source_mean) / len(source))
    sign = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = (d * sign).sum() / source.var(0).sum()
    return np.column_stack([scale * rotation, target_mean - scale * rotation @ source_mean])


def test_similarity_is_umeyamas() -> None:
    points = np.random.default_rng(0).normal(200, 80, (20, 5, 2))
    points[10:, :, 0] *= -1  # also for points that a reflection would fit better
    expected = np.stack([umeyama(face, FFHQ_TEMPLATE_512) for face in points])
    np.testing.assert_allclose(similarity_transform(points).numpy(), expected, atol=1e-8)
    assert (torch.linalg.det(similarity_transform(points)[:, :, :2]) > 0).all()


@pytest.mark.parametrize("degrees", [0, 45, 90, 135, 180, 270])
def test_known_similarity_is_found_again(degrees: float) -> None:
    points = landmarks(0.37, degrees, 900, -20)
    matrix = similarity_transform(points)[0]
    found = points[0] @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(found.numpy(), FFHQ_TEMPLATE_512, atol=1e-9)


def test_crop_size_resizes_the_crop() -> None:
    points = landmarks(0.8, 20, 300, 200)
    expected = compose(resizing(2, 2), similarity_transform(points))
    torch.testing.assert_close(similarity_transform(points, size=1024), expected)
    _, alignment = align_faces(torch.zeros(3, 8, 8), points, 256)
    torch.testing.assert_close(alignment.for_crops(1024).matrices, expected)


@pytest.mark.parametrize("degrees", [0, 33, 90, 200])
@pytest.mark.parametrize("scale", [0.05, 0.11, 0.24, 0.4, 0.9])
def test_pixel_centres_land_where_the_matrix_says(scale: float, degrees: float) -> None:
    photo = ramps(520, 560)
    crops, alignment = align_faces(photo, landmarks(scale, degrees, 280.3, 259.8), 64)
    x, y = positions(inverse(alignment.matrices[0]), 64)
    inside = (x > 10) & (x < 549) & (y > 10) & (y < 509)
    error = (crops[0, :2] * 1000 - torch.stack([x, y]))[:, inside].abs()
    assert error.max() < 0.02 * max(scale * 512 / 64, 1)  # in pixels of the photo or the crop, the larger


def test_whole_pixel_shift_copies() -> None:
    photo = torch.rand(3, 600, 620, generator=torch.Generator().manual_seed(0))
    crops, _ = align_faces(photo, landmarks(1, 0, 255.5 + 40, 255.5 + 30))
    torch.testing.assert_close(crops[0], photo[:, 30 : 30 + 512, 40 : 40 + 512], atol=1e-3, rtol=0)


def test_quarter_turn_copies() -> None:
    photo = torch.rand(3, 512, 512, generator=torch.Generator().manual_seed(0))
    crops, _ = align_faces(photo, landmarks(1, 90, 255.5, 255.5))
    torch.testing.assert_close(crops[0], photo.rot90(1, (1, 2)), atol=1e-3, rtol=0)


@pytest.mark.parametrize("period", [2, 6])
def test_detail_too_fine_for_the_crop_is_averaged(period: int) -> None:
    stripes = (torch.arange(700) % period < period // 2).float().expand(3, 700, -1)
    crops, _ = align_faces(stripes, landmarks(1.2, 15, 350, 350), 64)
    assert (crops - 0.5).abs().max() < 0.1


def test_small_face_is_interpolated_smoothly(smooth_picture) -> None:
    photo = smooth_picture(64, 64)
    crops, _ = align_faces(photo, landmarks(24 / 512, 10, 32, 32))
    assert crops.shape == (1, 3, 512, 512)
    assert crops.diff(dim=-1).abs().max() < 3 * photo.diff(dim=-1).abs().max() * 24 / 512


@pytest.mark.parametrize("centre", [(0, 0), (199, 149), (-60, 75), (100, 400)])
def test_no_dark_corner_beyond_the_edge(centre: tuple[float, float]) -> None:
    crops, _ = align_faces(torch.ones(3, 150, 200), landmarks(0.4, 30, *centre), 64)
    torch.testing.assert_close(crops, torch.ones_like(crops))


def test_beyond_the_edge_the_photo_is_mirrored() -> None:
    crops, alignment = align_faces(ramps(150, 200), landmarks(0.2, 0, 0, 75), 64)
    x = positions(inverse(alignment.matrices[0]), 64)[0]
    error = crops[0, 0] * 1000 - torch.where(x < -0.5, -1 - x, x)
    assert error[x.abs() > 4].abs().max() < 0.1


def test_only_the_part_around_the_face_is_read() -> None:
    photo = torch.full((3, 400, 400), float("nan"))
    photo[:, 150:250, 150:250] = 0.5
    crops, _ = align_faces(photo, landmarks(0.1, 45, 200, 200), 32)
    torch.testing.assert_close(crops, torch.full_like(crops, 0.5))


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (4000, 6000)])
def test_photos_of_any_size(size: tuple[int, int]) -> None:
    photo = torch.full((1, 1, 1), 0.25).expand(3, *size)
    crops, alignment = align_faces(photo, landmarks(5, 100, size[1] / 2, size[0] / 2), 32)
    assert alignment.image_size == size
    torch.testing.assert_close(crops, torch.full_like(crops, 0.25))


def test_faces_may_be_detections_or_points_or_none() -> None:
    photo = ramps(100, 100)
    points = torch.cat([landmarks(0.1, 0, 40, 40), landmarks(0.1, 90, 60, 50)])
    faces = [Found(face.numpy()) for face in points]
    expected, alignment = align_faces(photo, points, 16)
    ways: list[Faces] = [faces, points.numpy(), [face.numpy() for face in points]]
    for given in ways:
        crops, _ = align_faces(photo, given, 16)
        torch.testing.assert_close(crops, expected)
    assert len(alignment) == 2
    torch.testing.assert_close(alignment.select([1]).matrices, alignment.matrices[1:])
    nothings: list[Faces] = [[], points[:0], np.zeros((0, 5, 2))]
    for nothing in nothings:
        crops, alignment = align_faces(photo, nothing, 16)
        assert crops.shape == (0, 3, 16, 16)
        assert len(alignment) == 0


def test_crops_keep_the_dtype() -> None:
    crops, _ = align_faces(ramps(100, 100).half(), landmarks(0.1, 0, 40, 40), 16)
    assert crops.dtype == torch.float16


@pytest.mark.parametrize(
    "points",
    [
        np.full((1, 5, 2), np.nan),
        np.full((1, 5, 2), 7.0),
        np.full((1, 5, 2), np.inf),
        np.zeros((1, 68, 2)),
        np.zeros(4),
    ],
)
def test_useless_landmarks_are_refused(points: np.ndarray) -> None:
    with pytest.raises(CLRFaceError, match=r"^Expected .*landmarks"):
        align_faces(torch.zeros(3, 8, 8), points)


@pytest.mark.parametrize("image", [torch.zeros(3, 8, 8).byte(), torch.zeros(1, 8, 8), torch.zeros(3, 0, 8)])
def test_useless_pictures_are_refused(image: Tensor) -> None:
    with pytest.raises(CLRFaceError, match=r"^Expected an RGB picture"):
        align_faces(image, landmarks(1, 0, 4, 4))
