"""Identity networks: the recognition crop, the promises of IdentityNet, the bundled SFace, ArcFace's file."""

import io
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from clrface_core.errors import CLRFaceError
from clrface_core.models.identity import (
    SFACE_WEIGHTS,
    IdentityNet,
    identity_similarity,
    load_identity,
    recognition_crop,
)
from clrface_core.models.sface import dequantise

# The five points of the 512 px FFHQ template, and of the 112 px template of ArcFace and SFace.
FFHQ_512 = np.array(
    [
        [192.98138, 239.94708],
        [318.90277, 240.1936],
        [256.63416, 314.01935],
        [201.26117, 371.41043],
        [313.08905, 371.15118],
    ]
)
ARCFACE_112 = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
ZOOM, SHIFT = 0.2921, np.array([-18.9301, -17.86])


@pytest.fixture(scope="module")
def sface() -> IdentityNet:
    return load_identity("sface")


@pytest.fixture
def face(smooth_picture: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A (B,3,512,512) batch of smooth pictures: what matters to these tests is not that they are faces."""
    return lambda count=1: torch.stack([smooth_picture(512, 512, seed) for seed in range(count)])


class TinyBackbone(nn.Module):
    """Linear on purpose: its gradient is the same everywhere, so a zero must come from the crop."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(3 * 112 * 112, 4)
        nn.init.uniform_(self.embed.weight, 0.1, 0.2)

    def forward(self, x: Tensor) -> Tensor:
        return self.embed(x.flatten(1))


# The recognition crop


@pytest.mark.parametrize("size", [512, 256, 128, 1024])
@pytest.mark.parametrize("point", range(5))
def test_a_template_point_lands_where_the_affine_says(size: int, point: int) -> None:
    x, y = (FFHQ_512[point] + 0.5) * size / 512 - 0.5
    grid = torch.arange(size, dtype=torch.float64)
    spread = 2 * (6 * size / 512) ** 2
    blob = torch.exp(-((grid - y)[:, None] ** 2 + (grid - x)[None] ** 2) / spread).expand(1, 3, size, size)
    crop = recognition_crop(blob)[0, 0]
    grid = torch.arange(112, dtype=torch.float64)
    landed = np.array([(crop.sum(0) @ grid) / crop.sum(), (crop.sum(1) @ grid) / crop.sum()])
    assert np.abs(landed - (ZOOM * FFHQ_512[point] + SHIFT)).max() < 0.02
    assert np.abs(landed - ARCFACE_112[point]).max() < 2.2  # one affine fits five points no better


def test_crop_of_a_ramp_is_the_affine_everywhere() -> None:
    ramp = torch.arange(512, dtype=torch.float64).expand(1, 3, 512, 512)
    expected = (torch.arange(112, dtype=torch.float64) - SHIFT[0]) / ZOOM
    assert (recognition_crop(ramp)[0, 0] - expected).abs().max() < 0.02
    expected = (torch.arange(112, dtype=torch.float64) - SHIFT[1]) / ZOOM
    assert (recognition_crop(ramp.mT)[0, 0].T - expected).abs().max() < 0.02


def test_crop_averages_detail_too_fine_for_it() -> None:
    stripes = (torch.arange(512) % 2).float().expand(1, 3, 512, 512)
    assert (recognition_crop(stripes) - 0.5).abs().max() < 0.08


def test_crop_of_another_size_shows_the_same_picture(face: Callable[..., Tensor]) -> None:
    large = recognition_crop(face(), 224)
    assert large.shape == (1, 3, 224, 224)
    halved = nn.functional.avg_pool2d(large, 2)
    assert (halved - recognition_crop(face())).abs().max() < 0.02


# The promises of IdentityNet


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_embeddings_are_unit_vectors(face: Callable[..., Tensor], dtype: torch.dtype) -> None:
    embedding = load_identity("sface", dtype=dtype)(face(3).to(dtype))
    assert embedding.shape == (3, 128)
    assert embedding.dtype == torch.float32
    assert (embedding.norm(dim=1) - 1).abs().max() < 1e-5


def test_bfloat16_agrees_with_float32(sface: IdentityNet, face: Callable[..., Tensor]) -> None:
    low = load_identity("sface", dtype=torch.bfloat16)
    assert identity_similarity(low(face(2)), sface(face(2))).min() > 0.995


def test_embedding_of_a_face_does_not_depend_on_its_batch(sface: IdentityNet, face: Callable[..., Tensor]) -> None:
    together, alone = sface(face(3)), sface(face(3)[1:2])
    assert (together[1] - alone[0]).abs().max() < 1e-5


@pytest.mark.parametrize("size", [256, 384, 1024])
def test_embedding_hardly_depends_on_resolution(sface: IdentityNet, face: Callable[..., Tensor], size: int) -> None:
    resized = nn.functional.interpolate(face(2), (size, size), mode="bilinear", antialias=True)
    assert identity_similarity(sface(resized), sface(face(2))).min() > 0.99


def test_gradient_reaches_the_crop_region_and_nothing_else() -> None:
    images = torch.rand(1, 3, 512, 512, requires_grad=True)
    crop_net = IdentityNet(TinyBackbone(), "tiny")
    crop_net(images)[0, 0].backward()
    assert images.grad is not None
    rows, columns = ((ZOOM * np.arange(512) + shift) for shift in (SHIFT[1], SHIFT[0]))
    reached = np.outer((rows > -1) & (rows < 112), (columns > -1) & (columns < 112))
    gradient = images.grad[0].abs().amax(0).numpy()
    assert (gradient[~reached] == 0).all()
    assert (gradient[reached] > 0).mean() > 0.99


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_following_the_gradient_brings_two_faces_together(face: Callable[..., Tensor], dtype: torch.dtype) -> None:
    net = load_identity("sface", dtype=dtype)
    first, second = face(2).split(1)
    target = net(second)
    image = first.clone().requires_grad_(True)
    before = identity_similarity(net(image), target)
    (gradient,) = torch.autograd.grad(before.sum(), image)
    after = identity_similarity(net(image + 1e-2 * gradient / gradient.abs().max()), target)
    assert after.item() > before.item() + 0.01


def test_gradient_is_that_of_finite_differences() -> None:
    net = IdentityNet(TinyBackbone().double(), "tiny")
    image = torch.rand(1, 3, 32, 32, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(1, 3, 32, 32, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(net(image)[0, 0], image)
    with torch.no_grad():
        measured = (net(image + 1e-4 * direction) - net(image - 1e-4 * direction))[0, 0] / 2e-4
    assert torch.allclose((gradient * direction).sum(), measured, rtol=1e-3)


def test_stays_frozen_and_in_eval_mode(sface: IdentityNet) -> None:
    trained = nn.ModuleList([nn.Linear(2, 2), sface]).train()
    assert trained[0].training
    assert not any(module.training for module in sface.modules())
    assert not any(parameter.requires_grad for parameter in sface.parameters())


def test_similarity_is_the_cosine() -> None:
    a = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    b = torch.tensor([[1.0, 0.0], [3.0, 3.0]])
    assert identity_similarity(a, b).tolist() == pytest.approx([1.0, 0.5**0.5])
    assert identity_similarity(a, b[:1]).tolist() == pytest.approx([1.0, 0.0])
    with pytest.raises(CLRFaceError, match="one identity network"):
        identity_similarity(a, torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (torch.zeros(3, 64, 64), r"shape \(B,3,S,S\), got \(3, 64, 64\)"),
        (torch.zeros(1, 64, 64, 3), r"got \(1, 64, 64, 3\)"),
        (torch.zeros(1, 3, 64, 48), "got 48x64: align the faces"),
        (torch.zeros(1, 3, 31, 31), "at least 32 px, got 31x31"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), "got torch.uint8: divide by 255"),
    ],
)
def test_wrong_images_are_named_in_one_sentence(images: Tensor, says: str) -> None:
    with pytest.raises(CLRFaceError, match=says):
        IdentityNet(TinyBackbone(), "tiny")(images)


def test_the_smallest_crop_and_no_face_at_all_work(sface: IdentityNet) -> None:
    assert sface(torch.rand(1, 3, 32, 32)).shape == (1, 128)
    assert sface(torch.rand(0, 3, 64, 64)).shape == (0, 128)


def test_an_unknown_name_says_which_names_there_are() -> None:
    with pytest.raises(CLRFaceError, match="'sface' or 'arcface', got 'facenet'"):
        load_identity("facenet")


# SFace and its file


def test_sface_file_is_small_and_says_where_it_comes_from() -> None:
    assert SFACE_WEIGHTS.stat().st_size <= 11e6
    with safe_open(SFACE_WEIGHTS, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["licence"] == "Apache-2.0"
    assert "face_recognition_sface_2021dec" in metadata["origin"]


def test_sface_loads_fast() -> None:
    def seconds() -> float:
        start = time.process_time()  # not the clock on the wall: a busy machine must not fail this
        load_identity("sface")
        return time.process_time() - start

    assert min(seconds() for _ in range(3)) < 0.3


def test_dequantise_is_blockwise() -> None:
    values = torch.tensor([[1, 2, 3, 4], [-128, 127, 0, 1]], dtype=torch.int8)
    scale, zero = torch.tensor([[2.0, 10.0], [1.0, 0.5]]), torch.tensor([[1, 3], [127, 0]], dtype=torch.int8)
    assert dequantise(values, scale, zero).tolist() == [[0, 2, 0, 10], [-255, 0, 0, 0.5]]


def _change_file(path: Path, change: Callable[[dict[str, Tensor]], object], keep_format: bool = True) -> Path:
    tensors = load_file(SFACE_WEIGHTS)
    change(tensors)
    save_file(tensors, path, {"format": "clrface-sface-1"} if keep_format else None)
    return path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop("stem.bias"), "has no weight 'stem.bias' of shape"),
        (lambda t: t.update({"gain": torch.ones(3)}), "has no weight 'gain' of shape"),
        (lambda t: t.update({"extra": torch.ones(3)}), "holds 'extra'"),
        (lambda t: t.pop("embed.weight.scale"), "int8 blocks of 'embed.weight'"),
        (lambda t: t.update({"stem.weight.int8": torch.zeros(32, 9, dtype=torch.int8)}), "of 'stem.weight'"),
    ],
)
def test_a_changed_sface_file_is_refused_by_name(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], object], says: str
) -> None:
    with pytest.raises(CLRFaceError, match=says):
        load_identity("sface", weights=_change_file(tmp_path / "sface.safetensors", change))


def test_files_that_are_not_sface_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CLRFaceError, match="found no file there"):
        load_identity("sface", weights=tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("not weights")
    with pytest.raises(CLRFaceError, match="cannot be read"):
        load_identity("sface", weights=tmp_path / "text.safetensors")
    other = _change_file(tmp_path / "other.safetensors", lambda tensors: None, keep_format=False)
    with pytest.raises(CLRFaceError, match="format clrface-sface-1"):
        load_identity("sface", weights=other)


def _val_face(shared_dir: Path, stem: str) -> Image.Image:
    with tarfile.open(shared_dir / "faces" / "val-512-000.tar") as tar:
        content = tar.extractfile(f"{stem}.webp")
        assert content is not None
        return Image.open(io.BytesIO(content.read())).convert("RGB")


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255


def test_sface_knows_a_real_face_again(shared_dir: Path, sface: IdentityNet) -> None:
    one, other = (_val_face(shared_dir, stem) for stem in ("b-0306cf2860eb", "b-f9bb978f8b52"))
    jpeg = io.BytesIO()
    one.save(jpeg, "JPEG", quality=20)
    known = sface(_tensor(one))
    small = one.resize((128, 128), Image.Resampling.BOX)
    assert identity_similarity(known, sface(_tensor(Image.open(jpeg)))).item() == pytest.approx(0.979, abs=0.02)
    assert identity_similarity(known, sface(_tensor(small))).item() == pytest.approx(0.9951, abs=0.003)
    assert identity_similarity(known, sface(_tensor(other))).item() == pytest.approx(0.1848, abs=0.005)
    assert known[0, :4].tolist() == pytest.approx([-0.0844, 0.0068, 0.1168, 0.1038], abs=1e-3)


# ArcFace: no test downloads its 175 MB, so a file with random weights stands in


@pytest.fixture(scope="module")
def arcface_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """IR-SE50's names and shapes with small random numbers, in half precision."""
    arch = pytest.importorskip("facexlib.recognition.arcface_arch", reason="facexlib is not installed")
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in arch.Backbone(50, 0.6, "ir_se").state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            continue
        norm_or_slope = len(shape) == 1 and not name.endswith(("bias", "running_mean"))
        spread = torch.randn(shape, generator=generator) * max(shape[1:].numel(), 1) ** -0.5
        state[name] = (spread.abs() * 0.1 + 0.9 if norm_or_slope else spread).half()
    path = tmp_path_factory.mktemp("arcface") / "recognition_arcface_ir_se50.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def arcface(arcface_file: Path) -> IdentityNet:
    return load_identity("arcface", weights=arcface_file)


def test_arcface_keeps_the_same_promises(arcface: IdentityNet, face: Callable[..., Tensor]) -> None:
    images = face(2).requires_grad_(True)
    embedding = arcface(images)
    assert embedding.shape == (2, 512)
    assert (embedding.norm(dim=1) - 1).abs().max() < 1e-5
    embedding[0, 0].backward()
    assert images.grad is not None
    assert images.grad[0].abs().max() > 0
    assert (images.grad[1] == 0).all()
    assert not any(parameter.requires_grad for parameter in arcface.parameters())


def test_arcface_is_fed_bgr_from_minus_one_to_one() -> None:
    class Seen(TinyBackbone):
        def forward(self, x: Tensor) -> Tensor:
            self.input = x
            return super().forward(x)

    seen = Seen()
    red = torch.tensor([1.0, 0.5, 0.0]).reshape(1, 3, 1, 1).expand(1, 3, 64, 64)
    IdentityNet(seen, "seen", scale=2.0, offset=-1.0, bgr=True)(red)
    assert seen.input.mean((0, 2, 3)).tolist() == pytest.approx([-1.0, 0.0, 1.0], abs=1e-5)


def test_arcface_is_found_in_a_folder_and_as_safetensors(arcface_file: Path, tmp_path: Path) -> None:
    state = torch.load(arcface_file, weights_only=True)
    copy = tmp_path / "arcface.safetensors"
    save_file(state, copy)
    images = torch.rand(1, 3, 64, 64)
    same = identity_similarity(
        load_identity("arcface", weights=arcface_file.parent)(images),
        load_identity("arcface", weights=copy)(images),
    )
    assert same.item() == pytest.approx(1, abs=1e-5)


def test_arcface_without_its_file_says_where_to_put_it(tmp_path: Path) -> None:
    pytest.importorskip("facexlib", reason="facexlib is not installed")
    with pytest.raises(CLRFaceError, match=r"put facexlib's recognition_arcface_ir_se50\.pth there"):
        load_identity("arcface", weights=tmp_path)


def test_arcface_without_facexlib_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clrface_core.models.arcface.find_spec", lambda name: None)
    with pytest.raises(CLRFaceError, match="install facexlib"):
        load_identity("arcface")


def test_wrong_arcface_files_are_refused(arcface_file: Path, tmp_path: Path) -> None:
    def refused(content: object, says: str) -> None:
        torch.save(content, tmp_path / "wrong.pth")
        with pytest.raises(CLRFaceError, match=says):
            load_identity("arcface", weights=tmp_path / "wrong.pth")

    refused([1, 2], "holds a list")
    refused({"fc.weight": torch.ones(2)}, r"'input_layer\.0\.weight' of shape \(64, 3, 3, 3\), .* has nothing")
    refused(Path("pickled"), r"cannot be read \(UnpicklingError\)")  # an object: never unpickled
    state = torch.load(arcface_file, weights_only=True)
    refused({**state, "extra": torch.ones(1)}, "also has 'extra'")
    refused({**state, "output_layer.3.bias": torch.ones(5)}, r"'output_layer\.3\.bias' .* has \(5,\)")
    (tmp_path / "cut.pth").write_bytes(arcface_file.read_bytes()[:1000])
    with pytest.raises(CLRFaceError, match="cannot be read"):
        load_identity("arcface", weights=tmp_path / "cut.pth")
