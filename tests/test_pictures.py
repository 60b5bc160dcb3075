"""Many pictures in a line give what one batch gives, and no more of them are held than needed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from clrface_core.pictures import restore_pictures
from clrface_core.stages import FaceStages, Sampling
from torch import Tensor

from clrface_core.faces.detect import Face
from clrface_core.faces.paste import paste_batch
from clrface_core.faces.select import cut_faces
from clrface_core.models.bundle import build

SIDE = 64


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> FaceStages:
    monkeypatch.setattr("clrface_core.stages.SIZE", SIDE)
    monkeypatch.setattr("clrface_core.pictures.cut_faces", lambda images, found: cut_faces(images, found, SIDE))
    torch.manual_seed(0)
    bundle = build("tiny")
    for parameter in bundle.refiner.parameters():  # type: ignore[union-attr]
        torch.nn.init.normal_(parameter, std=0.05)
    return FaceStages(bundle, device="cpu", dtype="float32", batch_size=3)


def face(x: float) -> Face:
    from clrface_core.faces.align import FFHQ_TEMPLATE_512

    return Face((x + 8, 8, x + 40, 40), 0.9, (FFHQ_TEMPLATE_512 * 48 / 512 + (x, 4)).astype("float32"))


class Counted:
    """As many faces as the first pixel of the picture says."""

    def detect(self, image: Tensor) -> list[Face]:
        return [face(50 * i) for i in range(round(float(image[0, 0, 0]) * 10))]


def photos(counts: list[int]) -> Tensor:
    images = torch.rand(len(counts), 3, 60, 220, generator=torch.Generator().manual_seed(1))
    images[:, 0, 0, 0] = torch.tensor(counts) / 10
    return images


def test_a_line_gives_what_one_batch_gives(stages: FaceStages) -> None:
    images, sampling = photos([2, 0, 4, 1, 0]), Sampling(steps=2, seed=5)
    found = [Counted().detect(image) for image in images]
    crops, batch = cut_faces(images, found, SIDE)
    restored = stages.restore_crops(crops, steps=2, seed=5)
    expected = list(paste_batch(images, restored, batch, feather=0.2))
    given = list(restore_pictures(images, stages, Counted(), sampling, pasting={"feather": 0.2}))
    assert [count for *_, count in given] == [2, 0, 4, 1, 0]
    for (picture, mask, _), (wanted, where) in zip(given, expected, strict=True):
        assert torch.equal(picture, wanted) and torch.equal(mask, where)
    assert (given[0][0] != images[0]).any() and torch.equal(given[1][0], images[1])


def test_few_pictures_are_held(stages: FaceStages) -> None:
    """A picture is asked for only when those before it are restored, up to a micro-batch of faces."""
    asked: list[int] = []

    def camera() -> Iterator[Tensor]:
        for index, picture in enumerate(photos([1] * 9)):
            asked.append(index)
            yield picture

    ahead = [len(asked) - i for i, _ in enumerate(restore_pictures(camera(), stages, Counted(), Sampling()), 1)]
    assert len(ahead) == 9 and max(ahead) <= stages.batch_size - 1


def test_region_and_callback(stages: FaceStages) -> None:
    images = photos([1, 1])
    regions = torch.stack([torch.zeros(60, 220), torch.ones(60, 220)])
    events: list[dict] = []
    given = list(
        restore_pictures(images, stages, Counted(), Sampling(steps=3), region_masks=regions, callback=events.append)
    )
    assert torch.equal(given[0][0], images[0]) and (given[1][0] != images[1]).any()
    assert [event["i"] for event in events] == [0, 1, 2]
