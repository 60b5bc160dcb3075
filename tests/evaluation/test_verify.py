"""Face verification: rates by their definitions, pairs from a file, and what is missing."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from clrface_core.errors import CLRFaceError
from clrface_core.evaluation.cases import choose_faces
from clrface_core.evaluation.compared.outputs import Output
from clrface_core.evaluation.measure import evaluate
from clrface_core.evaluation.metrics.metric import Column, Metric, Score
from clrface_core.evaluation.report.tables import verification_lines
from clrface_core.evaluation.verify import equal_error_rate, read_pairs, true_accept_rate, verify_pairs, verify_self


def colours(picture: Tensor) -> Tensor:
    """A recognition network of a kind: people by their colours in a grid of 4 x 4."""
    grid = torch.nn.functional.adaptive_avg_pool2d(picture, 4).flatten(1) - 0.5
    return torch.nn.functional.normalize(grid, dim=1)


COLOURS = Metric("colours", colours, (Score(Column("C", True), lambda a, b: float((a * b).sum())),), recognises=True)
NOTHING = {"nothing": Output(lambda batch: batch.degraded)}


def test_true_accept_rate_by_hand() -> None:
    genuine, impostor = torch.tensor([0.9, 0.6, 0.4, 0.1]), torch.linspace(-0.5, 0.5, 11)
    assert true_accept_rate(genuine, impostor, 0.05) == 0.5, "none of 11 may pass: above 0.5"
    assert true_accept_rate(genuine, impostor, 0.2) == 0.75, "two may pass: above 0.3"
    assert true_accept_rate(genuine, impostor, 1.0) == 1.0


def test_equal_error_rate_by_hand() -> None:
    assert equal_error_rate(torch.tensor([0.8, 0.9]), torch.tensor([0.1, 0.2])) == 0
    assert equal_error_rate(torch.tensor([0.1, 0.9]), torch.tensor([0.2, 0.8])) == 0.5


def test_pairs_of_a_file(faces: Path) -> None:
    file = faces / "pairs.csv"
    file.write_text("gallery,probe,same\n# a comment\n\nb-1.png,b-2.png,1\nb-1.png,gone.png,0\nc-1.png , c-2.png,0\n")
    pairs, skipped = read_pairs(file)
    assert [(pair.gallery.key, pair.probe.key, pair.same) for pair in pairs] == [
        ("b-1.png", "b-2.png", True), ("c-1.png", "c-2.png", False)
    ]  # fmt: skip
    assert len(skipped) == 1 and "gone.png" in skipped[0] and "line 5" in skipped[0]
    file.write_text("b-1.png,b-2.png,yes\n")
    with pytest.raises(CLRFaceError, match="line 1"):
        read_pairs(file)
    with pytest.raises(CLRFaceError, match=r"absent\.csv"):
        read_pairs(faces / "absent.csv")


def test_verification_by_pairs(faces: Path) -> None:
    """Each face with itself as the genuine pair: the clean probe is certain, the degraded one is measured."""
    names = ["b-1.png", "b-2.png", "b-3.png", "c-1.png"]
    file = faces / "pairs.csv"
    file.write_text("".join(f"{a},{b},{int(a == b)}\n" for a in names for b in names) + "b-1.png,gone.png,1\n")
    (block,), skipped = verify_pairs(file, NOTHING, [COLOURS], progress=False)
    assert (block["genuine"], block["impostor"], block["rates"]) == (4, 12, [0.1])
    rows = {row["output"]: row for row in block["probes"]}
    assert list(rows) == ["ground truth", "input", "nothing"]
    assert rows["ground truth"]["true_accept"] == [1.0] and rows["ground truth"]["equal_error"] == 0
    assert rows["nothing"]["true_accept"] == rows["input"]["true_accept"]
    assert len(skipped) == 1 and "gone.png" in skipped[0]
    text = "\n".join(verification_lines(block))
    assert "4 genuine and 12 impostor" in text and "| ground truth | 100.0 % | 0.0 % |" in text


def test_verification_by_mirrored_selves(faces: Path) -> None:
    kept: dict[tuple[str, str, str], Tensor] = {}
    report = evaluate(NOTHING, faces, [COLOURS], progress=False, kept=kept)
    blocks, skipped = verify_self(choose_faces(faces), kept, [COLOURS])
    assert [(block["set"], block["genuine"], block["impostor"]) for block in blocks] == [("b", 3, 6), ("c", 2, 2)]
    assert skipped == []
    report.verification = blocks
    assert "## Verification by colours, set b" in report.markdown()


def test_a_set_without_strangers_cannot_be_verified(faces: Path) -> None:
    kept: dict[tuple[str, str, str], Tensor] = {}
    evaluate(NOTHING, faces, [COLOURS], progress=False, kept=kept, limit=1)
    blocks, skipped = verify_self(choose_faces(faces, 1), kept, [COLOURS])
    assert blocks == [] and len(skipped) == 2 and "impostor" in skipped[0]
