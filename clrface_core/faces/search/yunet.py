"""YuNet, a face detector of 54 thousand parameters, as plain PyTorch with its decoding."""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ...errors import CLRFaceError

STRIDES = (8, 16, 32)
WEIGHTS = Path(__file__).resolve().parents[2] / "weights" / "yunet.safetensors"


class PointDepth(nn.Module):
    """A 1x1 convolution, then a 3x3 depthwise one, then (unless it is a head) ReLU."""

    def __init__(self, channels_in: int, channels_out: int, activate: bool = True):
        super().__init__()
        self.point = nn.Conv2d(channels_in, channels_out, 1)
        self.depth = nn.Conv2d(channels_out, channels_out, 3, padding=1, groups=channels_out)
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        x = self.depth(self.point(x))
        return F.relu(x, inplace=True) if self.activate else x


class YuNet(nn.Module):
    """Wu, Peng & Yu, "YuNet: A Tiny Millisecond-level Face Detector", 2023 (the model of OpenCV's zoo, March 2023).

    Finds upright faces of about 10 to 300 px in what it is shown. The four heads of each level (class,
    objectness, box, landmarks) are one convolution of 1 + 1 + 4 + 10 channels here.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.stage0 = PointDepth(16, 16)
        self.stage1 = nn.Sequential(PointDepth(16, 16), PointDepth(16, 32))
        self.stage2 = nn.Sequential(PointDepth(32, 32), PointDepth(32, 64))
        self.stage3 = nn.Sequential(PointDepth(64, 64), PointDepth(64, 64))
        self.stage4 = nn.Sequential(PointDepth(64, 64), PointDepth(64, 64))
        self.stage5 = nn.Sequential(PointDepth(64, 64), PointDepth(64, 64))
        self.lateral = nn.ModuleList(PointDepth(64, 64) for _ in STRIDES)
        self.heads = nn.ModuleList(PointDepth(64, 16, activate=False) for _ in STRIDES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B,3,H,W) RGB in [0,1], any size -> boxes (B,N,4) x0 y0 x1 y1, scores (B,N) in [0,1], landmarks (B,N,5,2).

        Coordinates are pixels of the picture given: pixel centres lie at whole numbers. The landmarks come
        in the order of the picture: eye at the smaller x first on an upright face, then the other, nose, mouth.
        """
        height, width = images.shape[-2:]
        # The network learnt BGR 0..255; the padding is black, right and below, and needs no mapping back.
        x = F.pad(images.flip(1) * 255, (0, -width % 32, 0, -height % 32)).contiguous(memory_format=torch.channels_last)
        levels = [decode(head(level), s) for head, level, s in zip(self.heads, self.features(x), STRIDES, strict=True)]
        boxes, scores, landmarks = (torch.cat(parts, 1) for parts in zip(*levels, strict=True))
        return boxes, scores, landmarks

    def features(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Maps of 64 channels at strides 8, 16 and 32, each with the coarser ones added in."""
        x = self.stage0(F.relu(self.stem(x), inplace=True))
        x = self.stage2(self.stage1(F.max_pool2d(x, 2)))
        fine = self.stage3(F.max_pool2d(x, 2))
        middle = self.stage4(F.max_pool2d(fine, 2))
        coarse = self.stage5(F.max_pool2d(middle, 2))
        coarse = self.lateral[2](coarse)
        middle = self.lateral[1](middle + F.interpolate(coarse, scale_factor=2.0, mode="nearest"))
        fine = self.lateral[0](fine + F.interpolate(middle, scale_factor=2.0, mode="nearest"))
        return fine, middle, coarse


def decode(head: Tensor, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    """One level's (B,16,h,w) map -> boxes (B,hw,4), scores (B,hw), landmarks (B,hw,5,2), in pixels."""
    rows, columns = head.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(rows, device=head.device), torch.arange(columns, device=head.device), indexing="ij"
    )
    cell = torch.stack([x, y], -1).reshape(1, rows * columns, 2).to(head.dtype)
    values = head.flatten(2).transpose(1, 2)
    scores = (values[..., 0].sigmoid() * values[..., 1].sigmoid()).sqrt()
    centre = (cell + values[..., 2:4]) * stride
    half = values[..., 4:6].exp() * (stride / 2)
    boxes = torch.cat([centre - half, centre + half], -1)
    landmarks = (cell.unsqueeze(2) + values[..., 6:].unflatten(-1, (5, 2))) * stride
    return boxes, scores, landmarks


def load_yunet(weights: Path | None = None) -> YuNet:
    """YuNet with the embedded weights, or those of another safetensors file of the same layout."""
    path = WEIGHTS if weights is None else Path(weights)
    if not path.is_file():
        raise CLRFaceError(f"Expected YuNet weights at {path}, found no file there: reinstall or give another path.")
    network = YuNet()
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:100]
        raise CLRFaceError(
            f"Expected YuNet weights as tools/import_yunet.py writes them, got {path} ({reason}): give another file."
        ) from error
    # This layout halves the time on a CPU.
    return network.eval().to(memory_format=torch.channels_last)
