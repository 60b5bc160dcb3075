"""Our pipeline as pieces of work to be measured: end to end, in its stages, and along four scales."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from clrface_core import Restorer, Sampling
from clrface_core.diffusion.refine import face_noise
from clrface_core.faces.align import align_faces
from clrface_core.faces.detect import load_detector
from clrface_core.faces.paste import paste_faces
from clrface_core.faces.select import Detection, find_faces
from clrface_core.models.bundle import build, load_bundle
from clrface_core.models.identity import load_identity
from clrface_core.photo import read_photo
from clrface_core.precision import choose_device
from clrface_core.restorer import FaceRestorer

from . import measure

SAMPLE = Path(__file__).parent.parent / "samples" / "grace-hopper.jpg"

Work = Callable[[], object]


def restorer(model: str, dtype: torch.dtype) -> Restorer:
    """The bundled model, or another size with random weights."""
    if model == "s":
        return Restorer.load(dtype=dtype)
    torch.manual_seed(0)
    device = choose_device()
    bundle = build(model).to(device, dtype).to(memory_format=torch.channels_last)
    return Restorer(FaceRestorer(bundle, load_identity(device=device)), load_detector(device=device))


def end_to_end(steps: int, guidance_scale: float, dtype: torch.dtype, model: str = "s") -> Work:
    """A photo in memory to the restored photo: detect, align, restore, paste."""
    photo = read_photo(SAMPLE)
    return partial(restorer(model, dtype).restore, photo, Sampling(steps=steps, guidance_scale=guidance_scale))


def crop(steps: int, guidance_scale: float, dtype: torch.dtype, model: str = "s") -> Work:
    """One aligned face of 512 px to the restored one: what the peers' forward pass is to be compared with."""
    sampling = Sampling(steps=steps, guidance_scale=guidance_scale)
    return partial(restorer(model, dtype).faces.restore_crops, sample_face(), sampling)


def steps(count: int, dtype: torch.dtype) -> Work:
    """One aligned face in `count` steps."""
    return crop(count, 0.0, dtype)


def sample_face() -> Tensor:
    """(1,3,512,512): the face of the sample picture."""
    rgb = read_photo(SAMPLE).rgb
    return align_faces(rgb, find_faces(rgb, load_detector(), Detection())[:1], 512)[0]


def stage_parameters(name: str) -> int:
    """Weights that take part in a stage of `stages`."""
    bundle, vq = load_bundle(), load_bundle().vq
    parts: dict[str, tuple[nn.Module | None, ...]] = {
        "detect": (load_detector().network,),
        "IRN": (bundle.irn,),
        "encode both": (vq.encoder, vq.quant_conv),
        "one refiner step": (bundle.refiner,),
        "one guidance": (vq.post_quant_conv, vq.decoder, load_identity(), bundle.mask),
        "quantise": (vq.quantize,),
        "decode": (vq.post_quant_conv, vq.decoder),
    }
    return measure.parameters(*parts.get(name, ()))


def warm_start(dtype: torch.dtype) -> Work:
    """A restoration for which everything is loaded and nothing was ever run."""
    return partial(restorer("s", dtype).restore, read_photo(SAMPLE))


def load(dtype: torch.dtype) -> Work:
    """What a first restoration waits for besides itself: all networks from their files."""
    return partial(restorer, "s", dtype)


def stages(dtype: torch.dtype) -> dict[str, Work]:
    """Each stage for one face on its own, in the order of the flow."""
    ours = restorer("s", dtype)
    nets, vq = ours.faces, ours.faces.bundle.vq
    rgb = read_photo(SAMPLE).rgb
    faces = find_faces(rgb, ours.detector, Detection())[:1]
    crops, alignment = align_faces(rgb, faces, 512)
    x_i = nets.estimate(crops)
    both = torch.cat((crops.to(x_i), x_i))
    z_d, z_i = nets.encode(both).chunk(2)
    t = torch.full((1,), nets.bundle.refiner.config.t0)
    guidance = nets.guidance(z_i, nets.mask(z_d, z_i), 1.0)
    works: dict[str, Work] = {
        "detect": lambda: find_faces(rgb, ours.detector, Detection()),
        "align": lambda: align_faces(rgb, faces, 512),
        "IRN": lambda: nets.estimate(crops),
        "encode both": lambda: nets.encode(both),
        "noise": lambda: face_noise(z_i.shape[1:], seed=0, face_id=0),
        "one refiner step": lambda: nets.denoise(z_i, z_d, z_i, t),
        "one guidance": lambda: guidance(z_i.float(), torch.ones(1)),
        "quantise": lambda: vq.quantize(z_i.float()),
        "decode": lambda: vq.decode(z_i),
        "paste": lambda: paste_faces(rgb, crops, alignment),
    }
    return {name: torch.no_grad()(work) if name != "one guidance" else work for name, work in works.items()}


ROWS, COLUMNS = 5, 8
"""Of samples in a picture of 12 megapixels."""


def faces(count: int, dtype: torch.dtype) -> Work:
    """A picture of 12 megapixels with `count` faces, up to 40, and grey where there is none. One step each."""
    sample = read_photo(SAMPLE).rgb
    _, height, width = sample.shape
    picture = sample.new_full((3, ROWS * height, COLUMNS * width), 0.5)
    for number in range(count):
        top, left = number // COLUMNS * height, number % COLUMNS * width
        picture[:, top : top + height, left : left + width] = sample
    return partial(restorer("s", dtype).restore, picture, detection=Detection(faces=range(count)))


def megapixels(size: float, dtype: torch.dtype, count: int = 1) -> Work:
    """The sample enlarged to `size` megapixels, or `count` of it tiled to that size: detection included."""
    rgb = read_photo(SAMPLE).rgb
    columns = max(1, round(count**0.5))
    rgb = rgb.repeat(1, -(-count // columns), columns)
    scale = (size * 1e6 / rgb[0].numel()) ** 0.5
    photo = functional.interpolate(rgb[None], scale_factor=scale, mode="bilinear")[0]
    return partial(restorer("s", dtype).restore, photo)


def frames(count: int, dtype: torch.dtype) -> Work:
    """`count` pictures one after the other, one face and one step each; the results are not kept."""
    photo = read_photo(SAMPLE)
    ours = restorer("s", dtype)

    def work() -> None:
        for _ in range(count):
            ours.restore(photo)

    return work
