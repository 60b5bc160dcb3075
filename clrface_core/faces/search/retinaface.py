"""facexlib's RetinaFace networks behind our interface: its layers, our decoding, no download and no helper state."""

import hashlib
import importlib.util
import warnings
from pathlib import Path
from types import ModuleType

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from ...errors import CLRFaceError

FILES = {"mobile0.25": "detection_mobilenet0.25_Final.pth", "resnet50": "detection_Resnet50_Final.pth"}
"""facexlib's names of the weight files."""

STRIDES = (8, 16, 32)
ANCHORS = ((16, 32), (64, 128), (256, 512))
"""Sides in pixels of the square anchors at each stride."""

FINE_ANCHORS = ((10, 20), (32, 64), (128, 256))
"""Those of the authors' later "Face-Detector-1MB", whose weights have the names and shapes of facexlib's mobile0.25."""

ONE_MB = "a372f3cd5cfde12221541144d591c469cc3052ebb979edfd00a4e35fca2b49c3"
"""SHA-256 of the first convolution of Face-Detector-1MB: nothing else tells its weights from facexlib's."""

MEAN_BGR = (104.0, 117.0, 123.0)


class RetinaFace(nn.Module):
    """Deng et al., "RetinaFace: Single-stage Dense Face Localisation in the Wild", 2019, as facexlib builds it.

    network: maps BGR 0..255 less MEAN_BGR to (box offsets, class probabilities, landmark offsets) per anchor.
    sides: of the square anchors at each stride, in pixels.
    """

    mean: Tensor

    def __init__(self, network: nn.Module, sides: tuple[tuple[int, ...], ...] = ANCHORS):
        super().__init__()
        self.network = network
        self.sides = sides
        self.register_buffer("mean", torch.tensor(MEAN_BGR).reshape(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B,3,H,W) RGB in [0,1], any size -> boxes (B,N,4), scores (B,N), landmarks (B,N,5,2), in pixels."""
        height, width = images.shape[-2:]
        x = F.pad(images.flip(1) * 255 - self.mean, (0, -width % 32, 0, -height % 32))
        offsets, probabilities, points = self.network(x)
        centre, side = anchors(x.shape[-2], x.shape[-1], self.sides, x.device)
        # 0.1 and 0.2 are the "variances" of SSD (Liu et al., 2016), by which the targets were divided in training.
        middle = centre + 0.1 * side * offsets[..., :2]
        half = side / 2 * (0.2 * offsets[..., 2:]).exp()
        boxes = torch.cat([middle - half, middle + half], -1)
        landmarks = centre[:, None] + 0.1 * side[:, None] * points.unflatten(-1, (5, 2))
        return boxes, probabilities[..., 1], landmarks


def anchors(height: int, width: int, sides: tuple[tuple[int, ...], ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Centres (N,2) and sides (N,1) in pixels of the anchors in a picture whose own sides are multiples of 32."""
    centres, lengths = [], []
    for stride, sizes in zip(STRIDES, sides, strict=True):
        y = torch.arange(height // stride, device=device)
        x = torch.arange(width // stride, device=device)
        cells = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).reshape(-1, 1, 2)
        centres.append(((cells + 0.5) * stride).expand(-1, len(sizes), -1).reshape(-1, 2))
        lengths.append(torch.tensor(sizes, device=device, dtype=torch.float32).repeat(len(cells))[:, None])
    return torch.cat(centres), torch.cat(lengths)


def build(name: str) -> RetinaFace:
    """RetinaFace with random weights. name: "mobile0.25" or "resnet50". Raises CLRFaceError without facexlib."""
    network = _facexlib(name).detection.retinaface.RetinaFace
    with warnings.catch_warnings():
        # facexlib says pretrained=False (nothing is downloaded) in a way of which torchvision disapproves.
        warnings.filterwarnings("ignore", module="torchvision")
        return RetinaFace(network(name, device=torch.device("cpu")))


def _facexlib(name: str) -> ModuleType:
    try:
        import facexlib.detection.retinaface
    except ImportError as error:
        raise _without_facexlib(name, str(error)) from error
    return facexlib


def _without_facexlib(name: str, reason: str) -> CLRFaceError:
    return CLRFaceError(
        f"Expected facexlib for the detector retinaface_{name}, could not import it ({reason}): install facexlib, or "
        "choose the detector yunet."
    )


def load_retinaface(name: str, weights: Path | None = None) -> RetinaFace:
    """RetinaFace with weights from a .pth or .safetensors file, by default the one in facexlib's weights folder.

    Raises CLRFaceError where the file is missing or does not fit.
    """
    path = weights if weights is not None else default_weights(name)
    if not path.is_file():
        raise CLRFaceError(
            f"Expected the weights of retinaface_{name} at {path}, found no file there: put facexlib's {FILES[name]} "
            "in that place, name another file, or choose the detector yunet, which needs none."
        )
    detector = build(name)
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
        state = {key.removeprefix("module."): value for key, value in state.items()}
        detector.network.load_state_dict(state)
    except Exception as error:
        reason = " ".join(str(error).split())[:100]
        raise CLRFaceError(
            f"Expected facexlib's {FILES[name]} for retinaface_{name}, got {path} which does not fit ({reason}): "
            "give the right file."
        ) from error
    if fingerprint(state) == ONE_MB:
        _be_one_mb(detector)
    return detector.eval()


def fingerprint(state: dict[str, Tensor]) -> str:
    """SHA-256 of the first tensor's float32 values."""
    return hashlib.sha256(next(iter(state.values())).float().contiguous().numpy().tobytes()).hexdigest()


def _be_one_mb(detector: RetinaFace) -> None:
    """Give facexlib's network the anchors and plain ReLU with which Face-Detector-1MB was trained.

    Without this it sees faces everywhere, at 1.6 to 2 times their size.
    """
    detector.sides = FINE_ANCHORS
    for module in detector.network.modules():
        if isinstance(module, nn.LeakyReLU):
            module.negative_slope = 0.0


def default_weights(name: str) -> Path:
    """Where facexlib keeps the weights of this network; it is not imported for that. CLRFaceError without it."""
    found = importlib.util.find_spec("facexlib")
    if found is None or found.origin is None:
        raise _without_facexlib(name, "it is not installed")
    return Path(found.origin).parent / "weights" / FILES[name]
