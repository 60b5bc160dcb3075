"""Whose photos are references of whom, and what a report says of them."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from clrface_core.degrade import STANDARD
from clrface_core.errors import CLRFaceError
from clrface_core.evaluation.cases import Batch, make_case
from clrface_core.evaluation.compared.outputs import ModelOutputs, Variant
from clrface_core.evaluation.compared.plan import referred
from clrface_core.evaluation.matching import reference_tables, seconds_with_references
from clrface_core.evaluation.measure import TRUTH
from clrface_core.evaluation.metrics.metric import Column
from clrface_core.evaluation.people import OWN, STRANGER, Album, turn
from clrface_core.evaluation.report.references import reference_lines
from clrface_core.evaluation.report.tables import Report
from clrface_core.models.bundle import Bundle
from clrface_core.photo import write_photo
from clrface_core.references import Match, References
from clrface_core.restorer import FaceRestorer
from clrface_core.shards import StoredFace, find_faces
from tests.tiny import SIDE, Colours


def named(*keys: str) -> list[StoredFace]:
    return [StoredFace(key, Path(f"{key}.png")) for key in keys]


def test_whose_photos_are_whose() -> None:
    album = Album(named("q-a-1", "q-a-2", "q-a-3", "q-b-1", "q-b-2"))
    assert [face.key for face in album.others("q-a-2", own=True)] == ["q-a-1", "q-a-3"]
    assert [face.key for face in album.others("q-a-2", own=True, count=1)] == ["q-a-1"]
    assert [face.key for face in album.others("q-a-2", own=False)] == ["q-b-1", "q-b-2"]
    assert [face.key for face in album.others("q-b-1", own=False)] == ["q-a-3"], "as many as of one's own"
    assert album.truths() == ["q-a-1", "q-b-1"] and album.truths(1) == ["q-a-1"]
    assert [album.having(count) for count in (1, 2, 3)] == [2, 1, 0]
    assert named("q-old-anna-a")[0].person == "q-old-anna"


def test_a_turned_head_has_its_nose_beside_the_middle_of_its_eyes() -> None:
    front = [(10.0, 10.0), (30.0, 12.0), (20.0, 25.0), (0, 0), (0, 0)]
    assert turn(front) == pytest.approx((0 * 20 + 14 * 2) / 404)
    aside = [(10.0, 10.0), (30.0, 10.0), (30.0, 25.0), (0, 0), (0, 0)]
    assert turn(aside) == pytest.approx(0.5) and turn([(-x, y) for x, y in aside]) == pytest.approx(0.5)


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
    outputs, missing = referred(ours, [1, 4], [2.0, 1.0], [1, 4])
    assert list(outputs) == [
        "1 step, own reference", "1 step, own reference, scale 1", "1 step, stranger's reference",
        "4 steps, own reference", "4 steps, own reference, scale 1", "4 steps, stranger's reference",
    ]  # fmt: skip
    assert missing == {"4 references": "Expected 5 photos of a person, found no such person: add some."}
    blind = ours.restore(batch, Variant())
    whoever = ours.restore(batch, Variant(references=STRANGER, any_match=True))
    assert not torch.equal(whoever, blind) and ours.matches == {}
    ours.restore(batch, Variant(references=STRANGER))
    own = ours.restore(batch, Variant(references=OWN))
    assert set(ours.matches) == {(STRANGER, 1, "q-a-1"), (OWN, 1, "q-a-1")}
    used = ours.matches[OWN, 1, "q-a-1"].used
    assert torch.equal(own, blind) == (not used)
    assert album.pictures(batch).shape == (1, 3, 512, 512)
    with pytest.raises(CLRFaceError, match="album"):
        ModelOutputs(ours.faces).restore(batch, Variant(references=OWN))
    with pytest.raises(CLRFaceError, match="got 'a friend'"):
        Variant(references="a friend")


def test_numbers_of_references(album: Album, tiny_bundle: Bundle) -> None:
    ours = ModelOutputs(
        FaceRestorer(tiny_bundle, Colours()), album=Album(named("q-a-1", "q-a-2", "q-a-3", "q-b-1", "q-b-2"))
    )
    outputs, missing = referred(ours, [1], [2.0], [1, 2, 4])
    assert list(outputs) == ["1 step, own reference", "1 step, 2 own references", "1 step, stranger's reference"]
    assert list(missing) == ["4 references"]


def a_report(**cosines: list[float]) -> Report:
    """Of a face of each person, blind and with its own reference."""
    traits = {name: asdict(Variant(references=OWN if name == "own" else "")) for name in cosines}
    keys = ("q-a-1", "q-b-1")
    faces = [
        {"key": key, "set": "q", "outputs": {name: {"dlib cosine": each[at]} for name, each in cosines.items()}}
        for at, key in enumerate(keys)
    ]
    return Report([Column("dlib cosine", higher_is_better=True)], traits, faces=faces)


def test_the_tables(album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Album, "_turn", lambda self, key: {"q-a-1": 0.0, "q-a-2": 0.3}.get(key))
    matches = {
        (OWN, 1, "q-a-1"): Match((0.6,), ("q-a-2",), (0,)), (STRANGER, 1, "q-a-1"): Match((0.1,), ("q-b-2",)),
    }  # fmt: skip
    same, other = torch.eye(2)[:1], torch.eye(2)[1:]
    kept = {("dlib", name, key): same for name in ("blind", TRUTH) for key in ("q-a-1", "q-a-2", "q-b-1", "q-b-2")}
    kept |= {("dlib", "own", key): other for key in ("q-a-1", "q-b-1")}
    tables = reference_tables(album, matches, kept, a_report(blind=[0.5, 0.5], own=[0.7, 0.6]))
    assert [(row["references"], row["used"]) for row in tables["matched"]] == [(OWN, 1), (STRANGER, 0)]
    [change] = tables["changes"]
    assert (change["output"], change["blind"]) == ("own", "blind")
    assert change["changes"]["dlib cosine"] == pytest.approx({"mean": 0.15, "error": 0.05})
    assert change["changes"]["dlib to the stranger"]["mean"] == -1
    sides = {row["reference"]: row["mean"] for row in tables["for whom"]}
    assert sides == pytest.approx({"from another side": 0.2, "side not known": 0.1})
    assert tables["stranger"] == [{"network": "dlib", "cosines": {"blind": 1.0, "own": 0.0, TRUTH: 1.0}}]
    text = "\n".join(
        reference_lines(tables | {"seconds": [{"steps": 1, "blind": 1, "with": 2, "photo": 1, "ratio": 2}]})
    )
    assert (
        "| own | 1 | 1 | 1 | 0.600 | 0.600 | 0.600 |" in text
        and "| own | +0.1500 ± 0.0500 | -1.0000 ± 0.0000 |" in text
    )
    assert "| from another side | 1 | +0.200 ± 0.000 |" in text and "| 1 | 1.00 | 2.00 | 2.00 | 1.00 |" in text


def test_what_a_reference_costs_is_measured_in_turns(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = FaceRestorer(tiny_bundle, Colours())
    calls: list[str] = []
    clock = iter(range(100))
    monkeypatch.setattr("time.process_time", lambda: float(next(clock)))
    monkeypatch.setattr(faces, "reference", lambda *given: calls.append("photo"))
    monkeypatch.setattr(
        faces, "restore_matched", lambda crops, known, sampling: calls.append("with" if known else "blind")
    )
    [row] = seconds_with_references(faces, torch.zeros(3, SIDE, SIDE), References(()), [4], 2)
    assert (
        row == {"steps": 4, "blind": 1, "with": 1, "photo": 1, "ratio": 1} and calls == ["blind", "with", "photo"] * 3
    )
