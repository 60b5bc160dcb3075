"""The named sizes: `s` is bundled and runs anywhere, `base` is the paper's class, `tiny` is for tests.

`s-...` are `s` with one part changed, for the ablations that need weights of their own (docs/research-notes.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..errors import CLRFaceError
from ..picture import FACE_SIZE
from .irn import IRNConfig
from .mask import MaskConfig
from .refiner import RefinerConfig
from .unet import UNetConfig
from .vq import VQConfig


@dataclass(frozen=True)
class ModelConfig:
    """The four networks of one model, and the side in pixels of the aligned crops that they restore."""

    vq: VQConfig
    irn: IRNConfig
    refiner: RefinerConfig
    mask: MaskConfig
    size: int = FACE_SIZE


_S = ModelConfig(
    vq=VQConfig(ch=16, ch_mult=(1, 2, 6), num_res_blocks=1, n_embed=16384, norm_groups=0, mid_attention=False),
    irn=IRNConfig(
        UNetConfig(widths=(96, 128, 256), blocks=(2, 2, 3), attention=2, identity=128, shared=True), patch=4, reduce=2
    ),
    refiner=RefinerConfig(UNetConfig(widths=(64, 128, 256), blocks=(2, 2, 3))),
    mask=MaskConfig(maps=1),
)


def _compressing(ch_mult: tuple[int, ...], channels: int) -> ModelConfig:
    """`s` with a latent of fewer positions and more channels, as latent diffusion pairs them.

    The refiner leaves out its space-to-depth: at f = 8 it works on as many positions as that of `s`.
    """
    return ModelConfig(
        vq=replace(_S.vq, ch_mult=ch_mult, z_channels=channels, embed_dim=channels),
        irn=_S.irn,
        refiner=replace(_S.refiner, channels=channels, patch=1),
        mask=replace(_S.mask, channels=channels),
    )


CONFIGS: dict[str, ModelConfig] = {
    "s": _S,
    "base": ModelConfig(
        vq=VQConfig(),
        irn=IRNConfig(UNetConfig(widths=(128, 256, 384, 512), blocks=(2, 2, 2, 2), norm_groups=32)),
        refiner=RefinerConfig(
            UNetConfig(widths=(224, 448, 672, 896), blocks=(2, 2, 2, 2), norm_groups=32, head_channels=32)
        ),
        mask=MaskConfig(width=64, maps=1),
    ),
    "tiny": ModelConfig(
        vq=VQConfig(ch=8, ch_mult=(1, 1, 1), num_res_blocks=1, n_embed=64, norm_groups=4, mid_attention=False),
        irn=IRNConfig(
            UNetConfig(
                widths=(8, 16), blocks=(1, 1), norm_groups=4, head_channels=8, attention=2, identity=128, shared=True
            ),
            reduce=2,
        ),
        refiner=RefinerConfig(UNetConfig(widths=(8, 16), blocks=(1, 1), norm_groups=4, head_channels=16)),
        mask=MaskConfig(width=4, dilations=(1, 2), maps=1),
        size=64,
    ),
    "s-f8": _compressing((1, 2, 6, 6), 4),
    "s-f16": _compressing((1, 2, 6, 6, 6), 8),
    "s-f32": _compressing((1, 2, 6, 6, 6, 6), 16),
    "s-codebook-1024": replace(_S, vq=replace(_S.vq, n_embed=1024)),
    "s-codebook-4096": replace(_S, vq=replace(_S.vq, n_embed=4096)),
    "s-unconditional": replace(_S, refiner=replace(_S.refiner, conditional=False)),
}


def find_config(name: str) -> ModelConfig:
    """The config of this name; CLRFaceError where there is none."""
    if name not in CONFIGS:
        raise CLRFaceError(f"Expected a config name out of {', '.join(CONFIGS)}, got {name!r}: choose one of them.")
    return CONFIGS[name]
