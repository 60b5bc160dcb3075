"""`clrface import-vq`: a public VQ first stage as the first stage of a training run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from . import options

FACES, SIDE = 16, 128
"""Crops that the latents' scale is measured on, and their side in pixels."""


def add_parser(commands: Any) -> None:
    """Declare the sub-command."""
    parser = commands.add_parser(
        "import-vq", help="take a public VQ autoencoder as the first stage of a training run", allow_abbrev=False,
        description="Write DIR/vq.safetensors from a first stage of CompVis latent-diffusion or diffusers (VQModel), "
        "say vq-f4, with its latents brought to mean 0 and variance 1 on some faces: `clrface train` starts from it.",
    )  # fmt: skip
    parser.set_defaults(run=run)
    parser.add_argument("file", type=Path, metavar="FILE", help="the first stage, or a whole checkpoint (.safetensors)")
    parser.add_argument("--run", dest="folder", required=True, type=Path, metavar="DIR", help="the run folder")
    parser.add_argument(
        "--data", nargs="+", required=True, type=options.path, metavar="SHARD",
        help="tar shards of aligned faces, which give the latents' scale",
    )  # fmt: skip
    options.add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Write the network."""
    import torch

    from ..errors import CLRFaceError
    from ..models.vq import scale_of, standardise_latents
    from ..models.vq_import import import_vq
    from ..precision import choose_device
    from ..training.data import Augmentation, Crops, FaceShards
    from ..training.parts import Parts

    destination = args.folder / "vq.safetensors"
    if destination.exists():
        raise CLRFaceError(f"Expected a run without a first stage, but {destination} is there: choose another --run.")
    device = choose_device(args.device)
    vq = import_vq(args.file).to(device)
    shards = FaceShards(args.data)
    crops = Crops(shards, dict.fromkeys(shards.sets, 1.0), FACES, 0, Augmentation(), side=SIDE)[0]["clean"]
    with torch.no_grad():
        mean, std = scale_of(vq.encode(crops.to(device)))
    standardise_latents(vq, mean, std)
    notes = {"stage": "vq", "imported": args.file.name, "mean": mean.tolist(), "std": std}
    Parts({"vq": vq}, "imported", notes).save(destination)
    print(f"{destination} written: latents of {len(mean)} channels at 1/{vq.config.compression} of the side")
    return 0
