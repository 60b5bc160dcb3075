"""Every example graph fits the nodes, has its thumbnail, and is what the tool writes."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
GRAPHS = sorted((ROOT / "workflows").glob("*.json"), key=lambda path: path.stem)


@pytest.fixture(scope="module")
def info(tools: Callable[[str], ModuleType], nodes: dict[str, Any]) -> dict[str, Any]:
    """Our nodes as they are, and those of ComfyUI that the graphs use."""
    return tools("pack").object_info(nodes)


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.stem)
def test_a_graph_fits_the_nodes(path: Path, tool: ModuleType, info: dict[str, Any]) -> None:
    saved = json.loads(path.read_text())
    prompt = tool.to_prompt(saved, info)
    assert any(node["class_type"] in ("SaveImage", "SaveVideo") for node in prompt.values())
    assert {node["type"] for node in saved["nodes"]} & {name for name in info if name.startswith("CLRFace")}
    broken = json.loads(path.read_text())
    next(node for node in broken["nodes"] if node["type"].startswith("CLRFace"))["widgets_values"].append(1)
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


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.stem)
def test_no_wire_runs_behind_a_node_and_no_node_over_another(path: Path, tool: ModuleType) -> None:
    saved = json.loads(path.read_text())
    kinds = {node["id"]: node["type"] for node in saved["nodes"]}
    hidden = {
        (kinds[link[1]], kinds[link[3]], kinds[number])
        for link, points in tool.wires(saved)
        for number in tool.behind(points, saved["nodes"], {link[1], link[3]})
    }
    assert hidden == set()
    for one, other in itertools.combinations(saved["nodes"], 2):
        apart = any(
            first["pos"][axis] + first["size"][axis] + (tool.TITLE if axis else 0) <= second["pos"][axis]
            for axis in (0, 1)
            for first, second in ((one, other), (other, one))
        )
        assert apart, (one["type"], other["type"])


def test_a_wire_behind_a_node_is_seen_and_led_around_it(tool: ModuleType) -> None:
    nodes = [{"id": n, "pos": [400 * n, 0], "size": [300, 200]} for n in range(3)]
    straight = {"nodes": nodes, "links": [[1, 0, 0, 2, 0, "IMAGE"]], "extra": {}}
    [(link, points)] = tool.wires(straight)
    assert tool.behind(points, nodes, {link[1], link[3]}) == {1}
    led = straight | {"extra": tool._around(nodes, straight["links"])}
    [(link, points)] = tool.wires(led)
    assert tool.behind(points, nodes, {link[1], link[3]}) == set() and min(y for _, y in points) < -tool.TITLE


def test_a_wire_to_the_node_below_runs_between_the_two(tool: ModuleType) -> None:
    nodes = [{"id": n, "pos": [0, 400 * n], "size": [300, 200]} for n in range(2)]
    below = {"nodes": nodes, "links": [[1, 0, 0, 1, 0, "IMAGE"]], "extra": {}}
    [(_, points)] = tool.wires(below)
    assert 0 in tool.behind(points, nodes, {0, 1})
    [(_, points)] = tool.wires(below | {"extra": tool._around(nodes, below["links"])})
    assert tool.behind(points, nodes, {0, 1}) == set()


@pytest.mark.parametrize("path", [path for path in GRAPHS if path.stem.endswith("(app)")], ids=lambda path: path.stem)
def test_an_app_names_widgets_and_results_that_there_are(
    path: Path, tool: ModuleType, info: dict[str, Any], nodes: dict[str, Any]
) -> None:
    """And none that its node folds away: of such a widget, an app shows the name alone."""
    saved = json.loads(path.read_text())
    kinds = {node["id"]: node["type"] for node in saved["nodes"]}
    app = saved["extra"]["linearData"]
    assert saved["extra"]["linearMode"] is True and len(app["inputs"]) >= 3 and app["outputs"]
    for number, name in app["inputs"]:
        assert name in tool.widgets_of(info[kinds[number]]), (kinds[number], name)
        if kinds[number] in nodes:
            assert not next(each for each in nodes[kinds[number]].define_schema().inputs if each.id == name).advanced
    assert {kinds[number] for number in app["outputs"]} <= {"SaveImage", "PreviewAny"}
    number, name = path.stem.removesuffix(" (app)").split(maxsplit=1)
    plain = json.loads(path.with_stem(f"{number.removesuffix('a')} {name}").read_text())
    labels = []
    for node in saved["nodes"]:
        labels += [each["label"] for each in node["inputs"] if "label" in each]
        node["inputs"] = [each for each in node["inputs"] if "label" not in each]
    assert labels == [node["title"] for node in saved["nodes"] if "title" in node and node["type"] == "LoadImage"]
    assert plain["nodes"] == saved["nodes"] and "linearMode" not in plain["extra"]


def test_pictures_of_the_graphs_are_the_samples(part: Any) -> None:
    """Load Image and Load Video find them: they are put into ComfyUI's input folder when such a graph is opened."""
    samples = set(part("nodes.samples").SAMPLES)
    used = {
        node["widgets_values"][0]
        for path in GRAPHS
        for node in json.loads(path.read_text())["nodes"]
        if node["type"] in ("LoadImage", "LoadVideo")
    }
    assert used == samples
    script = (ROOT / "js" / "samples.js").read_text()
    assert set(re.findall(r'"([\w-]+\.(?:jpg|mp4))"', script)) == samples


def test_all_nodes_are_shown_somewhere() -> None:
    used = {node["type"] for path in GRAPHS for node in json.loads(path.read_text())["nodes"]}
    schemas = json.loads((Path(__file__).parent / "schemas.json").read_text())
    assert set(schemas) <= used
