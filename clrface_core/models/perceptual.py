"""LPIPS (Zhang et al. 2018, v0.1) from one weight file: a training loss and a metric."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import CLRFaceError

_TAPS = {"vgg": (3, 8, 15, 22, 29), "alex": (1, 4, 7, 9, 11)}  # the ReLUs that are compared


def _vgg16() -> list[nn.Module]:
    """The convolutions of VGG-16 (Simonyan & Zisserman 2014, configuration D) up to the last ReLU."""
    layers: list[nn.Module] = []
    channels = 3
    for width, repeats in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        if layers:
            layers.append(nn.MaxPool2d(2, 2))
        for _ in range(repeats):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
    return layers


def _alexnet() -> list[nn.Module]:
    """The convolutions of AlexNet (Krizhevsky 2014, one tower) up to the last ReLU."""
    return [
        nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
    ]  # fmt: skip


class LPIPS(nn.Module):
    """Learned perceptual distance, frozen. `forward(a, b)`: pictures (B,3,H,W) in [0,1] to distances (B,)."""

    shift: Tensor
    scale: Tensor

    def __init__(self, net: str = "vgg") -> None:
        super().__init__()
        self.features = nn.Sequential(*(_vgg16() if net == "vgg" else _alexnet()))
        self.taps = _TAPS[net]
        widths = [m.out_channels for m in self.features if isinstance(m, nn.Conv2d)]
        tapped = {"vgg": (1, 3, 6, 9, 12), "alex": (0, 1, 2, 3, 4)}[net]
        self.heads = nn.ParameterList(torch.ones(1, widths[i], 1, 1) for i in tapped)
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))
        self.requires_grad_(False)

    @classmethod
    def load(cls, path: Path | str, net: str = "vgg") -> LPIPS:
        """Weights from a safetensors file with torchvision's `features.N.*` and `lin0..4.weight`."""
        try:
            state = load_file(path)
        except (OSError, SafetensorError) as error:
            raise CLRFaceError(
                f"Expected LPIPS weights (safetensors) at {path}, could not read them ({error}): give the right file."
            ) from error
        named = {k.replace("lin", "heads.").replace(".weight", "") if k.startswith("lin") else k: v.float()
                 for k, v in state.items()}  # fmt: skip
        lpips = cls(net)
        missing, unexpected = lpips.load_state_dict(named, strict=False)
        missing = [key for key in missing if key not in ("shift", "scale")]
        if missing or unexpected:
            raise CLRFaceError(
                f"Expected LPIPS-{net} weights in {path}, but {(missing + unexpected)[0]} does not fit: "
                "give the file of that network."
            )
        return lpips.eval()

    def describe(self, x: Tensor) -> list[Tensor]:
        """The tapped feature maps of (B,3,H,W), each position scaled to unit length over its channels."""
        h = (x * 2 - 1 - self.shift.to(x.dtype)) / self.scale.to(x.dtype)
        found = []
        for index, layer in enumerate(self.features[: self.taps[-1] + 1]):
            h = layer(h)
            if index in self.taps:
                # Bounded below, as the root's gradient is infinite where no channel answers.
                found.append(h / (h.square().sum(1, keepdim=True).clamp_min(1e-20).sqrt() + 1e-10))
        return found

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """(B,) of what `describe` gave; a comparison with one truth need not describe it again."""
        pairs = zip(a, b, self.heads, strict=True)
        return torch.stack([((x - y).square() * head).sum(1).mean((1, 2)) for x, y, head in pairs]).sum(0)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.distance(self.describe(a), self.describe(b))
