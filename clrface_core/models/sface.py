"""SFace (Zhong et al., arXiv 2205.12010): OpenCV's face recognition in PyTorch, from int8 weights."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..errors import CLRFaceError
from .unfilled import unfilled

SFACE_FORMAT = "clrface-sface-1"

# (output channels, stride) of each depthwise-separable block: MobileNet v1 with the first stride taken out.
BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
)


class SeparableBlock(nn.Module):
    """3x3 depthwise convolution, then 1x1 convolution, each followed by a PReLU."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels_in, channels_in, 3, stride, padding=1, groups=channels_in)
        self.depthwise_act = nn.PReLU(channels_in)
        self.pointwise = nn.Conv2d(channels_in, channels_out, 1)
        self.pointwise_act = nn.PReLU(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise_act(self.depthwise(x))
        return self.pointwise_act(self.pointwise(x))


class SFace(nn.Module):
    """(B,3,112,112) RGB in 0..255 -> (B,128) embedding, its length not normalised.

    The batch normalisations of the original are folded into the convolutions and the last layer by
    tools/import_opencv_zoo.py; `gain` is what is left of the one that stands before the last layer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1)
        self.stem_act = nn.PReLU(32)
        widths = [32, *(width for width, _ in BLOCKS)]
        self.blocks = nn.Sequential(
            *(SeparableBlock(widths[i], width, stride) for i, (width, stride) in enumerate(BLOCKS))
        )
        self.gain = nn.Parameter(torch.ones(widths[-1], 1, 1))
        self.embed = nn.Linear(widths[-1] * 7 * 7, 128)

    def forward(self, x: Tensor) -> Tensor:
        # The padding of the stem is zero after this shift, so it cannot be folded into the stem's bias.
        x = (x - 127.5) / 128
        x = self.blocks(self.stem_act(self.stem(x)))
        return self.embed((x * self.gain).flatten(1))


def dequantise(values: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """Block-wise int8 to float32, ONNX's DequantizeLinear: (values - zero) * scale.

    values (O,K) int8, scale (O,N) float32, zero (O,N) int8 -> (O,K): each row is N blocks of K/N values.
    """
    rows, blocks = scale.shape
    split = values.reshape(rows, blocks, -1).float()
    return ((split - zero[..., None]) * scale[..., None]).reshape(rows, -1)


def load_sface(path: Path) -> SFace:
    """SFace in float32 from a file of our own format. CLRFaceError when `path` is not such a file."""
    stored = _read_weights(path)
    with unfilled():
        model = SFace()
    state = {}
    for name, wanted in model.state_dict().items():
        if f"{name}.int8" in stored:
            blocks = [stored.pop(f"{name}.{part}", torch.empty(0)) for part in ("int8", "scale", "zero")]
            _check_blocks(path, name, wanted.shape, *blocks)
            state[name] = dequantise(*blocks).reshape(wanted.shape)
        else:
            state[name] = stored.pop(name, torch.empty(0)).float()
        if state[name].shape != wanted.shape:
            raise _wrong_file(path, f"has no weight '{name}' of shape {tuple(wanted.shape)}")
    if stored:
        raise _wrong_file(path, f"holds '{min(stored)}', which SFace does not have")
    model.load_state_dict(state, assign=True)
    return model


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CLRFaceError(f"Expected the SFace weights at {path}, found no file there: install CLR-Face again.")
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("format") != SFACE_FORMAT:
                raise _wrong_file(path, f"is not of the format {SFACE_FORMAT}")
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (cannot be iterated)
    except (SafetensorError, OSError) as error:
        raise _wrong_file(path, f"cannot be read ({error})") from error


def _check_blocks(path: Path, name: str, shape: torch.Size, values: Tensor, scale: Tensor, zero: Tensor) -> None:
    rows, columns = shape[0], shape[1:].numel()
    blocks = scale.shape[1] if scale.ndim == 2 else 0
    fits = values.shape == (rows, columns) and scale.shape == zero.shape == (rows, blocks)
    if not fits or blocks == 0 or columns % blocks:
        raise _wrong_file(path, f"has int8 blocks of '{name}' that do not fit its shape {tuple(shape)}")


def _wrong_file(path: Path, fault: str) -> CLRFaceError:
    return CLRFaceError(f"Expected CLR-Face's SFace weights, {path} {fault}: use CLR-Face's own file.")
