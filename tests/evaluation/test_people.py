"""Whose photos are references of whom, and what a report says of them."""

from pathlib import Path
from typing import Any

import pytest
import torch

from clrface_core.degrade import STANDARD
from clrface_core.errors import CLRFaceError
from clrface_core.evaluation.cases import Batch, make_case
from clrface_core.evaluation.compared.outputs import ModelOutputs, Variant
from clrface_core.evaluation.compared.plan import referred
from clrface_core.evaluation.matching import reference_tables
from clrface_core.evaluation.measure import TRUTH
from clrface_core.evaluation.people import OWN, STRANGER, Album, person_of
from clrface_core.evaluation.report.references import reference_lines
from clrface_core.models.bundle import Bundle
from clrface_core.photo import write_photo
from clrface_core.references import Match
from clrface_core.restorer import FaceRestorer
from clrface_core.shards import StoredFace, find_faces
from tests.tiny import Colours


def named(*keys: str) -> list[StoredFace]:
    return [StoredFace(key, Path(f"{key}.png")) for key in keys]


def test_whose_photos_are_whose() -> None:
    album = Album(named("q-a-1", "q-a-2", "q-a-3", "q-b-1", "q-b-2"))
    assert [face.key for face in album.others("q-a-2", own=True)] == ["q-a-1", "q-a-3"]
    assert [face.key for face in album.others("q-a-2", own=False)] == ["q-b-1", "q-b-2"]
    assert [face.key for face in album.others("q-b-1", own=False)] == ["q-a-3"], "as many as of one's own"
    assert person_of(named("q-old-anna-a")[0]) == "q-old-anna"


@pytest.mark.parametrize("keys", [["q-a-1", "q-a-2", "q-b-1"], ["q-a-1", "q-a-2"], []])
def test_pairs_of_two_people_are_needed(keys: list[str]) -> None:
    with pytest.raises(CLRFaceError, match="Expected two photos or more"):
        Album(named(*keys))


@pytest.fixture
def album(tmp_path: Path, smooth_picture: Any) -> Album:
    for index, name in enumerate(("q-a-1", "q-a-2", "q-b-1", "q-b-2")):
        write_photo(tmp_path / f"{name}.png", smooth_picture(64, 64, index // 2))
    return Album(find_faces(tmp_path))


def test_variants_with_references(tiny_bundle: Bundle, album: Album) -> None:
    ours = ModelOutputs(FaceRestorer(tiny_bundle, Colours()), album=album)
    batch = Batch([make_case(album.others("q-a-2", own=True)[0], STANDARD, 0)])
    assert list(referred(ours, [1, 4], [2.0, 1.0])) == [
        "1 step, own reference", "1 step, own reference, scale 1", "1 step, stranger's reference",
        "4 steps, own reference", "4 steps, own reference, scale 1", "4 steps, stranger's reference",
    ]  # fmt: skip
    blind = ours.restore(batch, Variant())
    whoever = ours.restore(batch, Variant(references=STRANGER, any_match=True))
    assert not torch.equal(whoever, blind) and ours.matches == {}
    ours.restore(batch, Variant(references=STRANGER))
    own = ours.restore(batch, Variant(references=OWN))
    assert set(ours.matches) == {(STRANGER, "q-a-1"), (OWN, "q-a-1")}
    used = ours.matches[OWN, "q-a-1"].used
    assert torch.equal(own, blind) == (not used)
    assert album.pictures(batch).shape == (1, 3, 512, 512)
    with pytest.raises(CLRFaceError, match="album"):
        ModelOutputs(ours.faces).restore(batch, Variant(references=OWN))
    with pytest.raises(CLRFaceError, match="got 'a friend'"):
        Variant(references="a friend")


def test_the_tables(album: Album) -> None:
    matches = {(OWN, "q-a-1"): Match((0.6,), ("q-a-2",), (0,)), (STRANGER, "q-a-1"): Match((0.1,), ("q-b-2",))}
    same, other = torch.eye(2)[:1], torch.eye(2)[1:]
    kept = {("dlib", "out", "q-a-1"): same, ("dlib", TRUTH, "q-a-1"): other, ("dlib", TRUTH, "q-b-2"): same}
    tables = reference_tables(album, matches, kept, ["out"])
    assert [(row["references"], row["used"]) for row in tables["matched"]] == [(OWN, 1), (STRANGER, 0)]
    assert tables["stranger"] == [{"network": "dlib", "cosines": {"out": 1.0, TRUTH: 0.0}}]
    text = "\n".join(reference_lines(tables))
    assert "| own | 1 | 1 | 0.600 | 0.600 | 0.600 |" in text and "| out | 1.000 |" in text
