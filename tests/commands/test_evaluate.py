"""`clrface evaluate`: a folder of faces becomes a report."""

import json
from pathlib import Path
from typing import Any

from clrface_core.cli import main
from clrface_core.commands import evaluate as evaluate_command
from clrface_core.evaluation.compared.plan import ABLATIONS
from clrface_core.evaluation.metrics.catalogue import METRICS
from tests.tiny import files_in, picture


def test_evaluation_writes_a_report(model: Path, tmp_path: Path, capsys: Any) -> None:
    faces, out = tmp_path / "faces", tmp_path / "report"
    for name in ("b-1.png", "b-2.png", "c-1.png"):
        picture(faces / name, size=(64, 64))
    (faces / "c-0.png").write_text("damaged")
    command = ["evaluate", "--data", str(faces), "-o", str(out), "--model", str(model), "--limit", "1", "--steps", "1"]
    assert main([*command, "--device", "cpu", "--dtype", "float32", "--json"]) == 1
    assert {"contact.png", "report.json", "report.md"} <= {*files_in(out)}
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert {row["output"] for row in report["rows"]} == {"input", "IRN alone", "1 step"}
    assert report["settings"]["model"] == "tiny" and "c-0" in printed.err
    text = (out / "report.md").read_text()
    assert "## Set b, 1 faces" in text and "| 1 step |" in text and "Missing metric lpips-vgg" in text
    assert set(evaluate_command.METRICS) == set(METRICS) and set(evaluate_command.ABLATIONS) == set(ABLATIONS)


def test_evaluation_with_references(model: Path, tmp_path: Path, capsys: Any) -> None:
    faces, out = tmp_path / "faces", tmp_path / "report"
    for name in ("q-anna-1.png", "q-anna-2.png", "q-bert-1.png", "q-bert-2.png"):
        picture(faces / name, size=(64, 64))
    command = ["evaluate", "--references", "--data", str(faces), "-o", str(out), "--model", str(model), "--steps", "1"]
    command += ["--device", "cpu", "--metrics", "sface", "--quiet"]
    assert main([*command, "--reference-counts", "1", "4", "--reference-times", "1"]) == 0
    text, report = (out / "report.md").read_text(), json.loads((out / "report.json").read_text())
    assert "| 1 step, own reference |" in text and "| 1 step, stranger's reference |" in text
    assert [row["faces"] for row in report["references"]["matched"]] == [2, 2]
    assert "| own | 1 | 2 | " in text and report["references"]["stranger"][0]["network"] == "sface"
    assert "Missing 4 references: Expected 5 photos of a person" in text and report["references"]["seconds"]
    (faces / "q-bert-2.png").unlink()
    assert main(command) == 1
    assert "got one of q-bert: give pairs" in capsys.readouterr().err
