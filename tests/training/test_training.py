"""The four stages learn, resume bit-exactly, and end in a bundle that loads."""

import copy
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import count, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from clrface_core.degrade import STANDARD, draw
from clrface_core.diffusion.schedule import time_grid
from clrface_core.diffusion.solvers import ddim
from clrface_core.errors import CLRFaceError
from clrface_core.evaluation.metrics.pixels import psnr
from clrface_core.models.bundle import build, load_bundle, save_bundle
from clrface_core.models.irn import IRN
from clrface_core.models.mask import MaskHead
from clrface_core.training.adversary import find_adversary
from clrface_core.training.assemble import export
from clrface_core.training.data import Augmentation, FaceShards, Pairs, augment, occlude, resize, vignette
from clrface_core.training.loop import Trainer, TrainOptions, learning_rate, train
from clrface_core.training.losses import negative_psnr
from clrface_core.training.parallel import Team
from clrface_core.training.settings import override, read_config
from clrface_core.training.stages import RefinerStage
from clrface_core.training.stages.refiner import comparable, latent_error

STILL = Augmentation(
    flip=0, scale=0, rotate=0, shift=0, colour=0, gamma=0, saturation=0, monochrome=0, vignette=0, occlusion=0
)


@pytest.fixture
def options(shard: Path, tmp_path: Path) -> Callable[..., TrainOptions]:
    def make(stage: str, run: str = "run", **changes: object) -> TrainOptions:
        settings: dict = {"config": "tiny", "workers": 0, "progress": False} | changes
        return TrainOptions(stage, [shard], tmp_path / run, **settings)

    return make


def prepare(run: Path, *stages: str) -> None:
    """Random networks where earlier stages would have left theirs."""
    torch.manual_seed(0)
    bundle = build("tiny")
    for stage in stages:
        part = type(bundle)(name="tiny")
        setattr(part, stage, getattr(bundle, stage))
        save_bundle(run / f"{stage}.safetensors", part, torch.float32)


def test_samples_depend_on_seed_and_step_only(shard: Path) -> None:
    def pairs(seed: int) -> Pairs:
        return Pairs(FaceShards([shard]), {"b": 1, "a1": 1}, 2, seed, Augmentation(), side=256)

    again, first = pairs(1), pairs(1)[7]
    _ = again[3]  # having seen other steps changes nothing
    assert all(torch.equal(first[key], again[7][key]) for key in ("clean", "degraded"))
    assert not torch.equal(first["clean"], pairs(2)[7]["clean"])
    assert not torch.equal(first["clean"], again[8]["clean"])
    assert first["clean"].shape == first["degraded"].shape == (2, 3, 256, 256)


def test_a_256_px_original_is_no_512_px_target(shard: Path) -> None:
    pairs = Pairs(FaceShards([shard]), {"a1": 1}, 1, 0, Augmentation(), side=512)
    with pytest.raises(CLRFaceError, match="leave that set out"):
        pairs[0]


def test_an_enlarged_original_is_judged_by_what_half_the_size_shows(shard: Path) -> None:
    pairs = Pairs(FaceShards([shard]), {"a1": 1, "b": 1}, 8, 0, Augmentation(), side=512, enlarge=True)
    batch = pairs[0]
    sharp, clean = batch["sharp"], batch["clean"]
    assert sharp.any() and not sharp.all(), "the batch should mix both kinds"
    fine = torch.tensor([[0.1, -0.1], [-0.1, 0.1]]).repeat(256, 256)  # detail that half the size does not show
    apart = (comparable(clean + fine, sharp) - comparable(clean, sharp)).abs().amax((1, 2, 3))
    assert torch.allclose(apart, torch.where(sharp, 0.1, 0.0), atol=1e-5)
    z_0 = torch.zeros(8, 3, 4, 4)
    wrong = z_0.clone()
    wrong[~sharp] = 1
    assert latent_error(wrong, z_0, sharp) == 0, "its latent holds a blur that is no target"
    assert latent_error(z_0 + 1, z_0, sharp) == sharp.float().mean()


def test_degrading_a_reduced_face_is_reducing_a_degraded_one(smooth_picture: Callable[..., torch.Tensor]) -> None:
    """So that a small training size sees the standard degradation; only detail finer than its pixels differs."""
    face = smooth_picture(512, 512)
    for seed in range(8):
        degradation = replace(draw(STANDARD, seed), noise=0.0, quality=100)
        long_way = resize(degradation.apply(face), 256)
        short_way = degradation.scaled(0.5).apply(resize(face, 256))
        assert (long_way - short_way).abs().mean() < 1 / 255
        assert (long_way - short_way).mean().abs() < 0.1 / 255


def test_no_augmentation_changes_nothing(smooth_picture: Callable[..., torch.Tensor]) -> None:
    face = smooth_picture(64, 64)
    assert torch.allclose(augment(face, np.random.default_rng(0), STILL), face, atol=1e-5)
    moved = augment(face, np.random.default_rng(0), Augmentation())
    assert moved.shape == face.shape and moved.min() >= 0 and moved.max() <= 1
    assert (moved - face).abs().mean() > 0.01


def test_monochrome_faces_are_grey_or_of_one_tint(smooth_picture: Callable[..., torch.Tensor]) -> None:
    face = 0.8 * smooth_picture(64, 64) + 0.1
    greys = 0
    for seed in range(20):
        old = augment(face, np.random.default_rng(seed), replace(STILL, monochrome=1, colour=0.1))
        tint = old / face.mean(0, keepdim=True)
        assert torch.allclose(tint, tint[:, :1, :1].expand_as(tint), atol=1e-4), "one gain per channel, everywhere"
        greys += bool(torch.allclose(old, old[:1].expand_as(old)))
    assert 4 <= greys <= 16, "half of them"


def test_a_vignette_darkens_outwards() -> None:
    white = torch.ones(3, 64, 64)
    for seed in range(20):
        lit = vignette(white, np.random.default_rng(seed))
        assert 0.99 < float(lit.max()) <= 1 and float(lit.min()) > 0
        assert lit.argmin() in (0, 63, 63 * 64, 64 * 64 - 1), "darkest in a corner"
        assert float(lit[:, 16:48, 16:48].mean()) > float(lit.mean())


def test_an_occlusion_hides_a_part_and_leaves_the_rest(smooth_picture: Callable[..., torch.Tensor]) -> None:
    face = smooth_picture(128, 128)
    shares = []
    for seed in range(40):
        hidden = occlude(face, np.random.default_rng(seed))
        assert hidden.shape == face.shape and float(hidden.min()) >= 0 and float(hidden.max()) <= 1
        shares.append(float((hidden != face).any(0).float().mean()))
    assert max(shares) < 0.16 and 0.01 < np.mean(shares) < 0.08, "ellipses of axes 0.1 to 0.4: up to an eighth"


def test_resize_by_area_is_the_mean() -> None:
    face = torch.rand(3, 8, 8)
    assert torch.allclose(resize(face, 4)[:, 0, 0], face[:, :2, :2].mean((1, 2)))


@pytest.mark.parametrize(("stage", "earlier"), [("vq", ()), ("irn", ()), ("refiner", ("vq", "irn"))])
def test_resuming_is_bit_exact(
    options: Callable[..., TrainOptions], tmp_path: Path, stage: str, earlier: tuple
) -> None:
    """Six steps and two plus four steps end in the same weights, averages and optimiser state."""
    for run in ("whole", "parts"):
        prepare(tmp_path / run, *earlier)
    # The cosine ends at `steps`, so both runs keep the same horizon and one of them is cut short.
    horizon = ("steps=6",)
    whole = train(options(stage, "whole", overrides=horizon))
    cut = options(stage, "parts", overrides=horizon, minutes=0.0)
    assert train(cut).step == 1
    assert train(cut).step == 2
    parts = train(options(stage, "parts", overrides=horizon))
    assert whole.step == parts.step == 6
    for one, other in ((whole.network, parts.network), (whole.average, parts.average)):
        for key, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[key]), key
    states = [torch.load(tmp_path / run / stage / "checkpoint.pt", weights_only=True) for run in ("whole", "parts")]
    moments = [state["optimiser"]["state"] for state in states]
    assert moments[0] and all(
        torch.equal(torch.as_tensor(value), torch.as_tensor(moments[1][i][key]))
        for i in moments[0]
        for key, value in moments[0][i].items()
    )


def losses_of(run: Path, stage: str) -> list[dict]:
    rows = [json.loads(line) for line in (run / stage / "log.jsonl").read_text().splitlines()]
    return [row for row in rows if "lr" in row]


def test_vq_learns_and_uses_its_codebook(options: Callable[..., TrainOptions], tmp_path: Path) -> None:
    trainer = train(options("vq", overrides=("weights.gan=0.0",)))
    rows = losses_of(tmp_path / "run", "vq")
    assert np.mean([row["l1"] for row in rows[-5:]]) < 0.7 * rows[0]["l1"]
    assert any(row.get("codebook_use", 0) > 0.3 for row in rows)
    assert (trainer.folder / "samples-000040.png").is_file()
    exported = load_bundle(tmp_path / "run" / "vq.safetensors", require=("vq",)).vq
    assert exported is not None
    z = exported.encode(trainer.held_out["clean"])
    assert z.mean((0, 2, 3)).abs().max() < 1e-3 and abs(float(z.std()) - 1) < 0.05


def test_vq_discriminator_joins_after_the_warm_up(options: Callable[..., TrainOptions], tmp_path: Path) -> None:
    train(options("vq", steps=8))
    rows = losses_of(tmp_path / "run", "vq")
    assert [("gan" in row, "discriminator" in row) for row in rows] == [(False, False)] * 5 + [(True, True)] * 3


def test_a_decoder_alone_can_be_trained_on(options: Callable[..., TrainOptions], tmp_path: Path) -> None:
    start = build("tiny")
    save_bundle(tmp_path / "start.safetensors", start, torch.float32)
    overrides = ('only=["decoder"]', "quantise_from=0", "restart_until=0")
    train(options("vq", init=tmp_path / "start.safetensors", steps=3, overrides=overrides))
    trained = load_bundle(tmp_path / "run" / "vq.safetensors", require=("vq",)).vq
    assert start.vq is not None and trained is not None
    before, after = start.vq.state_dict(), trained.state_dict()
    changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"decoder"}


def test_irn_learns(options: Callable[..., TrainOptions], tmp_path: Path) -> None:
    # A batch is one face: in 25 steps there is nothing to learn from faces that are recoloured every time.
    overrides = ('mix={"b": 1.0}', "lr=0.005", "batch=1", f"augmentation={json.dumps(asdict(STILL))}")
    trainer = train(options("irn", steps=25, overrides=overrides))
    degraded, clean = trainer.held_out["degraded"], trainer.held_out["clean"]
    irn = trainer.average.module
    assert isinstance(irn, IRN)
    with torch.no_grad():
        restored = degraded + irn.change(degraded)
    assert (restored - clean).abs().mean() < 0.99 * (degraded - clean).abs().mean()


def test_the_refiner_meets_the_states_of_its_own_sampling(options: Callable[..., TrainOptions], tmp_path: Path) -> None:
    prepare(tmp_path / "run", "vq", "irn", "refiner")
    trainer = train(options("refiner", steps=1, overrides=("trajectory_steps=[4]",)))
    stage = trainer.stage
    assert isinstance(stage, RefinerStage)
    z_d, z_i = torch.randn(2, 1, 3, 16, 16)
    times = set()
    for seed in range(12):
        z_t, t = stage._visited(trainer.network, z_d, z_i, torch.Generator().manual_seed(seed))
        taken = round(4 * (1 - float(t) / stage.config.t0))
        times.add(taken)
        # The same draws by hand, up to the step at which it stopped.
        generator = torch.Generator().manual_seed(seed)
        torch.randint(1, (), generator=generator)
        assert taken == int(torch.randint(4, (), generator=generator))
        z = stage._noised(z_i, torch.tensor([stage.config.t0]), generator)
        events: list[dict] = []
        with torch.no_grad():
            ddim(
                lambda z, t: trainer.network(z, z_d, z_i, t), z, time_grid(stage.config.t0, 4), stage.schedule,
                callback=events.append,
            )  # fmt: skip
        assert torch.equal(z_t, events[taken]["z"])
    assert times == {0, 1, 2, 3}


def test_the_refiner_learns_on_whole_faces(options: Callable[..., TrainOptions], tmp_path: Path) -> None:
    prepare(tmp_path / "run", "vq", "irn", "refiner")
    trainer = train(options("refiner", steps=0, overrides=("weights.identity=1.0",)))
    stage, latents, decoded, judged = trainer.stage, set(), set(), set()
    assert stage.bundle.vq is not None and stage.judges.identity is not None
    trainer.network.register_forward_pre_hook(lambda _, seen: latents.add(tuple(seen[0].shape)))
    stage.bundle.vq.decoder.register_forward_pre_hook(lambda _, seen: decoded.add(tuple(seen[0].shape)))
    stage.judges.identity.register_forward_pre_hook(lambda _, seen: judged.add(tuple(seen[0].shape)))
    for seed in range(4):
        terms = stage.loss(trainer.network, trainer.held_out, 0, torch.Generator().manual_seed(seed))
        assert terms.keys() == {"latent", "pixel", "identity"}
    assert latents == {(2, 3, 128, 128)}
    assert decoded == {(2, 3, 8, 8), (1, 3, 64, 64)}, "a window of 32 px; for identity the first face, half-size"
    assert judged == {(1, 3, 256, 256)}


def test_the_refiner_encodes_the_truth_only_where_it_is_asked_for(
    options: Callable[..., TrainOptions], tmp_path: Path
) -> None:
    prepare(tmp_path / "run", "vq", "irn", "refiner")
    seen: list[int] = []
    for latent, trajectory, faces in ((1.0, 1.0, 6), (0.0, 0.0, 6), (0.0, 1.0, 4)):
        overrides = (f"weights.latent={latent}", f"trajectory={trajectory}")
        trainer = train(options("refiner", steps=0, overrides=overrides))
        assert trainer.stage.bundle.vq is not None
        trainer.stage.bundle.vq.encoder.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
        seen.clear()
        trainer.stage.loss(trainer.network, trainer.held_out, 0, torch.Generator().manual_seed(0))
        assert sum(seen) == faces, "of two faces: degraded, estimate and, at times, truth"


def test_mask_learns_through_guidance_and_the_run_exports(options: Callable[..., TrainOptions], tmp_path: Path) -> None:
    prepare(tmp_path / "run", "vq", "irn", "refiner")
    trainer = train(options("mask", steps=3))
    assert isinstance(trainer.network, MaskHead)
    assert trainer.network.logits.weight.abs().sum() > 0  # it started at zero
    frozen = load_bundle(tmp_path / "run" / "vq.safetensors", require=("vq",)).vq
    assert frozen is not None and trainer.bundle.vq is not None
    assert all(torch.equal(a, b) for a, b in zip(frozen.parameters(), trainer.bundle.vq.parameters(), strict=True))
    bundle = export(tmp_path / "run", tmp_path / "model.safetensors", "tiny", {"data": "three pictures"})
    loaded = load_bundle(tmp_path / "model.safetensors")
    assert list(loaded.networks()) == list(bundle.networks()) == ["vq", "irn", "refiner", "mask"]
    assert loaded.notes == {"data": "three pictures"}


def test_a_bundle_can_be_trained_further(options: Callable[..., TrainOptions], tmp_path: Path) -> None:
    torch.manual_seed(3)
    bundle = build("tiny")
    save_bundle(tmp_path / "start.safetensors", bundle, torch.float32)
    trainer = train(options("irn", init=tmp_path / "start.safetensors", steps=1, overrides=("lr=0.0",)))
    assert bundle.irn is not None
    for key, value in bundle.irn.state_dict().items():
        assert torch.equal(value, trainer.network.state_dict()[key]), key


def test_a_network_can_be_averaged_with_the_one_before(tmp_path: Path) -> None:
    prepare(tmp_path / "run", "irn")
    torch.manual_seed(3)
    start = tmp_path / "start.safetensors"
    save_bundle(start, build("tiny"), torch.float32)
    destination = tmp_path / "end.safetensors"

    def weights(path: Path) -> dict[str, torch.Tensor]:
        network = load_bundle(path, require=("irn",)).irn
        assert network is not None
        return network.state_dict()

    before, trained = weights(start), weights(tmp_path / "run" / "irn.safetensors")
    export(tmp_path / "run", destination, "tiny", init=start, shares={"irn": 0.75})
    for key, mean in weights(destination).items():
        torch.testing.assert_close(mean.float(), 0.25 * before[key] + 0.75 * trained[key], rtol=2e-3, atol=1e-3)
    with pytest.raises(CLRFaceError, match="share in"):
        export(tmp_path / "run", destination, "tiny", init=start, shares={"irn": 1.5})
    prepare(tmp_path / "whole", "vq", "irn", "refiner")
    with pytest.raises(CLRFaceError, match="to average with"):
        export(tmp_path / "whole", destination, "tiny", shares={"irn": 0.5})


def test_a_stage_can_start_anew_on_a_bundle(options: Callable[..., TrainOptions], tmp_path: Path) -> None:
    start = build("tiny")
    save_bundle(tmp_path / "start.safetensors", start, torch.float32)
    train(options("irn", init=tmp_path / "start.safetensors", fresh=True, steps=1, overrides=("lr=0.0",)))
    bundle = export(tmp_path / "run", tmp_path / "end.safetensors", "tiny", init=tmp_path / "start.safetensors")
    assert start.irn is not None and start.vq is not None and bundle.irn is not None and bundle.vq is not None
    assert torch.equal(
        bundle.vq.state_dict()["encoder.conv_in.weight"], start.vq.state_dict()["encoder.conv_in.weight"]
    )
    assert any(not torch.equal(a, b) for a, b in zip(bundle.irn.parameters(), start.irn.parameters(), strict=True))


def test_configs_extend_each_other(tmp_path: Path) -> None:
    changed: dict[str, Any] = {"extends": "s", "model": "s-f16", "stages": {"refiner": {"decode_crop": 256}}}
    (tmp_path / "mine.json").write_text(json.dumps(changed))
    plain, mine = read_config("s"), read_config(tmp_path / "mine.json")
    assert mine["model"] == "s-f16" and mine["stages"]["refiner"]["decode_crop"] == 256
    assert mine["stages"]["refiner"] == plain["stages"]["refiner"] | {"decode_crop": 256}
    assert {name: mine["stages"][name] for name in ("vq", "irn", "mask")} == {
        name: plain["stages"][name] for name in ("vq", "irn", "mask")
    }

    changed["stages"]["refiner"]["decode_corp"] = 256
    (tmp_path / "mine.json").write_text(json.dumps(changed))
    with pytest.raises(CLRFaceError, match=r"for refiner, got decode_corp in .*mine\.json"):
        read_config(tmp_path / "mine.json")


def test_export_without_a_trained_mask_has_none(tmp_path: Path) -> None:
    prepare(tmp_path, "vq", "irn")
    with pytest.raises(CLRFaceError, match="refiner is missing"):
        export(tmp_path, tmp_path / "model.safetensors", "tiny")
    prepare(tmp_path, "refiner")
    assert export(tmp_path, tmp_path / "model.safetensors", "tiny").mask is None


def test_learning_rate_warms_up_and_falls() -> None:
    settings = {"lr": 1.0, "warmup": 10}
    rates = [learning_rate(step, step / 100, settings) for step in range(101)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == max(rates[:11])
    assert all(a >= b for a, b in pairwise(rates[10:]))
    assert rates[100] == pytest.approx(0.01)


def test_the_clock_can_end_a_stage(
    options: Callable[..., TrainOptions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a number of steps the learning rate comes down with the time, over resumed parts as over one."""
    seconds = count()  # a clock that moves on whenever it is looked at
    monkeypatch.setattr("clrface_core.training.loop.time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    with pytest.raises(CLRFaceError, match="pass --minutes"):
        train(options("irn", overrides=("steps=null",)))
    timed = options("irn", overrides=("steps=null", "log_every=1", "warmup=1"), minutes=0.5)
    first = train(timed)
    rates = [row["lr"] for row in losses_of(tmp_path / "run", "irn")]
    assert first.step == len(rates) > 3
    assert all(a >= b for a, b in pairwise(rates)) and rates[-1] < 0.5 * rates[0]
    again = train(timed)
    assert again.step == first.step + 1, "its time was over"
    assert losses_of(tmp_path / "run", "irn")[-1]["lr"] == pytest.approx(0.01 * again.settings["lr"])
    with_more = train(replace(timed, minutes=1.0))
    assert with_more.step > again.step + 2


def test_a_step_without_a_finite_gradient_is_left_out(
    options: Callable[..., TrainOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(options("irn"))
    before = copy.deepcopy(trainer.network.state_dict())

    def at_the_roots_edge(network: torch.nn.Module, *_: object) -> dict[str, torch.Tensor]:
        return {"l1": (0 * torch.cat([p.flatten() for p in network.parameters()]).sum()).sqrt()}

    monkeypatch.setattr(trainer.stage, "loss", at_the_roots_edge)
    figures = trainer.update(trainer.dataset[0])
    assert figures["skipped"] == 1 and trainer.step == 1
    assert all(torch.equal(value, before[key]) for key, value in trainer.network.state_dict().items())
    monkeypatch.undo()
    assert "skipped" not in trainer.update(trainer.dataset[1])
    assert any(not torch.equal(value, before[key]) for key, value in trainer.network.state_dict().items())


def test_the_adversary_pulls_as_hard_as_a_mean_absolute_error() -> None:
    """However steep the discriminator is."""
    torch.manual_seed(0)
    settings = {"weights": {"gan": 1.0}, "gan_from": 0, "gan_lr": 0.01}
    adversary = find_adversary(settings, torch.device("cpu"))
    assert adversary is not None
    clean = torch.rand(2, 3, 32, 32)
    wanted = 1 / clean.numel()
    for _ in range(3):
        restored = (clean * 0.5).requires_grad_()
        adversary.term(restored, clean).backward()
        assert restored.grad is not None
        assert float(restored.grad.square().mean().sqrt()) == pytest.approx(wanted, rel=1e-3)
        adversary.learn(Team())


def test_the_psnr_term_is_minus_the_psnr_that_evaluation_reports() -> None:
    pytest.importorskip("skimage")
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(2, 3, 16, 16, generator=generator)
    restored = clean + torch.tensor([0.01, 0.2]).reshape(2, 1, 1, 1) * torch.randn(clean.shape, generator=generator)
    reported = [psnr(restored[i : i + 1], clean[i : i + 1]) for i in range(2)]
    assert float(negative_psnr(restored, clean)) == pytest.approx(-np.mean(reported), abs=1e-4)
    assert float(negative_psnr(clean, clean)) == pytest.approx(-50)


def test_overrides_and_configs_are_checked(tmp_path: Path) -> None:
    settings = read_config("s")["stages"]["irn"]
    changed = override(settings, ["batch=3", "weights.l1=0.5"])
    assert (changed["batch"], changed["weights"]["l1"]) == (3, 0.5)
    assert settings["batch"] != 3  # the original is left alone
    for bad in ("bach=3", "batch=three", "weights.l3=1"):
        with pytest.raises(CLRFaceError, match="known setting"):
            override(settings, [bad])
    with pytest.raises(CLRFaceError, match="training config"):
        read_config("huge")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(CLRFaceError, match="Expected JSON"):
        read_config(tmp_path / "bad.json")


def test_bad_input_is_named(options: Callable[..., TrainOptions], tmp_path: Path) -> None:
    with pytest.raises(CLRFaceError, match="choose one of them"):
        train(options("vqq"))
    with pytest.raises(CLRFaceError, match="--perceptual"):
        train(options("irn", overrides=("weights.lpips=0.1",)))
    with pytest.raises(CLRFaceError, match="sets c"):
        train(options("irn", overrides=('mix={"c": 1.0}',)))
    (tmp_path / "text.tar").write_text("no tar")
    with pytest.raises(CLRFaceError, match="tar shard"):
        FaceShards([tmp_path / "text.tar"])
