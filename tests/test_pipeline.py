"""The whole flow on tiny random networks and faces that are simply said to be there."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clrface_core.faces.face import Face
from PIL import Image

from clrface_core import CLRFaceError, Restoration, Restorer
from clrface_core.faces.align import FFHQ_TEMPLATE_512
from clrface_core.models.bundle import Bundle, build
from clrface_core.photo import Photo, as_photo
from clrface_core.pipeline import aligned_crop, choose_faces
from clrface_core.precision import choose_device, choose_dtype


def face_at(x: float, y: float, size: float) -> Face:
    """An upright face whose aligned crop is the square of this size at (x, y)."""
    landmarks = (FFHQ_TEMPLATE_512 * (size / 512) + np.array([x, y])).astype(np.float32)
    return Face((x, y, x + size, y + size), 0.9, landmarks)


SIDE = 128
"""Crops of this side stand for those of 512 px, which would only take longer."""


@pytest.fixture(autouse=True)
def small_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clrface_core.pipeline.SIZE", SIDE)
    monkeypatch.setattr("clrface_core.stages.SIZE", SIDE)


class Given:
    """A detector that finds what it was given."""

    def __init__(self, *faces: Face) -> None:
        self.faces = list(faces)

    def detect(self, image: torch.Tensor) -> list[Face]:
        return self.faces


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """A tiny bundle whose refiner and mask do something: fresh ones return z_I and a constant."""
    torch.manual_seed(0)
    bundle = build("tiny")
    assert bundle.refiner is not None and bundle.mask is not None
    with torch.no_grad():
        for network in (bundle.refiner, bundle.mask):
            for parameter in network.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return bundle


@pytest.fixture
def restorer(bundle: Bundle) -> Restorer:
    return Restorer(bundle, device="cpu", dtype="float32", detector=Given(face_at(40, 30, 96)))


@pytest.fixture
def crops(smooth_picture: Any) -> torch.Tensor:
    return torch.stack([smooth_picture(SIDE, SIDE, seed) for seed in range(3)])


def test_faces_change_and_everything_else_stays_to_the_bit(restorer: Restorer, smooth_picture: Any) -> None:
    picture = smooth_picture(180, 220)
    result = restorer.restore(picture, steps=1)
    untouched = (result.mask == 0).expand_as(picture)
    assert torch.equal(result.image[untouched], picture[untouched])
    assert not torch.equal(result.image, picture)
    covered = float(result.mask.mean())
    assert covered > 0.05 and covered < 0.5
    assert (result.image.shape, result.mask.shape) == (picture.shape, (1, 180, 220))
    assert result.crops.shape == result.restored_crops.shape == (1, 3, SIDE, SIDE)
    assert len(result.faces) == len(result.alignment) == 1 and result.chosen == [0]


def test_a_picture_without_faces_passes_through(bundle: Bundle, smooth_picture: Any) -> None:
    picture = smooth_picture(50, 60)
    result = Restorer(bundle, device="cpu", detector=Given()).restore(picture, faces="largest")
    assert torch.equal(result.image, picture)
    assert result.faces == [] and result.chosen == [] and not result.mask.any()


def test_forty_faces_are_all_restored_in_bounded_batches(bundle: Bundle, smooth_picture: Any) -> None:
    faces = [face_at(25 * (i % 8), 25 * (i // 8), 24) for i in range(40)]
    restorer = Restorer(bundle, device="cpu", dtype="float32", detector=Given(*faces), batch_size=8)
    batches: list[list[int]] = []
    result = restorer.restore(smooth_picture(125, 200), steps=1, callback=lambda state: batches.append(state["faces"]))
    assert sorted(result.chosen) == list(range(40)) and [len(batch) for batch in batches] == [8] * 5
    assert len(result.restored_crops) == 40 and torch.isfinite(result.image).all()


def test_the_estimate_is_the_irns(restorer: Restorer, crops: torch.Tensor) -> None:
    assert restorer.bundle.irn is not None
    expected = restorer.bundle.irn(crops).clamp(0, 1)
    torch.testing.assert_close(restorer.estimate_crops(crops), expected, atol=1e-5, rtol=0)


def test_same_input_same_bytes(restorer: Restorer, crops: torch.Tensor) -> None:
    once, again = (restorer.restore_crops(crops[:1], steps=2, seed=5) for _ in range(2))
    assert torch.equal(once, again)
    assert not torch.equal(once, restorer.restore_crops(crops[:1], steps=2, seed=6))
    assert float(once.min()) >= 0 and float(once.max()) <= 1 and once.dtype == torch.float32


def test_a_face_does_not_depend_on_its_batch(bundle: Bundle, crops: torch.Tensor) -> None:
    starts: dict[int, list[torch.Tensor]] = {}
    results = []
    for size in (1, 2, 3):
        states: list[dict[str, Any]] = []
        restorer = Restorer(bundle, device="cpu", dtype="float32", batch_size=size)
        results.append(restorer.restore_crops(crops, steps=1, callback=states.append))
        starts[size] = [state["z"] for state in states]
    for size in (2, 3):
        torch.testing.assert_close(torch.cat(starts[size]), torch.cat(starts[1]), atol=1e-5, rtol=0)
    for result in results[1:]:
        # the codebook look-up may flip where two entries are equally near; hardly any pixel may show it
        assert float((result - results[0]).abs().mean()) < 1e-4


def test_a_chosen_face_comes_out_as_among_all(bundle: Bundle, smooth_picture: Any) -> None:
    picture = smooth_picture(120, 260)
    restorer = Restorer(
        bundle, device="cpu", dtype="float32", detector=Given(face_at(10, 10, 100), face_at(140, 15, 90))
    )
    both = restorer.restore(picture, steps=1)
    second = restorer.restore(picture, steps=1, faces="1")
    assert second.chosen == [1] and len(second.faces) == 2
    torch.testing.assert_close(second.restored_crops[0], both.restored_crops[1], atol=1e-3, rtol=0)


def test_both_pictures_are_encoded_in_one_call_and_quantised_once(
    restorer: Restorer, crops: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    vq = restorer.bundle.vq
    assert vq is not None
    calls: list[tuple[str, int]] = []

    def counted(name: str, original: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
        def call(x: torch.Tensor) -> torch.Tensor:
            calls.append((name, len(x)))
            return original(x)

        return call

    for name in ("encode", "decode"):
        monkeypatch.setattr(vq, name, counted(name, getattr(vq, name)))
    vq.quantize.register_forward_hook(lambda module, x, y: calls.append(("quantize", len(x[0]))))
    restorer.restore_crops(crops[:2], steps=3)
    assert calls == [("encode", 4), ("quantize", 2), ("decode", 2)]


def test_guidance_finds_the_estimate_at_its_target(crops: torch.Tensor) -> None:
    """A fresh refiner returns z_I: the picture that guidance sees is then the target's own, and nothing moves."""
    torch.manual_seed(0)
    restorer = Restorer(build("tiny"), device="cpu", dtype="float32")
    plain, guided = (restorer.restore_crops(crops[:1], steps=1, identity=x) for x in (0.0, 2.0))
    assert torch.equal(plain, guided)


def test_identity_guidance_loads_its_network_only_when_asked(bundle: Bundle, crops: torch.Tensor) -> None:
    class Embed(torch.nn.Module):
        calls = 0

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return torch.nn.functional.normalize(
                torch.nn.functional.avg_pool2d(images, images.shape[-1] // 4).flatten(1)
            )

    embed: Any = Embed()
    restorer = Restorer(bundle, device="cpu", dtype="float32", identity_net=embed)
    plain = restorer.restore_crops(crops[:1], steps=2)
    assert embed.calls == 0
    guided = restorer.restore_crops(crops[:1], steps=2, identity=1.0)
    assert embed.calls == 3  # the target, then once per step
    assert not torch.equal(plain, guided)
    assert "identity_net" not in vars(Restorer(bundle, device="cpu"))


def test_sface_guides(bundle: Bundle, crops: torch.Tensor) -> None:
    restorer = Restorer(bundle, device="cpu", dtype="float32")
    plain, guided = (restorer.restore_crops(crops[:1], steps=1, identity=x) for x in (0.0, 1.0))
    assert torch.isfinite(guided).all() and not torch.equal(plain, guided)


def test_bfloat16_agrees_with_float32(bundle: Bundle, crops: torch.Tensor) -> None:
    low = Restorer(bundle, device="cpu", dtype="bfloat16")
    result = low.restore_crops(crops[:1], steps=1)
    assert low.bundle.irn is not None and next(low.bundle.irn.parameters()).dtype == torch.bfloat16
    assert result.dtype == torch.float32
    full = Restorer(bundle, device="cpu", dtype="float32").restore_crops(crops[:1], steps=1)
    assert float((result - full).abs().mean()) < 0.02


def test_the_callers_bundle_is_left_as_it_is(bundle: Bundle, crops: torch.Tensor) -> None:
    before = copy.deepcopy(bundle)
    Restorer(bundle, device="cpu", dtype="bfloat16").restore_crops(crops[:1], steps=1)
    for name, network in bundle.networks().items():
        for key, value in network.state_dict().items():
            assert torch.equal(value, before.networks()[name].state_dict()[key]), f"{name}.{key}"


def test_the_callback_sees_each_step_and_can_cancel(restorer: Restorer, crops: torch.Tensor) -> None:
    seen: list[tuple[Any, ...]] = []

    def watch(state: dict[str, Any]) -> None:
        seen.append((state["i"], state["total"], state["faces"], state["count"]))
        if len(seen) == 3:
            raise InterruptedError("enough")

    with pytest.raises(InterruptedError, match="enough"):
        restorer.restore_crops(crops[:1], steps=5, numbers=[7], callback=watch)
    assert seen == [(0, 5, [7], 1), (1, 5, [7], 1), (2, 5, [7], 1)]


def test_any_kind_of_picture_is_the_same_picture(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    image.save(tmp_path / "a.png")
    tensor = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    kinds: Sequence[Any] = (tmp_path / "a.png", str(tmp_path / "a.png"), image, pixels, pixels.astype(np.float32) / 255)
    for kind in (*kinds, tensor, Photo(tensor)):
        torch.testing.assert_close(as_photo(kind).rgb, tensor, atol=1e-6, rtol=0)


def test_arrays_keep_depth_alpha_and_grey() -> None:
    deep = as_photo(np.full((4, 5), 65535, dtype=np.uint16))
    assert deep.bits == 16 and deep.rgb.shape == (3, 4, 5) and float(deep.rgb.min()) == 1
    clear = as_photo(np.zeros((4, 5, 4), dtype=np.uint8))
    assert clear.alpha is not None and not clear.alpha.any()
    assert as_photo(Image.new("CMYK", (3, 2))).rgb.shape == (3, 2, 3)
    assert as_photo(Image.new("LA", (3, 2))).alpha is not None
    assert as_photo(Image.new("I;16", (3, 2), 65535)).bits == 16


@pytest.mark.parametrize(
    "picture",
    [
        torch.full((3, 8, 8), float("nan")),
        torch.full((3, 8, 8), float("inf")),
        torch.full((3, 8, 8), 255.0),
        torch.zeros(1, 3, 8, 8),
        torch.zeros(3, 8, 8, dtype=torch.uint8),
        torch.zeros(3, 0, 8),
        np.zeros((2, 8, 8, 3), np.uint8),
        np.zeros((8, 8, 3), np.int64),
        np.zeros((8, 8, 2), np.uint8),
        None,
        7,
    ],
)
def test_what_is_no_picture_is_refused_in_one_sentence(restorer: Restorer, picture: Any) -> None:
    with pytest.raises(CLRFaceError, match=r"^Expected .*, got .*: .*\.$"):
        restorer.restore(picture)


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 0},
        {"steps": 2.5},
        {"solver": "newton"},
        {"t0": 0.0},
        {"t0": 1.5},
        {"identity": -1.0},
        {"identity": float("nan")},
        {"numbers": [1, 2]},
    ],
)
def test_settings_that_make_no_sense_are_refused(
    restorer: Restorer, crops: torch.Tensor, settings: dict[str, Any]
) -> None:
    with pytest.raises(CLRFaceError):
        restorer.restore_crops(crops[:1], **settings)


@pytest.mark.parametrize(
    "crops",
    [torch.zeros(3, SIDE, SIDE), torch.zeros(1, 3, 256, 256), torch.zeros(1, 3, SIDE, SIDE, dtype=torch.long)],
)
def test_crops_of_another_shape_are_refused(restorer: Restorer, crops: torch.Tensor) -> None:
    with pytest.raises(CLRFaceError, match=str(SIDE)):
        restorer.restore_crops(crops)


def test_pixels_that_are_not_numbers_never_reach_the_photo(bundle: Bundle, crops: torch.Tensor) -> None:
    restorer = Restorer(bundle, device="cpu", dtype="float32")
    with pytest.raises(CLRFaceError, match="NaN"):
        restorer.restore_crops(crops[:1] * float("nan"))
    assert restorer.bundle.vq is not None
    restorer.bundle.vq.decoder.conv_out.bias.fill_(float("nan"))  # type: ignore[union-attr]
    with pytest.raises(CLRFaceError, match="use dtype float32"):
        restorer.restore_crops(crops[:1], steps=1)


def test_nothing_is_loaded_before_it_is_needed(tmp_path: Path) -> None:
    restorer = Restorer(tmp_path / "absent.safetensors", device="cpu", detector="yunet")
    assert not {"bundle", "detector", "identity_net", "dtype"} & vars(restorer).keys()
    with pytest.raises(CLRFaceError, match=r"absent\.safetensors"):
        _ = restorer.bundle


def test_a_bundle_without_a_network_names_it(bundle: Bundle) -> None:
    partial = Bundle(vq=bundle.vq, irn=bundle.irn)
    with pytest.raises(CLRFaceError, match="refiner is missing"):
        _ = Restorer(partial, device="cpu").bundle


@pytest.mark.parametrize(
    ("which", "expected"),
    [("all", [0, 1, 2]), ("largest", [1]), ("2", [2]), ("2,0", [2, 0]), ([1, 1, 0], [1, 0]), ([], [])],
)
def test_choosing_faces(which: Any, expected: list[int]) -> None:
    found = [face_at(0, 0, 30), face_at(50, 0, 40), face_at(100, 0, 20)]
    assert choose_faces(found, which) == expected
    assert choose_faces([], which) == []


@pytest.mark.parametrize("which", ["3", "-1", "0,9", "biggest", "", [5]])
def test_faces_that_are_not_there_are_an_error(which: Any) -> None:
    with pytest.raises(CLRFaceError):
        choose_faces([face_at(0, 0, 30), face_at(50, 0, 40), face_at(100, 0, 20)], which)


def test_aligned_faces_of_any_square_size(smooth_picture: Any) -> None:
    exact = smooth_picture(SIDE, SIDE)
    assert torch.equal(aligned_crop(exact), exact)
    for side in (1, 64, 700):
        assert aligned_crop(smooth_picture(side, side)).shape == (3, SIDE, SIDE)
    with pytest.raises(CLRFaceError, match="got 60x50 px"):
        aligned_crop(smooth_picture(50, 60))


def test_faces_are_restored_at_512_pixels(bundle: Bundle, smooth_picture: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    restorer = Restorer(bundle, device="cpu", dtype="float32", detector=Given(face_at(20, 10, 80)))
    assert restorer.restore(smooth_picture(100, 120), steps=1).restored_crops.shape == (1, 3, 512, 512)


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
    with pytest.raises(CLRFaceError, match="batch size"):
        Restorer(batch_size=0)


def test_a_result_is_saved_as_it_came(restorer: Restorer, tmp_path: Path, smooth_picture: Any) -> None:
    alpha = torch.zeros(180, 220)
    result = restorer.restore(Photo(smooth_picture(180, 220), alpha, bits=8), steps=1)
    assert isinstance(result, Restoration)
    result.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert (image.mode, image.size) == ("RGBA", (220, 180))
