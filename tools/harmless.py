"""First do no harm, measured: what becomes of clean faces, and of faces that are restored again and again.

`python -m tools.harmless SHARD --count 100`: undegraded aligned faces go through the whole flow as photos, at its
defaults; PSNR and identity (SFace's cosine) of each result against its input. Then --degraded of them, degraded, are
restored --passes times; PSNR of each pass against the truth. Prints two tables, and the worst faces by name.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor

from clrface_core import Restorer
from clrface_core.degrade import PRESETS, degrade
from clrface_core.models.identity import identity_similarity
from clrface_core.shards import StoredFace, read_faces


def psnr(picture: Tensor, truth: Tensor) -> float:
    """In dB, as 8-bit values would give it; infinite where nothing differs."""
    steps = [each.mul(255).round() for each in (picture, truth)]
    error = float((steps[0] - steps[1]).square().mean())
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def clean_faces(restorer: Restorer, faces: list[StoredFace]) -> None:
    """The table of undegraded faces."""
    found: list[tuple[float, float, int, str, float]] = []
    network = restorer.faces.identity_net
    assert network is not None
    for face in faces:
        truth = face.pixels() / 255
        result = restorer.restore(truth)
        quality = psnr(result.image, truth)
        cosine = 1.0
        if quality < math.inf:
            with torch.no_grad():
                cosine = float(identity_similarity(network(result.image[None]), network(truth[None])))
        found.append((quality, cosine, len(result.chosen), face.key, max(result.severities, default=0.0)))
    qualities, cosines = sorted(each[0] for each in found), sorted(each[1] for each in found)
    print("| undegraded faces | with a face found | not changed at all | PSNR, least | PSNR 38 dB or more |", end="")
    print(" cosine, least | cosine 0.97 or more |\n| --- | --- | --- | --- | --- | --- | --- |")
    same = sum(quality == math.inf for quality in qualities)
    good, kept = sum(each >= 38 for each in qualities), sum(each >= 0.97 for each in cosines)
    seen = sum(count > 0 for _, _, count, *_ in found)
    print(f"| {len(found)} | {seen} | {same} | {qualities[0]:.2f} | {good} | {cosines[0]:.4f} | {kept} |\n")
    for quality, cosine, _, key, severity in sorted(found)[:12]:
        if quality < math.inf:
            print(f"{key}: PSNR {quality:.2f} dB, cosine {cosine:.4f}, severity {severity:.3f}")


def passes(restorer: Restorer, faces: list[StoredFace], count: int, preset: str) -> None:
    """The table of faces that are restored again and again."""
    runs: list[list[float]] = []
    for number, face in enumerate(faces):
        truth = face.pixels() / 255
        picture, run = degrade(truth, PRESETS[preset], seed=(number,)), []
        run.append(psnr(picture, truth))
        for _ in range(count):
            picture = restorer.restore(picture).image.mul(255).round() / 255  # as a PNG file holds it
            run.append(psnr(picture, truth))
        runs.append(run)
    means = [sum(run[at] for run in runs) / len(runs) for at in range(count + 1)]
    lost = [run[1] - run[count] for run in runs]
    print(f"\n| {len(runs)} faces, {preset} range | degraded | {' | '.join(f'pass {n + 1}' for n in range(count))} |")
    print(f"| --- |{' --- |' * (count + 1)}\n| PSNR, mean | {' | '.join(f'{mean:.2f}' for mean in means)} |\n")
    print(f"Lost from pass 1 to pass {count}: {sum(lost) / len(lost):.3f} dB on average, {max(lost):.3f} dB at most.")


def main() -> None:
    """Both tables on standard output."""
    parser = argparse.ArgumentParser(prog="python -m tools.harmless", description=__doc__, allow_abbrev=False)
    parser.add_argument("faces", type=Path, help="a shard or folder of undegraded aligned faces")
    parser.add_argument("--count", type=int, help="undegraded faces, the first (all)")
    parser.add_argument("--degraded", type=int, default=20, help="faces to degrade and restore again and again (20)")
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--preset", choices=PRESETS, default="standard", help="of the degradation (standard)")
    args = parser.parse_args()
    faces = list(read_faces(args.faces))
    restorer = Restorer.load()
    if args.count != 0:
        clean_faces(restorer, faces[: args.count])
    if args.degraded:
        passes(restorer, faces[: args.degraded], args.passes, args.preset)


if __name__ == "__main__":
    main()
