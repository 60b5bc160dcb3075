"""Public f=4 VQ first stages as our `VQModel`: CompVis latent-diffusion's and diffusers' safetensors files.

LDM names are ours. diffusers' `VQModel` maps to them like this (i counts blocks, n is the number of levels):

    encoder.down_blocks.i.resnets.j.*            encoder.down.i.block.j.*
    encoder.down_blocks.i.downsamplers.0.conv    encoder.down.i.downsample.conv
    decoder.up_blocks.i.resnets.j.*              decoder.up.(n-1-i).block.j.*      (LDM counts from the finest)
    decoder.up_blocks.i.upsamplers.0.conv        decoder.up.(n-1-i).upsample.conv
    *.mid_block.resnets.0 / .1                   *.mid.block_1 / .block_2
    *.mid_block.attentions.0.group_norm          *.mid.attn_1.norm
    *.mid_block.attentions.0.to_q/k/v, to_out.0  *.mid.attn_1.q/k/v, proj_out      (linear weights become 1x1)
    (older files: query/key/value, proj_attn)
    *.conv_shortcut / *.conv_norm_out            *.nin_shortcut / *.norm_out

conv_in, conv_out, quant_conv, quantize.embedding and post_quant_conv have one name everywhere. A prefix
`first_stage_model.` (a whole LDM checkpoint) is removed; training losses in the file are left out.
"""

from __future__ import annotations

import re
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..errors import CLRFaceError
from .vq import VQConfig, VQModel

_RENAMES = (
    (r"\.mid_block\.resnets\.0\.", ".mid.block_1."),
    (r"\.mid_block\.resnets\.1\.", ".mid.block_2."),
    (r"\.mid_block\.attentions\.0\.group_norm\.", ".mid.attn_1.norm."),
    (r"\.mid_block\.attentions\.0\.(?:to_q|query)\.", ".mid.attn_1.q."),
    (r"\.mid_block\.attentions\.0\.(?:to_k|key)\.", ".mid.attn_1.k."),
    (r"\.mid_block\.attentions\.0\.(?:to_v|value)\.", ".mid.attn_1.v."),
    (r"\.mid_block\.attentions\.0\.(?:to_out\.0|proj_attn)\.", ".mid.attn_1.proj_out."),
    (r"\.down_blocks\.(\d+)\.resnets\.", r".down.\1.block."),
    (r"\.down_blocks\.(\d+)\.downsamplers\.0\.", r".down.\1.downsample."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
    (r"\.conv_norm_out\.", ".norm_out."),
)


def import_vq(path: Path | str) -> VQModel:
    """Build and fill a `VQModel` from a public first stage; every hyper-parameter is read off the tensors.

    Its latents keep their own scale: call `standardise_latents` before training a refiner on them.
    Raises CLRFaceError for files that are not such a first stage (missing, superfluous or odd tensors named).
    """
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CLRFaceError(
            f"Expected a VQ first stage as .safetensors at {path}, could not read it ({error}): convert it first."
        ) from error
    renamed = to_ldm_names(state)
    model = VQModel(infer_config(renamed, path))
    wanted = model.state_dict()
    odd = sorted(wanted.keys() ^ renamed.keys())
    if odd:
        where = "lacks" if odd[0] in wanted else "also holds"
        raise CLRFaceError(
            f"Expected the tensors of a VQ first stage in {path}, but it {where} {odd[0]}: use another file."
        )
    for key, value in wanted.items():
        given = renamed[key].float()
        # diffusers keeps the attention's projections as linear layers; a 1x1 convolution has the same numbers.
        renamed[key] = given[:, :, None, None] if given.ndim == 2 and value.ndim == 4 else given
        if renamed[key].shape != value.shape:
            raise CLRFaceError(
                f"Expected {key} of shape {tuple(value.shape)} in {path}, got {tuple(given.shape)}: use another file."
            )
    model.load_state_dict(renamed)
    return model.eval()


def to_ldm_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an autoencoder under LDM's names, whichever of the two layouts they came in."""
    kept = {key.removeprefix("first_stage_model."): value for key, value in state.items()}
    roots = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.", "quantize.embedding.")
    kept = {key: value for key, value in kept.items() if key.startswith(roots)}
    ups = [int(match[1]) for match in (re.match(r"decoder\.up_blocks\.(\d+)\.", key) for key in kept) if match]
    coarsest = max(ups, default=0)

    def rename(key: str) -> str:
        for pattern, replacement in _RENAMES:
            key = re.sub(pattern, replacement, key)
        key = re.sub(r"\.up_blocks\.(\d+)\.resnets\.", lambda m: f".up.{coarsest - int(m[1])}.block.", key)
        return re.sub(r"\.up_blocks\.(\d+)\.upsamplers\.0\.", lambda m: f".up.{coarsest - int(m[1])}.upsample.", key)

    return {rename(key): value for key, value in kept.items()}


def infer_config(state: dict[str, Tensor], path: Path | str) -> VQConfig:
    """The config that LDM-named tensors imply. Attention inside the levels is not supported (f=4 has none)."""
    try:
        ch = state["encoder.conv_in.weight"].shape[0]
        levels = 1 + max(int(key.split(".")[2]) for key in state if key.startswith("encoder.down."))
        blocks = 1 + max(int(key.split(".")[4]) for key in state if key.startswith("encoder.down.0.block."))
        widths = [state[f"encoder.down.{level}.block.{blocks - 1}.conv2.weight"].shape[0] for level in range(levels)]
        n_embed, embed_dim = state["quantize.embedding.weight"].shape
        z_channels = state["encoder.conv_out.weight"].shape[0]
    except (KeyError, ValueError) as error:
        raise CLRFaceError(
            f"Expected a VQ first stage (encoder, quantize.embedding, decoder) in {path}, but {error} is not there: "
            "a plain VAE or a whole checkpoint of another model does not fit."
        ) from error
    return VQConfig(
        ch=ch, ch_mult=tuple(width // ch for width in widths), num_res_blocks=blocks, z_channels=z_channels,
        embed_dim=embed_dim, n_embed=n_embed, norm_groups=32, mid_attention="encoder.mid.attn_1.q.weight" in state,
    )  # fmt: skip
