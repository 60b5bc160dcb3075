"""What is compared: variants of one model, baselines, ablations, and plots of the numbers."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from clrface_core.diffusion.refine import Sampling
from clrface_core.errors import CLRFaceError
from clrface_core.evaluation.cases import SIDE, Batch, choose_faces, make_case
from clrface_core.evaluation.compared.outputs import Autoencoder, ModelOutputs, Output, Variant, drawn_mask
from clrface_core.evaluation.compared.peers import bicubic, load_peer
from clrface_core.evaluation.compared.plan import ABLATIONS, ablations, against, baselines, refined, title
from clrface_core.evaluation.measure import evaluate
from clrface_core.evaluation.metrics.metric import Metric
from clrface_core.evaluation.report.plots import save_plots
from clrface_core.evaluation.weights import REALESRGAN
from clrface_core.models.bundle import build
from clrface_core.models.identity import load_identity
from clrface_core.restorer import FaceRestorer


def model(seed: int) -> ModelOutputs:
    """A tiny model whose networks do something: fresh ones return their input, z_I and a constant."""
    torch.manual_seed(seed)
    bundle = replace(build("tiny"), size=SIDE)
    with torch.no_grad():
        for name in ("irn", "refiner", "mask"):
            for parameter in bundle.networks()[name].parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return ModelOutputs(FaceRestorer(bundle, load_identity()))


@pytest.fixture(scope="module")
def ours() -> ModelOutputs:
    return model(0)


@pytest.fixture
def batch(faces: Path) -> Batch:
    from clrface_core.degrade import STANDARD

    return Batch([make_case(choose_faces(faces)[0], STANDARD, 0)])


def test_a_variant_is_the_librarys_own_restoration(ours: ModelOutputs, batch: Batch) -> None:
    """The default is exactly what FaceRestorer does, so that what is measured is what users get."""
    expected = ours.faces.restore_crops(batch.degraded, Sampling(steps=2), face_ids=batch.numbers)
    assert torch.equal(ours.restore(batch, Variant(steps=2)), expected)
    assert torch.equal(ours.estimate(batch), ours.faces.estimate(batch.degraded).clamp(0, 1))


def test_every_change_changes_the_outcome(ours: ModelOutputs, batch: Batch) -> None:
    plain = ours.restore(batch, Variant(steps=2))
    changes: list[dict[str, Any]] = [{"steps": 4}, {"start": "degraded"}, {"start": "noise"}, {"quantise": False}]
    for change in [*changes, {"guidance_scale": 2.0}]:
        assert not torch.equal(ours.restore(batch, Variant(**({"steps": 2} | change))), plain), change
    guided = [ours.restore(batch, Variant(steps=2, guidance_scale=2.0, mask=m)) for m in ("learned", "ones", "drawn")]
    assert not torch.equal(guided[0], guided[1]) and not torch.equal(guided[1], guided[2])
    assert torch.equal(ours.restore(batch, Variant(steps=2, mask="ones")), plain), "without guidance no mask matters"


def test_what_variants_share_is_computed_once(
    ours: ModelOutputs, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    estimate = ours.faces.estimate

    def counted(crops: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return estimate(crops)

    monkeypatch.setattr(ours.faces, "estimate", counted)
    for steps in (1, 2):
        ours.restore(batch, Variant(steps=steps))
    ours.estimate(batch)
    assert len(calls) == 1


def test_the_drawn_mask_is_on_the_features() -> None:
    mask = drawn_mask(128)[0, 0]
    assert mask.max() > 0.99 and mask[:8].max() < 0.01
    row, column = divmod(int(mask.flatten().argmax()), 128)
    assert 40 < row < 100 and 30 < column < 98


def test_bad_variants_are_refused() -> None:
    with pytest.raises(CLRFaceError, match="got 'here'"):
        Variant(start="here")
    with pytest.raises(CLRFaceError, match="'all'"):
        Variant(mask="all")


def test_every_ablation_answers_its_question(ours: ModelOutputs) -> None:
    others = {"f8": model(1)}
    base = Variant(steps=1)
    found = {name: list(ablations([name], ours, others, base)) for name in ABLATIONS}
    assert found["irn"] == ["IRN alone", "1 step", "1 step, no IRN", "10 steps, from noise"]
    assert found["steps"] == ["1 step", "2 steps", "4 steps", "10 steps"]
    assert found["guidance"] == ["1 step", *(f"1 step, guidance {x}" for x in ("0.5", "1", "2"))]
    assert found["mask"] == ["1 step", *(f"1 step, guidance 1{mask}" for mask in ("", ", mask 1", ", mask drawn"))]
    assert found["quantise"] == ["1 step", "1 step, not quantised"]
    assert found["f"] == ["truth through the VQ", "f8: truth through the VQ"]
    assert list(against(others, base)) == ["f8: 1 step"]
    vq = model(1).faces.bundle.vq
    assert against({"f8": Autoencoder(vq)}, base) == {}, "it restores nothing"
    for name in ("f", "codebook", "condition"):
        with pytest.raises(CLRFaceError, match="--against"):
            ablations([name], ours, {}, base)
    with pytest.raises(CLRFaceError, match="got 'luck'"):
        ablations(["luck"], ours, {}, base)


def test_an_autoencoder_alone_shows_the_truth_as_its_model_does(batch: Batch) -> None:
    whole = model(1)
    vq = whole.faces.bundle.vq
    with torch.no_grad():
        assert torch.allclose(Autoencoder(vq).reconstruct(batch), whole.reconstruct(batch), atol=1e-5)


def test_titles_say_what_departs_from_the_method() -> None:
    assert title(Variant(steps=10, guidance_scale=0.5, start="noise", mask="ones", quantise=False)) == (
        "10 steps, guidance 0.5, from noise, mask 1, not quantised"
    )


def test_baselines_by_name_and_what_is_missing(ours: ModelOutputs, tmp_path: Path) -> None:
    found, missing, files = baselines(["bicubic", "irn", "realesrgan", f"X={tmp_path / 'x.pth'}"], ours, tmp_path)
    assert list(found) == ["bicubic", "IRN alone"]
    assert files == {}, "a file that could not be read cannot be hashed either"
    assert REALESRGAN in missing["realesrgan"] and "x.pth" in missing[f"X={tmp_path / 'x.pth'}"]
    with pytest.raises(CLRFaceError, match="got 'magic'"):
        baselines(["magic"], ours)
    assert list(refined(ours, [1, 4], [0.0, 1.0])) == ["1 step", "1 step, guidance 1", "4 steps", "4 steps, guidance 1"]


def test_bicubic_sees_the_reduced_face(batch: Batch) -> None:
    out = bicubic(batch)
    assert out.shape == (1, 3, SIDE, SIDE)
    side = int(SIDE / batch.cases[0].degradation.reduction)
    again = torch.nn.functional.interpolate(batch.degraded, (side, side), mode="bilinear", align_corners=False)
    expected = torch.nn.functional.interpolate(again, (SIDE, SIDE), mode="bicubic", align_corners=False).clamp(0, 1)
    assert torch.equal(out, expected)


def test_real_esrgan_enlarges_without_inventing_colour(batch: Batch, metric_weights: Any) -> None:
    pytest.importorskip("spandrel")
    out = load_peer(metric_weights(REALESRGAN))(batch)
    assert out.shape == (1, 3, SIDE, SIDE)
    assert (out.mean((2, 3)) - batch.degraded.mean((2, 3))).abs().max() < 0.05
    assert not torch.equal(out, batch.degraded)


def test_plots_are_written_and_the_same_every_time(
    ours: ModelOutputs, faces: Path, fast: list[Metric], blur: Output, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    outputs = {"blur": blur, "IRN alone": Output(ours.estimate), **refined(ours, [1, 2], [0.0])}
    report = evaluate(outputs, faces, fast, progress=False)
    assert save_plots(report, tmp_path) == {"Quality against steps": "quality-steps.png"}, "no LPIPS, and few faces"
    first = hashlib.sha256((tmp_path / "quality-steps.png").read_bytes()).hexdigest()
    save_plots(report, tmp_path)
    assert hashlib.sha256((tmp_path / "quality-steps.png").read_bytes()).hexdigest() == first
