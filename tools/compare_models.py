"""Models beside each other on the sets that decide whether one follows another: one line per set and model.

    python -m tools.compare_models --shared ../shared --model before=old.safetensors after=new.safetensors -o table.json

Every model sees the same degraded faces (seed 0). PSNR and LPIPS-VGG to the truth, the cosine of dlib's network, which
neither guides nor trains; how many faces it is lower for than for the input; texture (see
`evaluation.metrics.spectrum`); and how far the frame of 24 px at the crop's border is from the IRN's own (of 255).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from clrface_core.degrade import MILD, STANDARD, DegradeConfig, degrade
from clrface_core.diffusion.refine import Sampling
from clrface_core.evaluation.metrics.identity import DlibIdentity
from clrface_core.evaluation.metrics.spectrum import texture
from clrface_core.models.perceptual import LPIPS
from clrface_core.restorer import FaceRestorer
from clrface_core.shards import read_faces
from clrface_core.training.data import resize

FRAME = 24


@dataclass(frozen=True)
class Pair:
    """A face whose truth is known, (3,512,512) each."""

    degraded: Tensor
    truth: Tensor


def synthetic(shard: Path, prefix: str, ranges: DegradeConfig | None, limit: int) -> Iterator[Pair]:
    """The first faces of a set, degraded by seed and place; not at all without ranges."""
    faces = [face for face in read_faces([shard]) if face.set_name == prefix][:limit]
    for place, face in enumerate(faces):
        truth = resize(face.pixels().float() / 255, 512)
        yield Pair(truth if ranges is None else degrade(truth, ranges, seed=(0, place)), truth)


def real(shard: Path, limit: int) -> Iterator[Pair]:
    """Low-quality copies as found, and their sharp originals; mean and spread of each channel matched to the truth."""
    faces = {face.key: face for face in read_faces([shard])}
    for key in [key for key in sorted(faces) if key.endswith("-lq")][:limit]:
        low, truth = (resize(faces[k].pixels().float() / 255, 512) for k in (key, f"{key[:-3]}-hq"))
        (spread, mean), (low_spread, low_mean) = (torch.std_mean(x, (1, 2), keepdim=True) for x in (truth, low))
        yield Pair(((low - low_mean) / low_spread * spread + mean).clamp(0, 1), truth)


def sets(folder: Path, limit: int) -> dict[str, list[Pair]]:
    """The faces of every set, by its title."""
    val, people = folder / "val-512-000.tar", folder / "val-real-512-000.tar"
    return {
        "real people": list(synthetic(people, "r", STANDARD, limit)),
        "real people, mild": list(synthetic(people, "r", MILD, limit)),
        "real people, clean": list(synthetic(people, "r", None, limit)),
        "C": list(synthetic(val, "c", STANDARD, limit)),
        "C, mild": list(synthetic(val, "c", MILD, limit)),
        "B": list(synthetic(val, "b", STANDARD, limit)),
        "real copies": list(real(folder / "pairs-real-000.tar", limit)),
    }


class Judge:
    """Figures of pictures of one face; those of its truth are computed once."""

    def __init__(self, weights: Path) -> None:
        self.lpips, self.dlib = LPIPS.load(weights / "lpips_vgg16.safetensors"), DlibIdentity()

    @torch.no_grad()
    def __call__(self, pictures: Sequence[Tensor], truth: Tensor) -> list[dict[str, float]]:
        described, person = self.lpips.describe(truth[None]), self.dlib(truth[None])
        rows = []
        for picture in pictures:
            error = float((picture - truth).square().mean().clamp_min(1e-10))
            rows.append(
                {
                    "psnr": -10 * float(torch.log10(torch.tensor(error))),
                    "lpips": float(self.lpips.distance(self.lpips.describe(picture[None]), described)),
                    "dlib": float((self.dlib(picture[None]) * person).sum()),
                    "texture": float(texture(picture[None], truth[None])),
                }
            )
        return rows


def frame_shift(picture: Tensor, estimate: Tensor) -> float:
    """The largest channel's mean difference of two (3,S,S) in a frame of FRAME px, of 255."""
    difference = (picture - estimate) * 255
    inside = difference[:, FRAME:-FRAME, FRAME:-FRAME]
    count = difference[0].numel() - inside[0].numel()
    return float(((difference.sum((1, 2)) - inside.sum((1, 2))) / count).abs().max())


@torch.no_grad()
def restored(faces: FaceRestorer, crop: Tensor) -> tuple[Tensor, float]:
    """One face after four steps, and its frame's shift from the IRN's."""
    picture = faces.restore_crops(crop[None], Sampling(steps=4))[0]
    return picture, frame_shift(picture, faces.estimate(crop[None])[0].float().clamp(0, 1))


def compared(models: dict[str, FaceRestorer], pairs: Sequence[Pair], judge: Judge, title: str) -> dict[str, dict]:
    """Means over the faces of one set, for the input and for each model."""
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in ("input", *models)}
    for pair in tqdm(pairs, desc=title, file=sys.stderr):
        outputs = [restored(faces, pair.degraded) for faces in models.values()]
        figures = judge([pair.degraded, *(picture for picture, _ in outputs)], pair.truth)
        for name, row, shift in zip(rows, figures, [0.0, *(shift for _, shift in outputs)], strict=True):
            rows[name].append({**row, "frame": shift, "lower": float(row["dlib"] < figures[0]["dlib"] - 1e-3)})
    return {name: _summary(each) for name, each in rows.items()}


def _summary(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    means = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
    means["texture"] = float(torch.tensor([row["texture"] for row in rows]).median())
    return means | {"lower": sum(row["lower"] for row in rows), "faces": len(rows)}


def table(results: dict[str, dict[str, dict]]) -> str:
    """The figures as a Markdown table."""
    lines = ["| set | model | PSNR | LPIPS-VGG | dlib | lower than input | texture | frame |", "|---|" + "---|" * 7]
    for title, models in results.items():
        for name, r in models.items():
            lines.append(
                f"| {title} | {name} | {r['psnr']:.2f} | {r['lpips']:.4f} | {r['dlib']:.4f} | "
                f"{r['lower']:.0f} of {r['faces']} | {r['texture']:.2f} | {r['frame']:.2f} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Write the table and its JSON."""
    parser = argparse.ArgumentParser(prog="python -m tools.compare_models", description=__doc__.split("\n")[0])
    parser.add_argument("--shared", type=Path, required=True, metavar="DIR", help="with the folders faces and weights")
    parser.add_argument("--model", nargs="+", required=True, metavar="TITLE=FILE")
    parser.add_argument("--limit", type=int, default=40, metavar="N", help="faces of each set")
    parser.add_argument("--only", nargs="*", metavar="TITLE", help="these sets")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    args = parser.parse_args()
    models = {
        title: FaceRestorer.load(file, device="cpu", dtype=args.dtype, identity_net=None)
        for title, _, file in (each.partition("=") for each in args.model)
    }
    judge, results = Judge(args.shared / "weights"), {}
    for title, pairs in sets(args.shared / "faces", args.limit).items():
        if args.only is None or title in args.only:
            results[title] = compared(models, pairs, judge, title)
            args.output.write_text(json.dumps(results, indent=1))
    print(table(results))


if __name__ == "__main__":
    main()
