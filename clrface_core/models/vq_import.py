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
from collections.abc import Iterable
from pathlib import Path

from ..errors import CLRFaceError
from .checked import config_from_json
from .file import open_tensors, read_tensor
from .unfilled import unfilled
from .vq import VQConfig, VQModel

Shape = tuple[int, ...]

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
    with open_tensors(path, "a VQ first stage") as file:
        names = to_ldm_names(file.keys())
        shapes = {key: tuple(file.get_slice(name).get_shape()) for key, name in names.items()}
        with unfilled(at_most=len(names) + 100, source=str(path)):
            model = VQModel(infer_config(shapes, path))
        state = model.state_dict()
        for odd in sorted(state.keys() ^ names.keys()):
            where = "lacks" if odd in state else "also holds"
            raise CLRFaceError(
                f"Expected the tensors of a VQ first stage in {path}, but it {where} {odd[:100]}: use another file."
            )
        for key, value in state.items():
            wanted = tuple(value.shape)
            # diffusers keeps the attention's projections as linear layers; a 1x1 convolution has the same numbers.
            flat = len(shapes[key]) == 2 and wanted[2:] == (1, 1)
            state[key] = read_tensor(file, path, names[key], wanted[:2] if flat else wanted).view(wanted)
    model.load_state_dict(state, assign=True)
    return model.eval().requires_grad_(False)


def to_ldm_names(names: Iterable[str]) -> dict[str, str]:
    """LDM's names of an autoencoder's tensors, and what the file calls them, whichever of the two layouts it has."""
    kept = {name.removeprefix("first_stage_model."): name for name in names}
    roots = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.", "quantize.embedding.")
    kept = {key: name for key, name in kept.items() if key.startswith(roots)}
    ups = (re.match(r"decoder\.up_blocks\.(\d{1,2})\.", key) for key in kept)
    coarsest = max((int(match[1]) for match in ups if match), default=0)

    def rename(key: str) -> str:
        for pattern, replacement in _RENAMES:
            key = re.sub(pattern, replacement, key)
        return re.sub(
            r"\.up_blocks\.(\d{1,2})\.(resnets|upsamplers\.0)\.",
            lambda m: f".up.{coarsest - int(m[1])}.{'block' if m[2] == 'resnets' else 'upsample'}.",
            key,
        )

    return {rename(key): name for key, name in kept.items()}


def infer_config(shapes: dict[str, Shape], path: Path | str) -> VQConfig:
    """The config that LDM-named tensors imply. Attention inside the levels is not supported (f=4 has none)."""
    try:
        ch = shapes["encoder.conv_in.weight"][0]
        levels = 1 + max(int(key.split(".")[2]) for key in shapes if key.startswith("encoder.down."))
        blocks = 1 + max(int(key.split(".")[4]) for key in shapes if key.startswith("encoder.down.0.block."))
        widths = [shapes[f"encoder.down.{level}.block.{blocks - 1}.conv2.weight"][0] for level in range(levels)]
        n_embed, embed_dim = shapes["quantize.embedding.weight"]
        z_channels = shapes["encoder.conv_out.weight"][0]
    except (KeyError, IndexError, ValueError) as error:
        raise CLRFaceError(
            f"Expected a VQ first stage (encoder, quantize.embedding, decoder) in {path}, but {str(error)[:100]} is "
            "not there: a plain VAE or a whole checkpoint of another model does not fit."
        ) from error
    implied = {
        "ch": ch, "ch_mult": [width // max(ch, 1) for width in widths], "num_res_blocks": blocks,
        "z_channels": z_channels, "embed_dim": embed_dim, "n_embed": n_embed, "norm_groups": 32,
        "mid_attention": "encoder.mid.attn_1.q.weight" in shapes,
    }  # fmt: skip
    return config_from_json(VQConfig, implied, path)
