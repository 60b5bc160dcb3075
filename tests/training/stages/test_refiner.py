"""The third stage learns on whole faces and on the states of its own sampling."""

from collections.abc import Callable
from pathlib import Path

import torch

from clrface_core.diffusion.schedule import time_grid
from clrface_core.diffusion.solvers import ddim
from clrface_core.training.data import Augmentation, FaceShards, Pairs
from clrface_core.training.loop import TrainOptions, train
from clrface_core.training.stages import RefinerStage
from clrface_core.training.stages.refiner import comparable, latent_error


def test_an_enlarged_original_is_judged_by_what_half_the_size_shows(shard: Path) -> None:
    pairs = Pairs(FaceShards([shard]), {"a1": 1, "b": 1}, 8, 0, Augmentation(), side=512, size=512, enlarge=True)
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


def test_the_refiner_meets_the_states_of_its_own_sampling(
    options: Callable[..., TrainOptions], tmp_path: Path, prepare: Callable[..., None]
) -> None:
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


def test_the_refiner_learns_on_whole_faces(
    options: Callable[..., TrainOptions], tmp_path: Path, prepare: Callable[..., None]
) -> None:
    prepare(tmp_path / "run", "vq", "irn", "refiner")
    trainer = train(options("refiner", steps=0, overrides=("weights.identity=1.0",)))
    stage, latents, decoded, judged = trainer.stage, set(), set(), set()
    assert stage.judges.identity is not None
    trainer.network.register_forward_pre_hook(lambda _, seen: latents.add(tuple(seen[0].shape)))
    stage.bundle.vq.decoder.register_forward_pre_hook(lambda _, seen: decoded.add(tuple(seen[0].shape)))
    stage.judges.identity.register_forward_pre_hook(lambda _, seen: judged.add(tuple(seen[0].shape)))
    for seed in range(4):
        terms = stage.loss(trainer.network, trainer.held_out, 0, torch.Generator().manual_seed(seed))
        assert terms.keys() == {"latent", "pixel", "identity"}
    assert latents == {(2, 3, 16, 16)}
    assert decoded == {(2, 3, 8, 8), (1, 3, 8, 8)}, "a window of 32 px; for identity the first face, half-size"
    assert judged == {(1, 3, 32, 32)}


def test_the_refiner_encodes_the_truth_only_where_it_is_asked_for(
    options: Callable[..., TrainOptions], tmp_path: Path, prepare: Callable[..., None]
) -> None:
    prepare(tmp_path / "run", "vq", "irn", "refiner")
    seen: list[int] = []
    for latent, trajectory, faces in ((1.0, 1.0, 6), (0.0, 0.0, 6), (0.0, 1.0, 4)):
        overrides = (f"weights.latent={latent}", f"trajectory={trajectory}")
        trainer = train(options("refiner", steps=0, overrides=overrides))
        trainer.stage.bundle.vq.encoder.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
        seen.clear()
        trainer.stage.loss(trainer.network, trainer.held_out, 0, torch.Generator().manual_seed(0))
        assert sum(seen) == faces, "of two faces: degraded, estimate and, at times, truth"
