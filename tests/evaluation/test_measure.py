"""From pictures to a report: samples, cases, what is compared, and what is left out."""

import json
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from clrface_core.degrade import STANDARD
from clrface_core.errors import CLRFaceError
from clrface_core.evaluation.cases import Batch, choose_faces, make_case
from clrface_core.evaluation.compared.outputs import Output
from clrface_core.evaluation.measure import Costs, Sheet, evaluate
from clrface_core.evaluation.metrics.catalogue import METRICS, find_metrics
from clrface_core.evaluation.metrics.metric import Column, Metric, Score, SetScore
from clrface_core.evaluation.report.tables import Report

NOTHING = Output(lambda batch: batch.degraded)


def test_a_restorer_that_does_nothing_scores_as_the_input(faces: Path, fast: list[Metric]) -> None:
    report = evaluate({"nothing": NOTHING}, faces, fast, progress=False)
    assert [(row["set"], row["output"], row["faces"]) for row in report.rows] == [
        ("b", "input", 3), ("b", "nothing", 3), ("c", "input", 2), ("c", "nothing", 2),
    ]  # fmt: skip
    for before, after in zip(report.rows[::2], report.rows[1::2], strict=True):
        assert (before["PSNR"], before["SSIM"]) == (after["PSNR"], after["SSIM"])
    assert "(+0.00)" in report.markdown() and "(+0.000)" in report.markdown()


def test_the_truth_scores_best_and_means_are_means(faces: Path, fast: list[Metric]) -> None:
    oracle = Output(lambda batch: functional.interpolate(torch.stack([c.truth for c in batch.cases]), (512, 512)))
    report = evaluate({"oracle": oracle}, faces, fast, progress=False, batch=1)
    perfect = [row for row in report.rows if row["output"] == "oracle"]
    assert all(row["PSNR"] > 99 and row["SSIM"] == pytest.approx(1) for row in perfect)
    members = [face["outputs"]["input"]["PSNR"] for face in report.faces if face["set"] == "b"]
    assert report.rows[0]["PSNR"] == pytest.approx(sum(members) / 3)


def test_twice_gives_the_same_numbers_whatever_the_batch(faces: Path, fast: list[Metric], blur: Output) -> None:
    first = evaluate({"blur": blur}, faces, fast, progress=False)
    again = evaluate({"blur": blur}, faces, fast, progress=False, batch=1)
    assert first.json() == again.json()
    other = evaluate({"blur": blur}, faces, fast, progress=False, seed=1)
    assert first.rows[0]["PSNR"] != other.rows[0]["PSNR"]


def test_a_shard_and_a_folder_give_the_same_numbers(faces: Path, fast: list[Metric], tmp_path: Path) -> None:
    shard = tmp_path / "shard.tar"
    with tarfile.open(shard, "w") as tar:
        for path in sorted(faces.glob("*.png"), reverse=True):
            tar.add(path, arcname=f"folder/{path.name}")
    from_folder = evaluate({}, faces, fast, progress=False)
    assert evaluate({}, shard, fast, progress=False).json() == from_folder.json()
    assert evaluate({}, [shard], fast, progress=False, limit=1).rows[0]["faces"] == 1


def test_bad_pictures_are_named_and_the_rest_is_done(faces: Path, fast: list[Metric]) -> None:
    (faces / "b-0.png").write_bytes(b"\x89PNG broken")
    Image.new("RGB", (20, 30)).save(faces / "c-9.png")
    report = evaluate({}, faces, fast, progress=False)
    assert [row["faces"] for row in report.rows] == [3, 2]
    assert len(report.skipped) == 2
    assert "b-0" in report.skipped[0] and "20x30" in report.skipped[1]
    assert "Left out" in report.markdown() and "b-0" in report.markdown()


def test_missing_metrics_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("clrface_core.evaluation.metrics.identity.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "skimage", None)
    metrics, missing = find_metrics(tmp_path)
    assert [metric.name for metric in metrics] == ["sface"]
    assert {*missing} == {*METRICS} - {"sface"}
    assert "lpips_vgg16.safetensors" in missing["lpips-vgg"] and "pip install scikit-image" in missing["psnr"]
    assert "no folder" in find_metrics(None)[1]["lpips-alex"]
    report = Report([], {}, missing=missing)
    assert "Missing dlib" in report.markdown()
    with pytest.raises(CLRFaceError, match="got 'mos'"):
        find_metrics(names=["psnr", "mos"])


def test_a_face_without_a_number_is_counted_and_left_out_of_the_mean(faces: Path) -> None:
    def only_large(described: Tensor, truth: Tensor) -> float:
        if truth.shape[-1] < 100:
            raise CLRFaceError("Expected a large face.")
        return 1.0

    metric = Metric("odd", lambda x: x, (Score(Column("Odd", True), only_large),))
    report = evaluate({}, faces, [metric], progress=False)
    assert [row["Odd"] for row in report.rows] == [1.0, None]
    assert report.gaps == ["Odd of 2 pictures. Expected a large face."]
    assert "No number: Odd" in report.markdown() and json.loads(report.json())["rows"][1]["Odd"] is None


def test_numbers_of_sets_need_enough_faces(faces: Path) -> None:
    def distance(outputs: Tensor, truths: Tensor) -> float:
        return float(len(outputs) + (outputs - truths).abs().max())

    three, many = (
        SetScore(Column(name, False, ratio=True), distance, least=least) for name, least in (("D3", 3), ("D99", 99))
    )
    metric = Metric("set", lambda x: x.mean((2, 3)), set_scores=(three, many))
    report = evaluate({}, faces, [metric], progress=False)
    assert [row["D3"] is None for row in report.rows] == [False, True]
    assert report.rows[0]["D3"] == pytest.approx(3, abs=0.5)
    assert [column.name for column in report.columns] == ["D3"], "no set has 99 faces"


def test_the_metrics_on_a_real_face(metric_weights: Callable[[str], Path], shared_dir: Path, blur: Output) -> None:
    folder = metric_weights("lpips_alexnet.safetensors").parent
    metrics, _ = find_metrics(folder, names=["psnr", "lpips-alex", "sface"])
    costs = Costs()
    shard = shared_dir / "faces" / "val-256-000.tar"
    before, after = evaluate({"blur": blur}, shard, metrics, limit=1, progress=False, costs=costs).rows
    assert before["set"] == "a1"
    assert 10 < before["PSNR"] < 40
    assert 0 < before["LPIPS-Alex"] < 1.2 and after["LPIPS-Alex"] > 0
    assert -0.5 < before["SFace cosine"] < 1 and 0 < before["SFace Deg"] < 120
    assert {line.partition(":")[0] for line in costs.lines()} == {"blur", "psnr", "lpips-alex", "sface"}


def test_ratio_columns_show_a_ratio_and_the_best_is_bold() -> None:
    numbers = {"input": {"D": 0.5}, "ours": {"D": 0.35}, "theirs": {"D": 0.4}}
    face = {"key": "b-1", "set": "b", "outputs": numbers}
    report = Report([Column("D", False, ratio=True)], {name: {} for name in numbers}, {"seed": 0}, faces=[face])
    assert "| ours | **0.350** (0.70×) |" in report.markdown()
    assert "| theirs | 0.400 (0.80×) |" in report.markdown()
    assert json.loads(report.json())["rows"][1] == {"set": "b", "output": "ours", "faces": 1, "D": 0.35}


def test_contact_sheet(faces: Path, fast: list[Metric], blur: Output, tmp_path: Path) -> None:
    sheet = Sheet(tmp_path / "sheet.png", faces=2)
    evaluate({"blur": blur}, faces, fast, progress=False, sheet=sheet)
    with Image.open(sheet.path) as picture:
        assert picture.size == (3 * 256, 24 + 4 * 256), "input, blur, truth; two faces of each set"
        truth = make_case(choose_faces(faces)[0], STANDARD, 0).truth
        shown = np.array(picture)[24 : 24 + 256, 512:].astype(int)
    expected = functional.interpolate(truth[None], scale_factor=2)[0].mul(255).round().permute(1, 2, 0).numpy()
    assert np.abs(shown - expected).max() <= 1
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_bad_arguments_are_refused(faces: Path, fast: list[Metric], tmp_path: Path) -> None:
    def wrong(make: Callable[[Batch], Tensor]) -> Output:
        return Output(make)

    for match, arguments in (
        ("among standard, mild", {"degradation": "heavy"}),
        ("batch of at least 1", {"batch": 0}),
    ):
        with pytest.raises(CLRFaceError, match=match):
            evaluate({}, faces, fast, progress=False, **arguments)
    with pytest.raises(CLRFaceError, match="no output called"):
        evaluate({"input": NOTHING}, faces, fast, progress=False)
    with pytest.raises(CLRFaceError, match="restorer half to return"):
        evaluate({"half": wrong(lambda batch: batch.degraded[..., ::2, ::2])}, faces, fast, progress=False)
    with pytest.raises(CLRFaceError, match="NaN or infinity"):
        evaluate({"bad": wrong(lambda batch: batch.degraded / 0)}, faces, fast, progress=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CLRFaceError, match="found none"):
        evaluate({}, tmp_path / "empty", fast, progress=False)
    for path in (tmp_path / "absent.tar", faces / "notes.txt"):
        with pytest.raises(CLRFaceError, match=path.name):
            evaluate({}, path, fast, progress=False)


def test_nothing_readable_is_an_error(tmp_path: Path, fast: list[Metric]) -> None:
    (tmp_path / "b-0.png").write_bytes(b"broken")
    with pytest.raises(CLRFaceError, match="at least one readable"):
        evaluate({}, tmp_path, fast, progress=False)
