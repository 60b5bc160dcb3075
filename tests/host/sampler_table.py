"""The table of core's samplers with our MODEL: PSNR, LPIPS and identity, by sampler, scheduler and steps.

    python tests/host/sampler_table.py COMFYUI CHECKOUT FACES WEIGHTS [COUNT [OUT.json]]

FACES is a shard or folder of clean aligned faces, of which COUNT (4) are taken, evenly; each is degraded with the
standard ranges by its number as the seed. WEIGHTS is the folder of metric weights. Identity is the cosine of dlib's
network (the evaluation extra), which guides nothing. Run it by ComfyUI's Python. Prints Markdown.
"""

import itertools
import json
import sys
from pathlib import Path

from inside import ARGUMENTS, SAMPLERS, SCHEDULERS, part, run  # first: it makes ComfyUI's modules importable  # isort: skip

import torch

STEPS = [4, 10]

FACES, WEIGHTS, *REST = ARGUMENTS
COUNT = int(REST[0]) if REST else 4

Figures = dict[str, float]


class Judge:
    """What a batch of restored faces (B,H,W,3) is worth, beside the clean ones."""

    def __init__(self, clean: torch.Tensor) -> None:
        self.clean = clean.movedim(-1, 1)
        self.lpips = part("pack.clrface_core.models.perceptual").LPIPS.load(Path(WEIGHTS) / "lpips_vgg16.safetensors")
        self.known = self.lpips.describe(self.clean)
        self.dlib = part("pack.clrface_core.evaluation.metrics.identity").DlibIdentity()
        self.people = self.dlib(self.clean)

    def __call__(self, images: torch.Tensor) -> Figures:
        faces = images.float().movedim(-1, 1)
        errors = (faces - self.clean).square().mean((1, 2, 3))
        return {
            "psnr": float((-10 * errors.log10()).mean()),
            "lpips": float(self.lpips.distance(self.lpips.describe(faces), self.known).mean()),
            "identity": float((self.dlib(faces) * self.people).sum(1).mean()),
        }


def taken() -> torch.Tensor:
    """The clean faces (B,512,512,3)."""
    stored = part("pack.clrface_core.shards").find_faces(FACES)
    chosen = stored[:: max(len(stored) // COUNT, 1)][:COUNT]
    return torch.stack([face.pixels().movedim(0, -1) for face in chosen]).float() / 255


def degraded(clean: torch.Tensor) -> torch.Tensor:
    """They as photos of bad quality show them."""
    worse = part("pack.clrface_core.degrade").degrade
    return torch.stack([worse(face.movedim(-1, 0), seed=number).movedim(0, -1) for number, face in enumerate(clean)])


def row(name: str, figures: Figures) -> str:
    return f"| {name} | {figures['psnr']:.2f} | {figures['lpips']:.3f} | {figures['identity']:.3f} |"


def main() -> None:
    clean = taken()
    crops = degraded(clean)
    judge = Judge(clean)
    bundle, _, model = run("CLRFaceLoadModel")
    latent, estimate, known, _ = run("CLRFaceIRNInit", model=bundle, crops=crops)
    found: dict[str, Figures] = {"degraded": judge(crops), "estimate": judge(estimate)}

    def decoded(refined: dict) -> torch.Tensor:
        return run("CLRFaceVQDecode", model=bundle, latent=refined, estimate=estimate)[0]

    print("| sampler, scheduler, steps | PSNR | LPIPS-VGG | identity |\n| --- | --: | --: | --: |")
    for name, figures in found.items():
        print(row(name, figures), flush=True)
    for steps in STEPS:
        name = f"Latent Refine Sampler, ddim, {steps}"
        found[name] = judge(decoded(run("CLRFaceLatentRefineSampler", model=bundle, latent=latent, steps=steps)[0]))
        print(row(name, found[name]), flush=True)
    for steps, sampler, scheduler in itertools.product(STEPS, SAMPLERS, SCHEDULERS):
        (refined,) = part("nodes").common_ksampler(
            model, 0, steps, 1.0, sampler, scheduler, known, known, latent, denoise=0.5
        )
        assert refined["samples"].isfinite().all(), (sampler, scheduler)
        name = f"{sampler}, {scheduler}, {steps}"
        found[name] = judge(decoded(refined))
        print(row(name, found[name]), flush=True)
    if len(REST) > 1:
        Path(REST[1]).write_text(json.dumps({"faces": COUNT, "figures": found}, indent=1) + "\n")


if __name__ == "__main__":
    with torch.inference_mode():
        main()
    sys.exit(0)
