"""Run inside ComfyUI, by test_model.py: core's own samplers with our MODEL; what was seen is printed as JSON.

python core_samplers.py COMFYUI CHECKOUT
"""

import itertools
import json

from inside import SAMPLERS, SCHEDULERS, opened, part, run  # first: it makes ComfyUI's modules importable  # isort: skip

import comfy.sample
import comfy.samplers
import latent_preview
import numpy as np
import torch
from comfy_extras import nodes_custom_sampler as custom

nodes = part("nodes")


def restored(latent):
    return VAE.decode(latent["samples"])


def far(a, b):
    return float((a - b).abs().max())


def ksampler(latent, steps=4, sampler="euler", scheduler="simple", denoise=0.5, cfg=1.0, model=None):
    (out,) = nodes.common_ksampler(
        MODEL if model is None else model, 3, steps, cfg, sampler, scheduler, KNOWN, KNOWN, latent, denoise=denoise
    )
    return out


class Noise:
    """Our own noise, as SamplerCustomAdvanced asks for it."""

    seed = 3

    def generate_noise(self, latent):
        z = latent["samples"]
        noise = part("pack.clrface_core.diffusion.refine").face_noise
        faces = [noise((3, *z.shape[2:]), seed=3, face_id=each) for each in latent["batch_index"]]
        return torch.cat((torch.stack(faces), torch.ones_like(z[:, 3:])), 1)


def equality():
    """Largest difference to our sampler, by sampler and steps."""
    seen = {}
    for steps in (1, 2, 4):
        ours = run("CLRFaceLatentRefineSampler", model=BUNDLE, latent=LATENT, steps=steps, seed=3)[0]["samples"]
        for name in ("euler", "ddim"):
            z = comfy.sample.sample(
                MODEL, Noise().generate_noise(LATENT), steps, 1.0, name, "simple", KNOWN, KNOWN, LATENT["samples"],
                denoise=0.5, seed=3,
            )  # fmt: skip
            seen[f"KSampler {name} {steps}"] = far(z, ours)
        times = torch.tensor([0.5 * (steps - i) / steps for i in range(steps)], dtype=torch.float64)
        levels = torch.cat((MODEL.get_model_object("model_sampling").sigma(times).float(), torch.zeros(1)))
        guider = custom.Guider_Basic(MODEL)
        guider.set_conds(KNOWN)
        out = custom.SamplerCustomAdvanced.execute(
            Noise(), guider, comfy.samplers.sampler_object("euler"), levels, LATENT
        )
        seen[f"SamplerCustomAdvanced euler {steps}"] = far(out.args[1]["samples"], ours)
    (guided,) = run("CLRFaceIdentityGuidance", core_model=MODEL)
    ours = run("CLRFaceLatentRefineSampler", model=BUNDLE, latent=LATENT, steps=2, seed=3, guidance_scale=1.0)
    z = comfy.sample.sample(
        guided, Noise().generate_noise(LATENT), 2, 1.0, "euler", "simple", KNOWN, KNOWN, LATENT["samples"],
        denoise=0.5, seed=3,
    )  # fmt: skip
    seen["KSampler guided"] = far(z, ours[0]["samples"])
    return seen


def latent_nodes():
    """Core's latent nodes before KSampler: how far the picture is from what it should be."""
    plain = ksampler(LATENT)
    seen = {"carried along": far(plain["samples"][:, 3:], LATENT["samples"][:, 3:])}
    flipped = ksampler(nodes.LatentFlip().flip(LATENT, "y-axis: horizontally")[0])
    seen["flip"] = float((restored(flipped).flip(2) - restored(plain)).abs().mean())
    repeated = ksampler(nodes.RepeatLatentBatch().repeat(LATENT, 2)[0])
    seen["repeat"] = far(repeated["samples"][:1], plain["samples"])
    one = nodes.LatentFromBatch().frombatch(nodes.RepeatLatentBatch().repeat(LATENT, 2)[0], 1, 1)[0]
    seen["from batch"] = far(ksampler(one)["samples"], repeated["samples"][1:])
    seen["larger"] = list(restored(ksampler(nodes.LatentUpscaleBy().upscale(LATENT, "bilinear", 1.25)[0])).shape)
    half = torch.zeros(1, 512, 512)
    half[:, :, :256] = 1
    masked = ksampler(nodes.SetLatentNoiseMask().set_mask(LATENT, half)[0])
    seen["kept by a noise mask"] = far(masked["samples"][..., 64:], LATENT["samples"][..., 64:])
    seen["changed within it"] = far(masked["samples"][..., :64], LATENT["samples"][..., :64])
    empty = nodes.EmptyLatentImage().generate(512, 512, 1)[0]
    seen["from an empty latent"] = float((restored(ksampler(empty, denoise=1.0)) - restored(plain)).abs().mean())
    advanced = nodes.KSamplerAdvanced().sample
    settings = (3, 8, 1.0, "euler", "simple", KNOWN, KNOWN)
    (whole,) = advanced(MODEL, "enable", *settings, LATENT, 4, 8, "disable")
    (first,) = advanced(MODEL, "enable", *settings, LATENT, 4, 6, "enable")
    (second,) = advanced(MODEL, "disable", *settings, first, 6, 8, "disable")
    seen["in two stages"] = far(second["samples"], whole["samples"])
    return seen


def table():
    """PSNR to the clean picture, and whether all is finite, by sampler and scheduler."""
    rows = {}
    for sampler, scheduler in itertools.product(SAMPLERS, SCHEDULERS):
        z = ksampler(LATENT, sampler=sampler, scheduler=scheduler)
        error = float((restored(z) - CLEAN).square().mean())
        rows[f"{sampler} {scheduler}"] = [bool(z["samples"].isfinite().all()), -10 * float(np.log10(error))]
    return rows


def previewed():
    """Correlation of core's preview with the picture."""
    form = MODEL.model.latent_format
    previewer = latent_preview.Latent2RGBPreviewer(
        form.latent_rgb_factors, form.latent_rgb_factors_bias, form.latent_rgb_factors_reshape
    )
    small = previewer.decode_latent_to_preview(LATENT["samples"])
    picture = ESTIMATE[0].movedim(-1, 0)[None]
    picture = torch.nn.functional.interpolate(picture, (128, 128), mode="area")[0].movedim(0, -1)
    return float(np.corrcoef(np.asarray(small).ravel(), picture.numpy().ravel())[0, 1])


with torch.inference_mode():
    BUNDLE, VAE, MODEL = run("CLRFaceLoadModel")

    photo, clean = opened("grace-hopper.jpg"), opened("clean/grace-hopper.jpg")
    crops, alignment, *_ = run("CLRFaceDetectAlign", image=photo)
    CLEAN = (
        part("pack.clrface_core.faces.align")
        .align_faces(clean[0].movedim(-1, 0), [face for face in alignment.faces])[0]
        .movedim(1, -1)
    )
    LATENT, ESTIMATE, KNOWN, _ = run("CLRFaceIRNInit", model=BUNDLE, crops=crops, alignment=alignment)
    print(json.dumps({
        "equality": equality(), "latent nodes": latent_nodes(), "table": table(), "preview": previewed(),
        "estimate": -10 * float(np.log10(float((ESTIMATE - CLEAN).square().mean()))),
    }))  # fmt: skip
