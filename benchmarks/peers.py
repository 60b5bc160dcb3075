"""Other restorers with random weights: what they compute does not matter to the clock, only how much of it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from clrface_core.precision import choose_device

SIDE = 512

# Sizes of the published models, from their papers and inference scripts.
GFPGAN: dict[str, Any] = {
    "out_size": SIDE, "num_style_feat": 512, "channel_multiplier": 2, "decoder_load_path": None, "fix_decoder": False,
    "num_mlp": 8, "input_is_latent": True, "different_w": True, "narrow": 1, "sft_half": True,
}  # fmt: skip
CODEFORMER: dict[str, Any] = {
    "dim_embd": 512, "n_head": 8, "n_layers": 9, "codebook_size": 1024, "latent_size": 256,
    "connect_list": ["32", "64", "128", "256"],
}  # fmt: skip
RESTOREFORMER: dict[str, Any] = {
    "n_embed": 1024, "embed_dim": 256, "ch": 64, "out_ch": 3, "ch_mult": (1, 2, 2, 4, 4, 8), "num_res_blocks": 2,
    "attn_resolutions": (16,), "dropout": 0.0, "in_channels": 3, "resolution": SIDE, "z_channels": 256,
    "double_z": False, "enable_mid": True, "head_size": 8,
}  # fmt: skip
REALESRGAN: dict[str, Any] = {"in_nc": 3, "out_nc": 3, "num_filters": 64, "num_blocks": 23, "scale": 4}

PLACES: dict[str, tuple[str, dict[str, Any]]] = {
    "GFPGAN": ("spandrel.architectures.GFPGAN", GFPGAN),
    "CodeFormer": ("spandrel_extra_arches.architectures.CodeFormer", CODEFORMER),
    "RestoreFormer": ("spandrel.architectures.RestoreFormer", RESTOREFORMER),
    "Real-ESRGAN x4plus": ("spandrel.architectures.ESRGAN", REALESRGAN),
}
CLASSES = {"Real-ESRGAN x4plus": "ESRGAN"}
NAMES = tuple(PLACES)


def build(name: str, dtype: torch.dtype) -> tuple[nn.Module, Tensor]:
    """The network and an input for it: a face of 512 px, or the 128 px from which Real-ESRGAN makes 512."""
    module, config = PLACES[name]
    torch.manual_seed(0)
    network: nn.Module = getattr(import_module(module), CLASSES.get(name, name))(**config)
    side = SIDE // 4 if name == "Real-ESRGAN x4plus" else SIDE
    face = torch.rand(1, 3, side, side) * 2 - 1
    device = choose_device()  # where ours run
    return network.eval().requires_grad_(False).to(device, dtype), face.to(device, dtype)


def forward(name: str, dtype: torch.dtype) -> Callable[[], object]:
    """One forward pass, ready to be timed."""
    network, face = build(name, dtype)

    @torch.no_grad()
    def work() -> object:
        # CodeFormer computes some of its numbers in float32 whatever its weights are: autocast lets the two meet.
        with torch.autocast(face.device.type, dtype, enabled=dtype != torch.float32):
            return network(face)

    return work
