"""Every example graph fits the nodes, has its thumbnail, and is what the tool writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
GRAPHS = sorted((ROOT / "workflows").glob("*.json"))


@pytest.fixture(scope="module")
def info(tools: Callable[[str], ModuleType], nodes: dict[str, Any]) -> dict[str, Any]:
    """Our nodes as they are, and those of ComfyUI that the graphs use."""
    return tools("pack").object_info(nodes)


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.stem)
def test_a_graph_fits_the_nodes(path: Path, tool: ModuleType, info: dict[str, Any]) -> None:
    saved = json.loads(path.read_text())
    prompt = tool.to_prompt(saved, info)
    assert any(node["class_type"] == "SaveImage" for node in prompt.values())
    assert {node["type"] for node in saved["nodes"]} & {name for name in info if name.startswith("CLRFace")}
    broken = json.loads(path.read_text())
    broken["nodes"][2]["widgets_values"].append(1)
    with pytest.raises(ValueError, match="widgets"):
        tool.to_prompt(broken, info)


def test_the_graphs_are_those_that_the_tool_writes(tool: ModuleType, info: dict[str, Any]) -> None:
    assert len(GRAPHS) >= 6
    for make, path in zip(tool.GRAPHS, GRAPHS, strict=True):
        assert path.stem == make().name
        assert json.loads(path.read_text()) == tool.save(make(), info)
    block = json.loads(next((ROOT / "subgraphs").glob("*.json")).read_text())
    assert block == tool.blueprint(info)


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.stem)
def test_a_graph_has_its_thumbnail(path: Path) -> None:
    with Image.open(path.with_suffix(".jpg")) as picture:
        assert picture.format == "JPEG" and 300 <= picture.width <= 800
    assert path.with_suffix(".jpg").stat().st_size < 120_000


def test_all_nodes_are_shown_somewhere() -> None:
    """VQ Encode is for latents of one's own, and has its place in no restoration."""
    used = {node["type"] for path in GRAPHS for node in json.loads(path.read_text())["nodes"]}
    schemas = json.loads((Path(__file__).parent / "schemas.json").read_text())
    assert set(schemas) - used == {"CLRFaceVQEncode"}
