import io
import json
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from clrface_core.degrade import STANDARD, DegradeConfig, draw
from clrface_core.errors import CLRFaceError
from clrface_core.evaluation import evaluate
from clrface_core.evaluation.metrics import psnr, ssim
from clrface_core.evaluation.quality import Metric, find_metrics, make_case
from clrface_core.evaluation.report import Column, Report
from clrface_core.evaluation.samples import Sample, find_samples

FAST = [Metric(Column("PSNR", True, digits=2), psnr), Metric(Column("SSIM", True), ssim)]


@pytest.fixture
def faces(tmp_path, smooth_picture):
    """A folder with three pictures of set b, two of set c, and something that is no picture.

    They are small, for quick tests; a real truth has 512 px.
    """
    folder = tmp_path / "faces"
    folder.mkdir()
    for index, (name, side) in enumerate([("b-2", 128), ("b-1", 128), ("b-3", 128), ("c-1", 64), ("c-2", 64)]):
        pixels = (smooth_picture(side, side, index) * 255).byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{name}.png")
    (folder / "notes.txt").write_text("not a picture")
    return folder


def blur(x):
    return functional.avg_pool2d(x, 9, stride=1, padding=4, count_include_pad=False)


def test_a_restorer_that_does_nothing_scores_as_the_input(faces):
    report = evaluate({"nothing": lambda x: x}, faces, metrics=FAST, progress=False)
    assert [(row["set"], row["output"], row["faces"]) for row in report.rows] == [
        ("b", "input", 3), ("b", "nothing", 3), ("c", "input", 2), ("c", "nothing", 2),
    ]  # fmt: skip
    for before, after in zip(report.rows[::2], report.rows[1::2], strict=True):
        assert (before["PSNR"], before["SSIM"]) == (after["PSNR"], after["SSIM"])
    assert "(+0.00)" in report.markdown() and "(+0.000)" in report.markdown()


def test_the_truth_scores_best_and_means_are_means(faces):
    truths = [case.truth for case in (make_case(sample, STANDARD, 0) for sample in find_samples(faces))]

    def oracle(degraded):
        enlarged = [functional.interpolate(truths.pop(0)[None], (512, 512))[0] for _ in degraded]
        return torch.stack(enlarged)

    report = evaluate({"oracle": oracle}, faces, metrics=FAST, progress=False, batch=2)
    perfect = [row for row in report.rows if row["output"] == "oracle"]
    assert all(row["PSNR"] > 99 and row["SSIM"] == pytest.approx(1) for row in perfect)
    members = [face["outputs"]["input"]["PSNR"] for face in report.faces if face["set"] == "b"]
    assert report.rows[0]["PSNR"] == pytest.approx(sum(members) / 3)


def test_twice_gives_the_same_numbers_whatever_the_batch(faces):
    first = evaluate({"blur": blur}, faces, metrics=FAST, progress=False)
    again = evaluate({"blur": blur}, faces, metrics=FAST, progress=False, batch=1)
    assert first.json() == again.json()
    other = evaluate({"blur": blur}, faces, metrics=FAST, progress=False, seed=1)
    assert first.rows[0]["PSNR"] != other.rows[0]["PSNR"]


def test_a_shard_and_a_folder_give_the_same_numbers(faces, tmp_path):
    shard = tmp_path / "shard.tar"
    with tarfile.open(shard, "w") as tar:
        for path in sorted(faces.glob("*.png"), reverse=True):
            tar.add(path, arcname=f"folder/{path.name}")
    from_folder = evaluate({}, faces, metrics=FAST, progress=False)
    assert evaluate({}, shard, metrics=FAST, progress=False).json() == from_folder.json()
    assert evaluate({}, [shard], metrics=FAST, progress=False, limit=1).rows[0]["faces"] == 1


def test_webp_out_of_a_shard(tmp_path, smooth_picture):
    pixels = (smooth_picture(64, 64) * 255).byte().permute(1, 2, 0).numpy()
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "WEBP", lossless=True)
    with tarfile.open(tmp_path / "one.tar", "w") as tar:
        entry = tarfile.TarInfo("e-00ff.webp")
        entry.size = stream.tell()
        stream.seek(0)
        tar.addfile(entry, stream)
    (sample,) = find_samples(tmp_path)
    assert (sample.key, sample.set_name) == ("e-00ff", "e")
    assert np.array_equal((sample.load() * 255).byte().permute(1, 2, 0).numpy(), pixels)


def test_seeds_come_from_the_key_alone(tmp_path):
    assert Sample("b-12", tmp_path / "x").seed == Sample("b-12", tmp_path / "y", 7, 3).seed
    assert Sample("b-12", tmp_path).seed != Sample("b-13", tmp_path).seed
    assert Sample("b-12", tmp_path).seed == 8431815334998769327, "a seed must never change between versions"
    assert Sample("nodash", tmp_path).set_name == "faces"


def test_truths_up_to_512_keep_their_size_and_are_degraded_at_512(faces, smooth_picture):
    small = find_samples(faces)[0]
    case = make_case(small, STANDARD, 0)
    assert case.truth.shape == (3, 128, 128) and case.degraded.shape == (3, 512, 512)
    assert case.degradation == draw(STANDARD, (0, small.seed))
    pixels = (smooth_picture(600, 600) * 255).byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(faces / "large-1.png")
    large = next(sample for sample in find_samples(faces) if sample.set_name == "large")
    assert make_case(large, STANDARD, 0).truth.shape == (3, 512, 512)


def test_a_grey_degradation_is_compared_with_a_grey_truth(faces):
    case = make_case(find_samples(faces)[0], DegradeConfig(grey=1.0), 0)
    assert torch.equal(case.truth[0], case.truth[2])


def test_bad_pictures_are_named_and_the_rest_is_done(faces):
    (faces / "b-0.png").write_bytes(b"\x89PNG broken")
    Image.new("RGB", (20, 30)).save(faces / "c-9.png")
    report = evaluate({}, faces, metrics=FAST, progress=False)
    assert [row["faces"] for row in report.rows] == [3, 2]
    assert len(report.skipped) == 2
    assert "b-0" in report.skipped[0] and "20x30" in report.skipped[1]
    assert "Left out" in report.markdown() and "b-0" in report.markdown()


def test_missing_metrics_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr("clrface_core.evaluation.identity.find_spec", lambda name: None)
    metrics, missing = find_metrics(tmp_path)
    assert [m.column.name for m in metrics] == ["PSNR", "SSIM", "SFace cosine"]
    assert set(missing) == {"LPIPS-VGG", "LPIPS-Alex", "dlib cosine"}
    assert "lpips_vgg16.safetensors" in missing["LPIPS-VGG"]
    assert "no folder" in find_metrics(None)[1]["LPIPS-Alex"]
    report = Report([], [], settings={}, missing=missing)
    assert "Missing metric dlib cosine" in report.markdown()


def test_all_metrics_on_a_face(shared_weights, shared_dir):
    weights = shared_weights("lpips_alexnet.safetensors").parent
    metrics, _ = find_metrics(weights)
    metrics = [m for m in metrics if m.column.name != "LPIPS-VGG"]  # as LPIPS-Alex, many times slower
    shard = shared_dir / "faces" / "val-256-000.tar"
    (before, after) = evaluate({"blur": blur}, shard, metrics=metrics, limit=1, progress=False).rows
    assert before["set"] == "a1"
    assert 10 < before["PSNR"] < 40
    assert 0 < before["LPIPS-Alex"] < 1.2 and after["LPIPS-Alex"] > 0
    assert -0.5 < before["SFace cosine"] < 1


def test_ratio_columns_show_a_ratio():
    faces = [{"key": "b-1", "set": "b", "outputs": {"input": {"D": 0.5}, "ours": {"D": 0.35}}}]
    report = Report([Column("D", False, ratio=True)], ["input", "ours"], settings={"seed": 0}, faces=faces)
    assert "| b | ours | 1 | 0.350 (0.70×) |" in report.markdown()
    assert json.loads(report.json())["rows"][1] == {"set": "b", "output": "ours", "faces": 1, "D": 0.35}


def test_contact_sheet(faces, tmp_path):
    sheet = tmp_path / "sheet.png"
    evaluate({"blur": blur}, faces, metrics=FAST, progress=False, sheet=sheet, sheet_faces=2)
    with Image.open(sheet) as picture:
        assert picture.size == (3 * 256, 24 + 4 * 256), "input, blur, truth; two faces of each set"
        truth = make_case(find_samples(faces)[0], STANDARD, 0).truth
        shown = np.array(picture)[24 : 24 + 256, 512:].astype(int)
    expected = functional.interpolate(truth[None], scale_factor=2)[0].mul(255).round().permute(1, 2, 0).numpy()
    assert np.abs(shown - expected).max() <= 1
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_bad_arguments_are_refused(faces, tmp_path):
    for match, arguments in (
        ("among standard, mild", {"degradation": "heavy"}),
        ("batch of at least 1", {"batch": 0}),
    ):
        with pytest.raises(CLRFaceError, match=match):
            evaluate({}, faces, metrics=FAST, progress=False, **arguments)
    with pytest.raises(CLRFaceError, match="no restorer called"):
        evaluate({"input": blur}, faces, metrics=FAST, progress=False)
    with pytest.raises(CLRFaceError, match="restorer half to return"):
        evaluate({"half": lambda x: x[..., ::2, ::2]}, faces, metrics=FAST, progress=False)
    with pytest.raises(CLRFaceError, match="NaN or infinity"):
        evaluate({"bad": lambda x: x / 0}, faces, metrics=FAST, progress=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CLRFaceError, match="found none"):
        evaluate({}, tmp_path / "empty", metrics=FAST, progress=False)
    for path in (tmp_path / "absent.tar", faces / "notes.txt"):
        with pytest.raises(CLRFaceError, match=path.name):
            evaluate({}, path, metrics=FAST, progress=False)


def test_nothing_readable_is_an_error(tmp_path):
    (tmp_path / "b-0.png").write_bytes(b"broken")
    with pytest.raises(CLRFaceError, match="at least one readable"):
        evaluate({}, tmp_path, metrics=FAST, progress=False)
