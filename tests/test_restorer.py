"""Aligned faces through tiny random networks: one micro-batch after the other, each stage once."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from clrface_core import CLRFaceError, Sampling
from clrface_core.models.bundle import Bundle, build
from clrface_core.models.identity import load_identity
from clrface_core.precision import choose_device, choose_dtype, ran_out_of_memory
from clrface_core.references import Match, Reference, References
from clrface_core.restorer import FaceRestorer
from tests.tiny import SIDE, Colours


@pytest.fixture
def faces(tiny_bundle: Bundle) -> FaceRestorer:
    return FaceRestorer(tiny_bundle)


@pytest.fixture
def crops(smooth_picture: Any) -> Tensor:
    return torch.stack([smooth_picture(SIDE, SIDE, seed) for seed in range(3)])


def test_same_input_same_bytes(faces: FaceRestorer, crops: Tensor) -> None:
    once, again = (faces.restore_crops(crops[:1], Sampling(steps=2, seed=5)) for _ in range(2))
    assert torch.equal(once, again)
    assert not torch.equal(once, faces.restore_crops(crops[:1], Sampling(steps=2, seed=6)))
    assert float(once.min()) >= 0 and float(once.max()) <= 1 and once.dtype == torch.float32


def test_a_face_does_not_depend_on_its_batch(tiny_bundle: Bundle, crops: Tensor) -> None:
    starts: dict[int, list[Tensor]] = {}
    results = []
    for size in (1, 2, 3):
        states: list[dict[str, Any]] = []
        results.append(FaceRestorer(tiny_bundle, batch_size=size).restore_crops(crops, callback=states.append))
        starts[size] = [state["z"] for state in states]
    for size in (2, 3):
        torch.testing.assert_close(torch.cat(starts[size]), torch.cat(starts[1]), atol=1e-5, rtol=0)
    for result in results[1:]:
        # the codebook look-up may flip where two entries are equally near; hardly any pixel may show it
        assert float((result - results[0]).abs().mean()) < 1e-4


def test_the_noise_is_that_of_the_face_id(tiny_bundle: Bundle, crops: Tensor) -> None:
    faces = FaceRestorer(tiny_bundle, batch_size=1)
    twins = crops[[0, 0, 0]]
    first, same, other = faces.restore_crops(twins, face_ids=[4, 4, 5])
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_both_pictures_are_encoded_in_one_call_and_quantised_once(
    faces: FaceRestorer, crops: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    vq = faces.bundle.vq
    calls: list[tuple[str, int]] = []

    def counted(name: str, original: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def call(x: Tensor) -> Tensor:
            calls.append((name, len(x)))
            return original(x)

        return call

    for name in ("encode", "decode"):
        monkeypatch.setattr(vq, name, counted(name, getattr(vq, name)))
    handle = vq.quantize.register_forward_hook(lambda module, x, y: calls.append(("quantize", len(x[0]))))
    FaceRestorer(faces.bundle, batch_size=2).restore_crops(crops[:2], Sampling(steps=3))
    handle.remove()
    assert calls == [("encode", 4), ("quantize", 2), ("decode", 2)]


def test_guidance_finds_the_estimate_at_its_target(crops: Tensor) -> None:
    """A fresh refiner returns z_I: the picture that guidance sees is then the target's own, and nothing moves."""
    torch.manual_seed(0)
    faces = FaceRestorer(build("tiny"), load_identity())
    plain, guided = (faces.restore_crops(crops[:1], Sampling(guidance_scale=x)) for x in (0.0, 2.0))
    assert torch.equal(plain, guided)


def test_guidance_uses_its_network_only_when_asked(tiny_bundle: Bundle, crops: Tensor) -> None:
    class Embed(torch.nn.Module):
        calls = 0

        def forward(self, images: Tensor) -> Tensor:
            self.calls += 1
            reduced = torch.nn.functional.avg_pool2d(images, images.shape[-1] // 4).flatten(1)
            return torch.nn.functional.normalize(reduced)

    embed: Any = Embed()
    faces = FaceRestorer(tiny_bundle, embed)
    plain = faces.restore_crops(crops[:1], Sampling(steps=2))
    assert embed.calls == 0
    guided = faces.restore_crops(crops[:1], Sampling(steps=2, guidance_scale=1.0))
    assert embed.calls == 3  # the target, then once per step
    assert not torch.equal(plain, guided)
    with pytest.raises(CLRFaceError, match="recognition network"):
        FaceRestorer(tiny_bundle).restore_crops(crops[:1], Sampling(guidance_scale=1.0))


def test_sface_guides(tiny_bundle: Bundle, crops: Tensor) -> None:
    faces = FaceRestorer(tiny_bundle, load_identity())
    plain, guided = (faces.restore_crops(crops[:1], Sampling(guidance_scale=x)) for x in (0.0, 1.0))
    assert torch.isfinite(guided).all() and not torch.equal(plain, guided)


def test_bfloat16_agrees_with_float32(tiny_bundle: Bundle, tiny_file: Any, crops: Tensor) -> None:
    low = FaceRestorer.load(tiny_file, device="cpu", dtype="bfloat16", identity_net=None)
    assert low.dtype == next(low.bundle.irn.parameters()).dtype == torch.bfloat16
    result = low.restore_crops(crops[:1])
    assert result.dtype == torch.float32
    full = FaceRestorer(tiny_bundle).restore_crops(crops[:1])
    assert float((result - full).abs().mean()) < 0.02


def test_the_callback_sees_each_step_and_can_cancel(faces: FaceRestorer, crops: Tensor) -> None:
    seen: list[tuple[Any, ...]] = []

    def watch(state: dict[str, Any]) -> None:
        seen.append((state["i"], state["total"], state["faces"], state["count"]))
        if len(seen) == 3:
            raise InterruptedError("enough")

    with pytest.raises(InterruptedError, match="enough"):
        faces.restore_crops(crops[:1], Sampling(steps=5), face_ids=[7], callback=watch)
    assert seen == [(0, 5, [7], 1), (1, 5, [7], 1), (2, 5, [7], 1)]


@pytest.mark.parametrize(
    "said", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("could not create a primitive")]
)
def test_out_of_memory_halves_the_micro_batch(
    tiny_bundle: Bundle, crops: Tensor, monkeypatch: pytest.MonkeyPatch, said: RuntimeError
) -> None:
    expected = FaceRestorer(tiny_bundle, batch_size=1).restore_crops(crops)
    faces, room, tried = FaceRestorer(tiny_bundle, batch_size=3), 1, []
    estimate = faces.estimate

    def limited(pictures: Tensor) -> Tensor:
        tried.append(len(pictures))
        if len(pictures) > room:
            raise said
        return estimate(pictures)

    monkeypatch.setattr(faces, "estimate", limited)
    assert torch.equal(faces.restore_crops(crops), expected)
    assert tried == [3, 1, 1, 1] and faces.batch_size == 1
    room = 0
    with pytest.raises(CLRFaceError, match=r"^Expected one face to fit into the memory of cpu, but .*: .*\.$"):
        faces.restore_crops(crops)


def test_only_memory_is_taken_for_memory() -> None:
    assert ran_out_of_memory(MemoryError()) and ran_out_of_memory(
        RuntimeError("DefaultCPUAllocator: not enough memory")
    )
    assert not ran_out_of_memory(RuntimeError("shapes differ"))


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 0},
        {"steps": 2.5},
        {"steps": 10**20},
        {"solver": "newton"},
        {"denoise": 0.0},
        {"denoise": 1.5},
        {"guidance_scale": -1.0},
        {"guidance_scale": float("nan")},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(CLRFaceError, match=r"^Expected .*, got .*: .*\.$"):
        Sampling(**settings)


@pytest.mark.parametrize(
    "crops",
    [
        torch.zeros(3, SIDE, SIDE),
        torch.zeros(1, 3, 2 * SIDE, 2 * SIDE),
        torch.zeros(1, 3, SIDE, SIDE, dtype=torch.long),
        torch.zeros(1, 3, SIDE, SIDE).numpy(),
        None,
    ],
)
def test_crops_of_another_shape_are_refused(faces: FaceRestorer, crops: Any) -> None:
    with pytest.raises(CLRFaceError, match=str(SIDE)):
        faces.restore_crops(crops)


def test_there_are_as_many_ids_as_crops(faces: FaceRestorer, crops: Tensor) -> None:
    with pytest.raises(CLRFaceError, match="got 2 for 1"):
        faces.restore_crops(crops[:1], face_ids=[1, 2])
    with pytest.raises(CLRFaceError, match="batch size"):
        FaceRestorer(faces.bundle, batch_size=0)


def test_pixels_that_are_not_numbers_never_leave(faces: FaceRestorer, crops: Tensor) -> None:
    with pytest.raises(CLRFaceError, match="NaN"):
        faces.restore_crops(crops[:1] * float("nan"))
    bias: Any = faces.bundle.vq.decoder.conv_out.bias
    kept = bias.clone()
    bias.fill_(float("nan"))
    try:
        with pytest.raises(CLRFaceError, match="use float32"):
            faces.restore_crops(crops[:1])
    finally:
        bias.copy_(kept)


def test_the_bundled_model_restores_faces_of_512_pixels() -> None:
    faces = FaceRestorer.load(device="cpu", identity_net=None)
    assert faces.bundle.size == 512
    with pytest.raises(CLRFaceError, match="512"):
        faces.restore_crops(torch.zeros(1, 3, 256, 256))


def test_devices_and_dtypes() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_dtype(torch.device("cpu"), "bfloat16") == choose_dtype(torch.device("cpu"), torch.bfloat16)
    assert choose_dtype(torch.device("mps")) == torch.float32
    assert choose_dtype(torch.device("cpu")) in (torch.float32, torch.bfloat16)
    for device in ("tpu", "cuda:99"):
        with pytest.raises(CLRFaceError):
            choose_device(device)
    for dtype in ("int8", torch.int64):
        with pytest.raises(CLRFaceError):
            choose_dtype(torch.device("cpu"), dtype)


@pytest.fixture
def knowing(tiny_bundle: Bundle) -> FaceRestorer:
    """With a recognition network that tells faces by their colours."""
    return FaceRestorer(tiny_bundle, Colours())


def of(faces: FaceRestorer, crop: Tensor, **settings: Any) -> References:
    """The person of this crop, by the estimate itself: a cosine of 1."""
    return References((Reference(estimated(faces, crop[None])[0]),), **settings)


def estimated(faces: FaceRestorer, crops: Tensor) -> Tensor:
    """Who the faces are by their estimates."""
    return faces.embed_coarse(faces.estimate(crops).float().clamp(0, 1))


def stranger(faces: FaceRestorer, crops: Tensor) -> References:
    """Someone who is the opposite of every one of these faces."""
    return References((Reference(-estimated(faces, crops).mean(0)),), threshold=0.9)


def test_no_reference_and_a_strangers_change_nothing(knowing: FaceRestorer, crops: Tensor) -> None:
    for sampling in (Sampling(steps=2), Sampling(steps=2, guidance_scale=1.0)):
        blind = knowing.restore_crops(crops, sampling)
        for references in (None, References(()), stranger(knowing, crops)):
            restored, matches, _ = knowing.restore_matched(crops, references, sampling)
            assert torch.equal(restored, blind)
            assert [match.used for match in matches] == [()] * 3
    assert [match.verdict for match in matches] == ["no match"] * 3


def test_a_match_pulls_its_face_and_no_other(knowing: FaceRestorer, crops: Tensor) -> None:
    other = Reference(functional.normalize(estimated(knowing, crops)[1] + 0.03, dim=0))
    references = References((other,), threshold=0.9)
    blind = knowing.restore_crops(crops, Sampling(steps=2))
    restored, matches, _ = knowing.restore_matched(crops, references, Sampling(steps=2))
    used = [bool(match.used) for match in matches]
    assert used[1] and not all(used)
    assert [torch.equal(*pair) for pair in zip(restored, blind, strict=True)] == [not each for each in used]
    assert float(knowing.embed(restored)[1] @ other.embedding) > float(knowing.embed(blind)[1] @ other.embedding)


def test_a_sharp_photo_is_compared_by_what_an_estimate_has(knowing: FaceRestorer, smooth_picture: Any) -> None:
    """Fine grain of a reference, which no estimate has, does not count in the comparison."""
    smooth = smooth_picture(SIDE, SIDE) * 0.5 + 0.25
    grain = (torch.arange(SIDE) % 2 - 0.5).expand(SIDE, SIDE) * 0.2
    photo = knowing.reference(smooth + grain, 1.0, 512, "photo")
    torch.testing.assert_close(photo.compared, knowing.embed_coarse(smooth[None])[0])
    assert photo.source == "photo" and 0 < photo.quality <= 1 and photo.embedding.shape == photo.compared.shape


def test_a_scale_of_0_tells_matches_and_pulls_nothing(knowing: FaceRestorer, crops: Tensor) -> None:
    restored, [match], _ = knowing.restore_matched(crops[:1], of(knowing, crops[0], scale=0.0))
    assert match.verdict == "the same person" and match.cosine == pytest.approx(1, abs=1e-3)
    assert torch.equal(restored, knowing.restore_crops(crops[:1]))


def test_matches_do_not_depend_on_their_batch(knowing: FaceRestorer, crops: Tensor) -> None:
    references, sampling = of(knowing, crops[1], threshold=0.999), Sampling(steps=2, guidance_scale=1.0)
    together, matches, _ = knowing.restore_matched(crops, references, sampling)
    assert [match.used for match in matches] == [(), (0,), ()]
    for i in range(3):
        alone, *_ = knowing.restore_matched(crops[[i]], references, sampling, face_ids=[i])
        assert float((together[i] - alone[0]).abs().mean()) < 1e-4


def test_faces_that_match_nobody_stay(knowing: FaceRestorer, crops: Tensor) -> None:
    [match] = References((Reference(torch.ones(12)),), threshold=-1.0).match(knowing.embed(crops[:1]))
    drawn = knowing.towards([match, Match(), match], crops)
    assert [torch.equal(*pair) for pair in zip(drawn, crops, strict=True)] == [False, True, False]


def test_references_need_a_recognition_network(faces: FaceRestorer, knowing: FaceRestorer, crops: Tensor) -> None:
    with pytest.raises(CLRFaceError, match="recognition network"):
        faces.restore_matched(crops, of(knowing, crops[0]))
    assert knowing.embed(crops).shape == (3, 12)
