"""The whole flow on tiny random networks and faces that are simply said to be there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from clrface_core import Blending, CLRFaceError, Detection, Restoration, Restorer, Sampling
from clrface_core.faces.align import align_faces
from clrface_core.faces.detect import Face
from clrface_core.faces.paste import paste_faces
from clrface_core.models.bundle import Bundle
from clrface_core.photo import Photo, as_photo
from clrface_core.pipeline import aligned_crop
from clrface_core.references import Reference, References
from clrface_core.restorer import FaceRestorer
from tests.tiny import SIDE, Colours, Given, face_at


@pytest.fixture
def restorer(tiny_bundle: Bundle) -> Restorer:
    return Restorer(FaceRestorer(tiny_bundle), Given(face_at(40, 30, 96)))


def of_face(bundle: Bundle, *faces: Face, batch_size: int = 4) -> Restorer:
    return Restorer(FaceRestorer(bundle, batch_size=batch_size), Given(*faces))


class Counted:
    """A detector that sees as many faces as the first pixel of the picture says."""

    def detect(self, image: Tensor, score_threshold: float) -> list[Face]:
        return [face_at(50 * i, 4, 48) for i in range(round(float(image[0, 0, 0]) * 10))]


def photos(counts: list[int]) -> list[Tensor]:
    images = torch.rand(len(counts), 3, 60, 220, generator=torch.Generator().manual_seed(1))
    images[:, 0, 0, 0] = torch.tensor(counts) / 10
    return list(images)


def test_faces_change_and_everything_else_stays_to_the_bit(restorer: Restorer, smooth_picture: Any) -> None:
    picture = smooth_picture(180, 220)
    result = restorer.restore(picture)
    untouched = (result.mask == 0).expand_as(picture)
    assert torch.equal(result.image[untouched], picture[untouched])
    assert not torch.equal(result.image, picture)
    covered = float(result.mask.mean())
    assert covered > 0.05 and covered < 0.5
    assert (result.image.shape, result.mask.shape) == (picture.shape, (1, 180, 220))
    assert result.crops.shape == result.restored_crops.shape == (1, 3, SIDE, SIDE)
    assert len(result.faces) == len(result.alignment) == 1 and result.chosen == [0]


def test_the_flow_is_its_stages(restorer: Restorer, smooth_picture: Any) -> None:
    picture, sampling = smooth_picture(180, 220), Sampling(steps=2, seed=5)
    crops, alignment = align_faces(picture, [face_at(40, 30, 96)], SIDE)
    restored = restorer.faces.restore_crops(crops, sampling, face_ids=[0])
    image, mask = paste_faces(picture, restored, alignment, Blending(feather=0.2), ids=[0])
    result = restorer.restore(picture, sampling, blending=Blending(feather=0.2))
    assert torch.equal(result.image, image) and torch.equal(result.mask, mask)


def test_a_picture_without_faces_passes_through(tiny_bundle: Bundle, smooth_picture: Any) -> None:
    picture = smooth_picture(50, 60)
    result = of_face(tiny_bundle).restore(picture, detection=Detection(faces="largest"))
    assert torch.equal(result.image, picture)
    assert result.faces == [] and result.chosen == [] and not result.mask.any()


def test_forty_faces_are_all_restored_in_bounded_batches(tiny_bundle: Bundle, smooth_picture: Any) -> None:
    faces = [face_at(25 * (i % 8), 25 * (i // 8), 24) for i in range(40)]
    batches: list[list[int]] = []
    result = of_face(tiny_bundle, *faces, batch_size=8).restore(
        smooth_picture(125, 200), callback=lambda state: batches.append(state["faces"])
    )
    assert sorted(result.chosen) == list(range(40)) and [len(batch) for batch in batches] == [8] * 5
    assert len(result.restored_crops) == 40 and torch.isfinite(result.image).all()


def test_a_chosen_face_comes_out_as_among_all(tiny_bundle: Bundle, smooth_picture: Any) -> None:
    picture = smooth_picture(120, 260)
    restorer = of_face(tiny_bundle, face_at(10, 10, 100), face_at(140, 15, 90), batch_size=1)
    both = restorer.restore(picture)
    for detection in (Detection(faces="1"), Detection(faces=[1])):
        second = restorer.restore(picture, detection=detection)
        assert second.chosen == [1] and len(second.faces) == 2
        assert torch.equal(second.restored_crops[0], both.restored_crops[1])
    first = restorer.restore(picture, detection=Detection(min_size=95))
    assert first.chosen == [0] and torch.equal(first.restored_crops[0], both.restored_crops[0])


def test_identical_frames_come_out_identical(tiny_bundle: Bundle, smooth_picture: Any) -> None:
    frame = smooth_picture(120, 260)
    restorer = of_face(tiny_bundle, face_at(10, 10, 100), face_at(140, 15, 90), batch_size=1)
    first, *others = (result.image for result in restorer.restore_photos([frame] * 3))
    assert not torch.equal(first, frame) and all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_many_photos_give_what_each_gives_alone(tiny_bundle: Bundle, batch_size: int) -> None:
    restorer, sampling = Restorer(FaceRestorer(tiny_bundle, batch_size=batch_size), Counted()), Sampling(2, seed=5)
    images = photos([2, 0, 4, 1, 0])
    together = list(restorer.restore_photos(images, sampling))
    assert [len(result.chosen) for result in together] == [2, 0, 4, 1, 0]
    for image, result in zip(images, together, strict=True):
        alone = restorer.restore(image, sampling)
        assert torch.equal(result.mask, alone.mask)
        # the codebook look-up may flip where two entries are equally near; hardly any pixel may show it
        assert float((result.image - alone.image).abs().mean()) < (1e-4 if batch_size > 1 else 1e-12)
    assert torch.equal(together[1].image, images[1])


def test_few_photos_are_held(tiny_bundle: Bundle) -> None:
    """A photo is asked for only when those before it are restored, up to a micro-batch of faces."""
    asked: list[int] = []

    def camera() -> Iterator[Tensor]:
        for index, picture in enumerate(photos([1] * 9)):
            asked.append(index)
            yield picture

    restorer = Restorer(FaceRestorer(tiny_bundle, batch_size=3), Counted())
    ahead = [len(asked) - i for i, _ in enumerate(restorer.restore_photos(camera()), 1)]
    assert len(ahead) == 9 and max(ahead) <= 2


def test_regions_and_what_the_callback_is_told(tiny_bundle: Bundle) -> None:
    images = photos([1, 1])
    events: list[dict[str, Any]] = []
    regions = [torch.zeros(60, 220), torch.ones(60, 220)]
    restorer = Restorer(FaceRestorer(tiny_bundle, batch_size=2), Counted())
    given = list(restorer.restore_photos(images, Sampling(steps=3), regions=regions, callback=events.append))
    assert torch.equal(given[0].image, images[0]) and (given[1].image != images[1]).any()
    assert [(event["i"], event["photos"], round(event["share"], 2)) for event in events] == [
        (0, 2, 0.33), (1, 2, 0.67), (2, 2, 1.0)
    ]  # fmt: skip


def test_a_photo_that_fails_stops_no_other(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither one that cannot be read, nor one whose faces the networks cannot do, although they share a batch."""
    images = photos([1, 1, 1])
    images[1][:, :, 1:] *= 0.01
    faces = FaceRestorer(tiny_bundle, batch_size=3)
    expected = [result.image for result in Restorer(faces, Counted()).restore_photos(images)]
    estimate = faces.estimate

    def afraid_of_the_dark(crops: Tensor) -> Tensor:
        if (crops.mean((1, 2, 3)) < 0.1).any():
            raise CLRFaceError("Expected finite pixels, got NaN: use float32.")
        return estimate(crops)

    monkeypatch.setattr(faces, "estimate", afraid_of_the_dark)
    missing = tmp_path / "missing.png"
    first, second, absent, third = Restorer(faces, Counted()).attempt_photos([*images[:2], missing, images[2]])
    assert isinstance(first, Restoration) and float((first.image - expected[0]).abs().mean()) < 1e-4
    assert isinstance(third, Restoration) and float((third.image - expected[2]).abs().mean()) < 1e-4
    assert isinstance(second, CLRFaceError) and "NaN" in str(second)
    assert isinstance(absent, CLRFaceError) and "missing.png" in str(absent)
    with pytest.raises(CLRFaceError, match=r"missing\.png"):
        list(Restorer(faces, Counted()).restore_photos([images[0], missing]))


def test_a_bug_ends_the_flow(restorer: Restorer, smooth_picture: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(restorer.faces, "encode", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        next(restorer.attempt_photos([smooth_picture(180, 220)]))


def test_aligned_faces_of_any_square_size(smooth_picture: Any) -> None:
    exact = smooth_picture(SIDE, SIDE)
    assert torch.equal(aligned_crop(exact, SIDE), exact)
    for side in (1, 64, 700):
        assert aligned_crop(smooth_picture(side, side)).shape == (3, 512, 512)
    with pytest.raises(CLRFaceError, match="got 60x50 px"):
        aligned_crop(smooth_picture(50, 60))


def test_a_face_that_is_not_there_is_an_error(restorer: Restorer, smooth_picture: Any) -> None:
    with pytest.raises(CLRFaceError, match="got 3"):
        restorer.restore(smooth_picture(180, 220), detection=Detection(faces="3"))


def test_a_result_is_saved_as_it_came(restorer: Restorer, tmp_path: Path, smooth_picture: Any) -> None:
    alpha = torch.zeros(180, 220)
    result = restorer.restore(Photo(smooth_picture(180, 220), alpha, bits=8))
    assert isinstance(result, Restoration)
    result.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert (image.mode, image.size) == ("RGBA", (220, 180))
    assert as_photo(tmp_path / "a.png").alpha is not None


def knowing(bundle: Bundle, *faces: Face, batch_size: int = 4) -> Restorer:
    """With a recognition network that tells faces by their colours."""
    return Restorer(FaceRestorer(bundle, Colours(), batch_size=batch_size), Given(*faces))


def test_a_group_each_with_its_own_references(tiny_bundle: Bundle, smooth_picture: Any) -> None:
    """Of two faces the one that is among the references is pulled, the other is restored blind to the bit."""
    picture = smooth_picture(120, 260)
    restorer = knowing(tiny_bundle, face_at(10, 10, 100), face_at(140, 15, 90))
    blind = restorer.restore(picture, Sampling(2))
    assert [match.verdict for match in blind.matches] == ["no references"] * 2
    album = restorer.reference_faces([picture, picture])
    assert [face.source for face in album.faces] == [f"reference {n}, face {i}" for n in (1, 2) for i in (0, 1)]
    assert len(album.notes) == 2 and "2 people are seen" in album.notes[0] and album.problems == ()
    seen = restorer.faces.embed_coarse(restorer.faces.estimate(blind.crops).clamp(0, 1))
    second = References((Reference(seen[1] + 0.05, source="second.jpg"),), threshold=0.95)
    result = restorer.restore(picture, Sampling(2), references=second)
    assert [match.used for match in result.matches] == [(), (0,)] and result.matches[1].sources == ("second.jpg",)
    assert torch.equal(result.restored_crops[0], blind.restored_crops[0])
    assert not torch.equal(result.restored_crops[1], blind.restored_crops[1])


@pytest.mark.parametrize("batch_size", [1, 3])
def test_references_serve_all_photos(tiny_bundle: Bundle, batch_size: int) -> None:
    restorer = Restorer(FaceRestorer(tiny_bundle, Colours(), batch_size=batch_size), Counted())
    images = photos([2, 0, 1])
    together = list(restorer.restore_photos(images, references=[images[2]]))
    assert [len(result.matches) for result in together] == [2, 0, 1]
    for image, result in zip(images, together, strict=True):
        alone = restorer.restore(image, references=restorer.reference_faces([images[2]]))
        assert [match.used for match in result.matches] == [match.used for match in alone.matches]


def test_zero_references_and_a_strangers_give_todays_photo(tiny_bundle: Bundle, smooth_picture: Any) -> None:
    picture = smooth_picture(180, 220)
    restorer = knowing(tiny_bundle, face_at(40, 30, 96))
    today = Restorer(FaceRestorer(tiny_bundle), Given(face_at(40, 30, 96))).restore(picture, Sampling(2)).image
    own = restorer.reference_faces([picture]).faces[0]
    stranger = References((Reference(-own.embedding),))
    for references in (None, References(()), stranger):
        assert torch.equal(restorer.restore(picture, Sampling(2), references=references).image, today)
    assert not torch.equal(restorer.restore(picture, Sampling(2), references=[picture]).image, today)


def test_references_that_cannot_be_used_are_named(
    tiny_bundle: Bundle, tmp_path: Path, smooth_picture: Any, caplog: pytest.LogCaptureFixture
) -> None:
    restorer = Restorer(FaceRestorer(tiny_bundle, Colours()), Counted())
    [nobody, anna] = photos([0, 1])
    (tmp_path / "notes.jpg").write_text("not a picture")
    bad = [nobody, tmp_path / "missing.jpg", tmp_path / "notes.jpg", CLRFaceError("Expected another.")]
    known = restorer.reference_faces([*bad, anna], threshold=0.2, scale=1.0)
    assert [face.source for face in known.faces] == ["reference 5"] and (known.threshold, known.scale) == (0.2, 1.0)
    assert len(known.problems) == 4 and all(problem.endswith(".") for problem in known.problems)
    assert "found none: use a photo that shows one" in known.problems[0]
    assert "missing.jpg" in known.problems[1] and "notes.jpg" in known.problems[2]
    with pytest.raises(CLRFaceError, match="reference 1: Expected a face in this reference photo"):
        restorer.reference_faces([nobody])
    with pytest.raises(CLRFaceError, match="got none"):
        restorer.restore(anna, references=[])
    restorer.restore(anna, references=[tmp_path / "missing.jpg", anna])
    assert "missing.jpg" in caplog.text
