"""Write the example graphs and the blueprint, from the short descriptions below and the nodes' schemas.

    python -m tools.workflows

The same knowledge of how a saved graph maps to nodes and widgets turns a graph into the prompt that ComfyUI's API takes
(`to_prompt`). A node of ComfyUI's own that no graph used so far must first be added to core_nodes.json.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from uuid import NAMESPACE_URL, uuid5

ROOT = Path(__file__).resolve().parents[1]
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COLOR", "IMAGECOMPARE"}
DYNAMIC = "COMFY_DYNAMICCOMBO_V3"
CONTROL = {"fixed", "increment", "decrement", "randomize"}
NOTE = "MarkdownNote"
COLUMN, ROW, WIDTH = 420, 90, 330
TITLE, SLOT = 30, 20
"""Height of a node's title, which lies above its position, and of a row of its inputs and outputs, in the front-end."""
GAP, LANE = 22, 18
"""How far from a node a wire turns, and how far apart wires run beside each other."""
STEEP = 120
"""A wire that goes up or down by more turns into its node only there."""

Info = dict[str, Any]
"""Node id to definition, as ComfyUI's /object_info has it."""


class Slot(NamedTuple):
    """One output of a node."""

    node: int
    output: int


@dataclass
class Node:
    """A node of a graph, with what its inputs get: values, or outputs of other nodes."""

    number: int
    kind: str
    at: tuple[float, float]
    given: dict[str, Any]
    title: str | None = None

    def out(self, index: int = 0) -> Slot:
        return Slot(self.number, index)


@dataclass
class Graph:
    """What a workflow does, and its nodes.

    app: where it opens as an app, the widgets that are shown, by node and name, and the nodes whose results are.
    """

    name: str
    nodes: list[Node] = field(default_factory=list)
    app: tuple[list[tuple[Node, str]], list[Node]] | None = None

    def add(self, kind: str, at: tuple[float, float], title: str | None = None, **given: Any) -> Node:
        self.nodes.append(Node(len(self.nodes) + 1, kind, at, given, title))
        return self.nodes[-1]


def inputs_of(definition: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any], bool]]:
    """Name, type, options and whether it is a widget, of every input in the order of the front-end.

    A choice that brings further inputs along stands for its first option, with what that one brings.
    """
    return _inputs(definition["input"], "")


def _inputs(groups: dict[str, Any], before: str) -> Iterator[tuple[str, str, dict[str, Any], bool]]:
    for group in ("required", "optional"):
        for name, (kind, *rest) in groups.get(group, {}).items():
            options = rest[0] if rest else {}
            if isinstance(kind, list):
                kind, options = "COMBO", {**options, "options": kind}
            brings = {}
            if kind == DYNAMIC:
                brings = options["options"][0]["inputs"]
                kind, options = "COMBO", {**options, "options": [each["key"] for each in options["options"]]}
            yield before + name, kind, options, kind in WIDGETS and not options.get("forceInput")
            yield from _inputs(brings, f"{before}{name}.")


def widgets_of(definition: dict[str, Any]) -> list[str | None]:
    """The widgets whose values a saved graph lists, by name; None is the control after a seed, or an upload button."""
    names: list[str | None] = []
    for name, _, options, widget in inputs_of(definition):
        if widget:
            names.append(name)
            if options.get("control_after_generate") or (_uploads(options) and "widgetType" not in options):
                names.append(None)
    return names


def _uploads(options: dict[str, Any]) -> bool:
    """Whether a widget chooses among files, with a button beside it."""
    return bool(options.get("image_upload") or options.get("video_upload"))


def save(graph: Graph, info: Info) -> dict[str, Any]:
    """The graph as the front-end saves one."""
    links: list[list[Any]] = []
    nodes = [_saved(node, info, links, graph) for node in graph.nodes]
    extra: dict[str, Any] = {"ds": {"scale": 0.8, "offset": [60, 120]}, **_around(nodes, links)}
    if graph.app:
        shown, results = graph.app
        inputs = [[node.number, name] for node, name in shown]
        for node, name in shown:
            if node.title:  # an app shows no nodes: their titles tell widgets of one name apart
                widget = {"name": name, "type": "COMBO", "label": node.title, "link": None, "widget": {"name": name}}
                nodes[node.number - 1]["inputs"].append(widget)
        extra |= {"linearMode": True, "linearData": {"inputs": inputs, "outputs": [node.number for node in results]}}
    return {
        "id": str(uuid5(NAMESPACE_URL, graph.name)),
        "revision": 0,
        "last_node_id": len(nodes),
        "last_link_id": len(links),
        "nodes": _with_links(nodes, links),
        "links": links,
        "groups": [],
        "config": {},
        "extra": extra,
        "version": 0.4,
    }


Point = tuple[float, float]


def _ends(link: list[Any], nodes: dict[int, dict[str, Any]]) -> tuple[Point, Point]:
    """Where a link leaves its node, and where it arrives."""
    _, source, output, target, entry, _ = link
    (left, top), (width, _) = nodes[source]["pos"], nodes[source]["size"]
    x, y = nodes[target]["pos"]
    return (left + width, top + (output + 0.7) * SLOT), (x, y + (entry + 0.7) * SLOT)


def _around(nodes: list[dict[str, Any]], links: list[list[Any]]) -> dict[str, Any]:
    """Reroutes, as `extra` holds them, that lead wires around nodes they would run behind: above all of them.

    Wires of one output share a lane, and each leaves it before the column of its node. A wire to a node that stands
    below its own runs between the two.
    """
    by_number = {node["id"]: node for node in nodes}
    top = min(node["pos"][1] for node in nodes) - TITLE
    detours: dict[tuple[int, int], list[list[Any]]] = {}
    back = []
    for link in links:
        ends = _ends(link, by_number)
        if ends[1][0] < ends[0][0]:
            back.append(link)
        elif behind(_wire(*ends), nodes, {link[1], link[3]}):
            detours.setdefault((link[1], link[2]), []).append(link)
    reroutes: list[dict[str, Any]] = []
    extensions = []

    def turn(x: float, y: float, numbers: list[int], parent: int | None) -> int:
        entry: dict[str, Any] = {"id": len(reroutes) + 1, "pos": [round(x), round(y)], "linkIds": numbers}
        reroutes.append(entry | ({} if parent is None else {"parentId": parent}))
        return entry["id"]

    for lane, group in enumerate(detours.values()):
        y, aside = top - GAP - LANE * lane, GAP + lane * LANE // 2 % (COLUMN - WIDTH - 2 * GAP)
        every = [link[0] for link in group]
        (left, start), _ = _ends(group[0], by_number)
        last = turn(left + aside, start, every, None) if start - y > STEEP else None
        last = turn(left + aside, y, every, last)
        arriving = sorted(group, key=lambda link: _ends(link, by_number)[1])
        for x, column in itertools.groupby(arriving, key=lambda link: _ends(link, by_number)[1][0]):
            here = list(column)
            last = turn(x - aside, y, every, last)
            for link in here:
                end = _ends(link, by_number)[1][1]
                down = turn(x - aside, end, [link[0]], last) if end - y > STEEP else last
                extensions.append({"id": link[0], "parentId": down})
            every = [number for number in every if number not in {link[0] for link in here}]
    for link in back:
        (right, _), (left, entry) = _ends(link, by_number)
        y = by_number[link[3]]["pos"][1] - TITLE - GAP
        last = turn(left - GAP, y, [link[0]], turn(right + GAP, y, [link[0]], None))
        extensions.append({"id": link[0], "parentId": turn(left - GAP, entry, [link[0]], last)})
    return {"linkExtensions": extensions, "reroutes": reroutes} if reroutes else {}


def _wire(*points: Point) -> list[Point]:
    """Points along a wire as the front-end draws it: splines, level at nodes, and halving the angle at reroutes."""
    ways = [complex(*point) for point in points]
    drawn: list[Point] = []
    for number, (start, end) in enumerate(itertools.pairwise(ways)):
        bend = 0.25 * abs(end - start)
        leaving = bend if number == 0 else min(bend, 80) * _direction(*ways[number - 1 : number + 2])
        arriving = bend if number == len(ways) - 2 else min(bend, 80) * _direction(*ways[number : number + 3])
        for step in range(33):
            t = step / 32
            parts = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
            corners = start, start + leaving, end - arriving, end
            place = sum(part * corner for part, corner in zip(parts, corners, strict=True))
            drawn.append((place.real, place.imag))
    return drawn


def _direction(before: complex, here: complex, after: complex) -> complex:
    """Of a wire at a reroute, of length 1: halfway between how it comes and how it goes."""
    way = sum((step / abs(step) for step in (here - before, after - here) if step), 0j)
    return way / abs(way) if way else 1j


def wires(saved: dict[str, Any]) -> Iterator[tuple[list[Any], list[Point]]]:
    """Every link of a saved graph, and the points along its way."""
    nodes = {node["id"]: node for node in saved["nodes"]}
    reroutes = {each["id"]: each for each in saved["extra"].get("reroutes", [])}
    last = {each["id"]: each["parentId"] for each in saved["extra"].get("linkExtensions", [])}
    for link in saved["links"]:
        start, end = _ends(link, nodes)
        between: list[Point] = []
        number = last.get(link[0])
        while number is not None:
            between.insert(0, tuple(reroutes[number]["pos"]))
            number = reroutes[number].get("parentId")
        yield link, _wire(start, *between, end)


def behind(points: list[Point], nodes: list[dict[str, Any]], own: set[int]) -> set[int]:
    """The nodes behind which a wire runs; behind its own two, further than their sockets."""

    def hides(node: dict[str, Any], point: Point) -> bool:
        (left, top), (width, height) = node["pos"], node["size"]
        edge = SLOT / 2 if node["id"] in own else 0
        return left + edge < point[0] < left + width - edge and top - TITLE < point[1] < top + height

    return {node["id"] for node in nodes if any(hides(node, point) for point in points)}


def _saved(node: Node, info: Info, links: list[list[Any]], graph: Graph) -> dict[str, Any]:
    """One node as the front-end saves it; its incoming links are added to `links`."""
    position = [round(node.at[0] * COLUMN), round(node.at[1] * ROW)]
    head: dict[str, Any] = {
        "id": node.number,
        "type": node.kind,
        "pos": position,
        "flags": {},
        "order": node.number - 1,
    }
    head |= {"mode": 0} | ({"title": node.title} if node.title else {})
    if node.kind == NOTE:
        return head | {
            "size": [WIDTH, 200],
            "inputs": [],
            "outputs": [],
            "properties": {},
            "widgets_values": [node.given["text"]],
        }
    definition = info[node.kind]
    inputs: list[dict[str, Any]] = []
    for name, kind, _, widget in inputs_of(definition):
        if widget:
            assert not isinstance(node.given.get(name), Slot), f"{node.kind}.{name} is a widget here"
            continue
        source = node.given.get(name)
        if source is not None:
            sent = info[graph.nodes[source.node - 1].kind]["output"][source.output] if kind == "*" else kind
            links.append([len(links) + 1, source.node, source.output, node.number, len(inputs), sent])
        inputs.append({"name": name, "type": kind, "link": len(links) if source is not None else None})
    outputs = [
        {"name": name, "type": kind, "links": []}
        for name, kind in zip(definition["output_name"], definition["output"], strict=True)
    ]
    values = _values(node, definition)
    size = [WIDTH, max(60 + 26 * len(values) + 22 * max(len(inputs), len(outputs)), 80)]
    if node.kind == "SaveImage":
        size[1] = 340  # room for the picture that it shows
    return head | {
        "size": size,
        "inputs": inputs,
        "outputs": outputs,
        "properties": {"Node name for S&R": node.kind},
        "widgets_values": values,
    }


def _values(node: Node, definition: dict[str, Any]) -> list[Any]:
    """What the node's widgets show: as given, or the default."""
    options = {name: each for name, _, each, widget in inputs_of(definition) if widget}
    unknown = set(node.given) - {name for name, *_ in inputs_of(definition)}
    assert not unknown, f"{node.kind} has no {unknown}"
    values: list[Any] = []
    previous: dict[str, Any] = {}
    for name in widgets_of(definition):
        if name is None:
            values.append("fixed" if previous.get("control_after_generate") else "image")
            continue
        previous = options[name]
        choices = previous.get("options") or [None]
        values.append(node.given.get(name, previous.get("default", choices[0])))
    return values


def _with_links(nodes: list[dict[str, Any]], links: list[list[Any]]) -> list[dict[str, Any]]:
    by_number = {node["id"]: node for node in nodes}
    for number, source, slot, *_ in links:
        by_number[source]["outputs"][slot]["links"].append(number)
    return nodes


def to_prompt(saved: dict[str, Any], info: Info) -> dict[str, Any]:
    """A saved graph as ComfyUI's API takes it; ValueError where the graph does not fit the definitions."""
    links = {number: (source, slot, kind) for number, source, slot, _, _, kind in saved["links"]}
    kinds = {node["id"]: node["type"] for node in saved["nodes"]}
    prompt = {}
    for node in saved["nodes"]:
        if node["type"] == NOTE:
            continue
        if node["type"] not in info:
            raise ValueError(f"unknown node {node['type']}")
        definition = info[node["type"]]
        names = widgets_of(definition)
        if len(names) != len(node["widgets_values"]):
            raise ValueError(f"{node['type']} has {len(names)} widgets, the graph {len(node['widgets_values'])} values")
        values = {name: value for name, value in zip(names, node["widgets_values"], strict=True) if name is not None}
        known = {name: (kind, options) for name, kind, options, _ in inputs_of(definition)}
        for name, value in values.items():
            _check(node["type"], name, value, known[name][1])
        for entry in node["inputs"]:
            if entry["name"] not in known:
                raise ValueError(f"{node['type']} has no input {entry['name']}")
            if entry["link"] is None:
                continue
            source, slot, kind = links[entry["link"]]
            sent = info[kinds[source]]["output"][slot]
            if sent != kind or known[entry["name"]][0] not in (kind, "*"):
                raise ValueError(f"{kinds[source]} sends {sent} to {node['type']}.{entry['name']}")
            values[entry["name"]] = [str(source), slot]
        missing = set(definition["input"].get("required", {})) - set(values)
        if missing:
            raise ValueError(f"{node['type']} lacks {sorted(missing)}")
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": values}
    return prompt


def _check(node: str, name: str, value: Any, options: dict[str, Any]) -> None:
    """ValueError for a value that the widget would not offer. A choice of files is whatever files are there."""
    choices = options.get("options")
    if choices and not _uploads(options) and value not in choices:
        raise ValueError(f"{node}.{name} offers {choices}, the graph has {value!r}")
    if "min" in options and not options["min"] <= value <= options["max"]:
        raise ValueError(f"{node}.{name} takes {options['min']} to {options['max']}, the graph has {value!r}")


PHOTO = "grace-hopper.jpg"
HINT = "The sample pictures are included, and are put into ComfyUI's folder *input* when this graph is opened."


def one_node() -> Graph:
    graph = Graph("1 Restore faces")
    graph.add(NOTE, (0, 5.5), text=f"**Restore faces**: every face of the photo, in one node.\n\n{HINT}")
    photo = graph.add("LoadImage", (0, 0), image=PHOTO)
    restored = graph.add("CLRFaceRestoreFaces", (1, 0), image=photo.out())
    graph.add("SaveImage", (2, 0), images=restored.out(), filename_prefix="clrface/restored")
    return graph


def app_of(graph: Graph, widgets: dict[str, list[str]]) -> Graph:
    """The same graph as an app: these widgets of each kind of node, and its results. Its number gets an "a"."""
    shown = [
        (node, name) for kind, names in widgets.items() for node in graph.nodes if node.kind == kind for name in names
    ]
    results = [node for node in graph.nodes if node.kind in ("SaveImage", "PreviewAny")]
    number, name = graph.name.split(maxsplit=1)
    return replace(graph, name=f"{number}a {name} (app)", app=(shown, results))


def one_node_app() -> Graph:
    settings = ["fidelity", "faces", "region", "seed"]
    return app_of(one_node(), {"LoadImage": ["image"], "CLRFaceRestoreFaces": settings})


def stages(graph: Graph, photo: Slot, column: float = 1, **select: Any) -> tuple[Node, Node, Node]:
    """Detect (and select), start and load-model nodes, in the columns from 1 on."""
    model = graph.add("CLRFaceLoadModel", (0, 0))
    cut = graph.add("CLRFaceDetectAlign", (column, 0), image=photo)
    if select:
        cut = graph.add("CLRFaceSelectFaces", (column + 1, 0), alignment=cut.out(1), **select)
        column += 1
    start = graph.add("CLRFaceIRNInit", (column + 1, 0), model=model.out(), crops=cut.out(), alignment=cut.out(1))
    return cut, start, model


def ending(
    graph: Graph, photo: Slot, cut: Node, model: Node, start: Node, refined: Node, column: float, name: str
) -> None:
    """Decode, paste and save nodes, from `column` on."""
    decoded = graph.add("CLRFaceVQDecode", (column, 0), model=model.out(), latent=refined.out(), estimate=start.out(1))
    pasted = graph.add("CLRFaceFacePaste", (column, 3), image=photo, crops=decoded.out(), alignment=cut.out(1))
    graph.add("SaveImage", (column + 1, 0), images=pasted.out(), filename_prefix=f"clrface/{name}")


def modular() -> Graph:
    graph = Graph("2 Every stage a node")
    graph.add(NOTE, (0, 8), text=f"**Every stage a node**: the same pixels as the one node gives.\n\n{HINT}")
    photo = graph.add("LoadImage", (0, 2.5), image=PHOTO)
    cut, start, model = stages(graph, photo.out())
    mask = graph.add("CLRFaceIdentityMask", (2, 3), model=model.out(), latent=start.out())
    refined = graph.add(
        "CLRFaceLatentRefineSampler", (3, 0), model=model.out(), latent=start.out(), mask=mask.out(), guidance_scale=1.0
    )
    ending(graph, photo.out(), cut, model, start, refined, 4, "modular")
    return graph


def upscale() -> Graph:
    graph = Graph("3 Restore, upscale, paste")
    graph.add(
        NOTE, (0, 8),
        text="**Restore, upscale, paste**: photo and faces are enlarged apart, and pasted at the larger size.\n\n"
        f"Any upscaler fits in their place.\n\n{HINT}",
    )  # fmt: skip
    photo = graph.add("LoadImage", (0, 2.5), image=PHOTO)
    cut, start, model = stages(graph, photo.out())
    refined = graph.add("CLRFaceLatentRefineSampler", (3, 0), model=model.out(), latent=start.out())
    decoded = graph.add("CLRFaceVQDecode", (4, 0), model=model.out(), latent=refined.out(), estimate=start.out(1))
    faces = graph.add("ImageScaleBy", (5, 0), image=decoded.out(), upscale_method="bicubic", scale_by=2.0)
    larger = graph.add("ImageScaleBy", (5, 2.5), image=photo.out(), upscale_method="bicubic", scale_by=2.0)
    pasted = graph.add(
        "CLRFaceFacePaste", (6, 0), image=larger.out(), crops=faces.out(), alignment=cut.out(1), color_match=True
    )
    graph.add("SaveImage", (7, 0), images=pasted.out(), filename_prefix="clrface/upscaled")
    return graph


def between() -> Graph:
    graph = Graph("3a Restore between two upscalers")
    graph.add(
        NOTE, (0, 5.5),
        text="**Restore between two upscalers**: the photo is doubled, its faces restored at that size, and the whole "
        "brought to the size that is wanted. *Upscale Image (using Model)* fits instead of the first. The faces keep "
        f"what the photo shows beyond 512 px.\n\n{HINT}",
    )  # fmt: skip
    photo = graph.add("LoadImage", (0, 0), image=PHOTO)
    larger = graph.add("ImageScaleBy", (1, 0), image=photo.out(), upscale_method="lanczos", scale_by=2.0)
    restored = graph.add("CLRFaceRestoreFaces", (2, 0), image=larger.out())
    last = graph.add(
        "ImageScale", (3, 0), image=restored.out(), upscale_method="lanczos", width=0, height=1800, crop="disabled"
    )
    graph.add("SaveImage", (4, 0), images=last.out(), filename_prefix="clrface/between")
    return graph


def choose() -> Graph:
    graph = Graph("4 Choose one face")
    graph.add(
        NOTE, (0, 7),
        text="**Choose one face**: run it once, then click a face in the preview of *Detect & Align Faces*: its number "
        f"goes to *Select Faces*.\n\n{HINT}",
    )  # fmt: skip
    left = graph.add("LoadImage", (-1, 0), image="astronaut.jpg")
    right = graph.add("LoadImage", (-1, 5.5), image=PHOTO)
    group = graph.add("ImageStitch", (0, 2.8), image1=left.out(), image2=right.out())
    cut, start, model = stages(graph, group.out(), faces="1", order="left-right")
    refined = graph.add("CLRFaceLatentRefineSampler", (4, 0), model=model.out(), latent=start.out())
    ending(graph, group.out(), cut, model, start, refined, 5, "one-face")
    return graph


def paint() -> Graph:
    graph = Graph("5 Paint an identity mask")
    graph.add(
        NOTE, (0, 8),
        text="**Paint an identity mask**: run it once, then paint over the face in *Painter*: guidance stays away from "
        f"what you painted.\n\n{HINT}",
    )  # fmt: skip
    photo = graph.add("LoadImage", (0, 2.5), image="astronaut.jpg")
    cut, start, model = stages(graph, photo.out(), at_most=1)
    painted = graph.add("Painter", (3, 2.8), image=cut.out())
    kept = graph.add("InvertMask", (4, 5.5), mask=painted.out(1))
    mask = graph.add("CLRFaceIdentityMask", (4, 0), model=model.out(), latent=start.out(), mask=kept.out())
    refined = graph.add(
        "CLRFaceLatentRefineSampler", (5, 0), model=model.out(), latent=start.out(), mask=mask.out(), guidance_scale=1.5
    )
    ending(graph, photo.out(), cut, model, start, refined, 6, "painted")
    return graph


def compare() -> Graph:
    graph = Graph("6 Degrade, restore, compare")
    graph.add(
        NOTE, (0, 8),
        text="**Degrade, restore, compare**: a clean face is damaged and restored. The texts say how much of the "
        "person each has kept. The third is the clean face through the autoencoder alone: more than that no "
        f"restoration of this model can keep.\n\n{HINT}",
    )  # fmt: skip
    photo = graph.add("LoadImage", (0, 2.5), image="astronaut-clean.jpg")
    model = graph.add("CLRFaceLoadModel", (0, 0))
    cut = graph.add("CLRFaceDetectAlign", (1, 0), image=photo.out())
    worse = graph.add("CLRFaceDegradeFace", (2, 0), image=cut.out(), seed=9)
    start = graph.add("CLRFaceIRNInit", (3, 0), model=model.out(), crops=worse.out(), alignment=cut.out(1))
    refined = graph.add("CLRFaceLatentRefineSampler", (4, 0), model=model.out(), latent=start.out())
    decoded = graph.add("CLRFaceVQDecode", (5, 0), model=model.out(), latent=refined.out(), estimate=start.out(1))
    encoded = graph.add("CLRFaceVQEncode", (2, 3), model=model.out(), image=cut.out())
    known = graph.add("CLRFaceVQDecode", (3, 3), model=model.out(), latent=encoded.out())
    graph.add("ImageCompare", (7, 6.6), image_a=worse.out(), image_b=decoded.out())
    for row, (faces, title) in enumerate(
        ((worse, "Degraded and clean"), (decoded, "Restored and clean"), (known, "The autoencoder alone and clean"))
    ):
        told = graph.add("CLRFaceFaceSimilarity", (6, 2.2 * row), faces=faces.out(), reference=cut.out())
        graph.add("PreviewAny", (7, 2.2 * row), title, source=told.out(1))
    graph.add("SaveImage", (6, 6.6), images=decoded.out(), filename_prefix="clrface/compared")
    return graph


def ksampler() -> Graph:
    graph = Graph("7 Restore with KSampler")
    graph.add(
        NOTE, (0, 8),
        text="**Restore with KSampler**: ComfyUI's own sampler instead of *Latent Refine Sampler*. Any sampler and "
        "scheduler works; a denoise of 0.5 is what the bundled model was trained for, and cfg stays at 1.\n\n" + HINT,
    )  # fmt: skip
    photo = graph.add("LoadImage", (0, 2.5), image=PHOTO)
    cut, start, model = stages(graph, photo.out())
    guided = graph.add("CLRFaceIdentityGuidance", (2, 3), core_model=model.out(2))
    refined = graph.add(
        "KSampler", (3, 0), model=guided.out(), positive=start.out(2), negative=start.out(3), latent_image=start.out(),
        steps=4, cfg=1.0, sampler_name="euler", scheduler="simple", denoise=0.5,
    )  # fmt: skip
    ending(graph, photo.out(), cut, model, start, refined, 4, "ksampler")
    return graph


def custom() -> Graph:
    graph = Graph("7a Restore with SamplerCustomAdvanced")
    graph.add(
        NOTE, (0, 8),
        text="**Restore with SamplerCustomAdvanced**: noise, guider, sampler and noise levels are nodes of their own. "
        "*BasicScheduler* begins at a denoise of 0.5, which the bundled model was trained for.\n\n" + HINT,
    )  # fmt: skip
    photo = graph.add("LoadImage", (0, 2.5), image=PHOTO)
    cut, start, model = stages(graph, photo.out())
    noise = graph.add("RandomNoise", (3, 0), noise_seed=0)
    guider = graph.add("BasicGuider", (3, 1.9), model=model.out(2), conditioning=start.out(2))
    solver = graph.add("KSamplerSelect", (3, 3.5), sampler_name="euler")
    levels = graph.add("BasicScheduler", (3, 5.1), model=model.out(2), scheduler="simple", steps=4, denoise=0.5)
    refined = graph.add(
        "SamplerCustomAdvanced", (4, 0), noise=noise.out(), guider=guider.out(), sampler=solver.out(),
        sigmas=levels.out(), latent_image=start.out(),
    )  # fmt: skip
    ending(graph, photo.out(), cut, model, start, refined, 5, "custom")
    return graph


def referenced() -> Graph:
    graph = Graph("8 Restore from another photo")
    graph.add(
        NOTE, (1, 3.5),
        text="**Restore from another photo**: a sharp photo of the same person pulls the face towards that person. The "
        "text says how sure the match is. A reference makes a likeness; it is no evidence of who somebody is.\n\n"
        f"{HINT}",
    )  # fmt: skip
    photo = graph.add("LoadImage", (0, 0), "The photo", image="astronaut.jpg")
    other = graph.add("LoadImage", (0, 5.5), "Another photo of the person", image="astronaut-clean.jpg")
    known = graph.add("CLRFaceReferenceFaces", (1, 0), image=other.out())
    restored = graph.add("CLRFaceRestoreFaces", (2, 0), image=photo.out(), references=known.out())
    graph.add("SaveImage", (3, 0), images=restored.out(), filename_prefix="clrface/referenced")
    graph.add("PreviewAny", (3, 4.5), "How sure the match is", source=restored.out(3))
    return graph


def referenced_app() -> Graph:
    settings = ["fidelity", "faces", "seed"]
    shown = {"LoadImage": ["image"], "CLRFaceReferenceFaces": ["scale"], "CLRFaceRestoreFaces": settings}
    return app_of(referenced(), shown)


def two_people() -> Graph:
    graph = Graph("8b Restore two people from a photo of each")
    graph.add(
        NOTE, (1, 7),
        text="**Restore two people from a photo of each**: all references go into one node. Which face is whose is "
        "found out, and said in the text: each face is drawn towards those that match it.\n\n" + HINT,
    )  # fmt: skip
    left = graph.add("LoadImage", (0, 0), "One person", image="astronaut.jpg")
    right = graph.add("LoadImage", (0, 5.5), "Another person", image=PHOTO)
    group = graph.add("ImageStitch", (1, 0), "The group photo", image1=left.out(), image2=right.out())
    one = graph.add("LoadImage", (-1, 0), "Another photo of the one", image="astronaut-clean.jpg")
    two = graph.add("LoadImage", (-1, 5.5), "Another photo of the other", image="grace-hopper-clean.jpg")
    both = graph.add("ImageStitch", (1, 3), "Their references", image1=one.out(), image2=two.out())
    known = graph.add("CLRFaceReferenceFaces", (2, 0), image=both.out())
    restored = graph.add("CLRFaceRestoreFaces", (3, 0), image=group.out(), references=known.out())
    graph.add("SaveImage", (4, 0), images=restored.out(), filename_prefix="clrface/two-people")
    graph.add("PreviewAny", (4, 4.5), "Who matches whom", source=restored.out(3))
    return graph


def generated() -> Graph:
    graph = Graph("1b Restore after generating")
    graph.add(
        NOTE, (0, 2.5),
        text="**Restore after generating**: small faces of a generated picture come out crooked; restored, they have "
        "eyes and teeth. Choose a checkpoint of yours in *Load Checkpoint*; any graph that ends in a picture does.",
    )  # fmt: skip
    made = graph.add("CheckpointLoaderSimple", (0, 0), ckpt_name=CHECKPOINT)
    wanted = graph.add("CLIPTextEncode", (1, 0), clip=made.out(1), text="a family at a picnic, wide shot, photograph")
    unwanted = graph.add("CLIPTextEncode", (1, 2), clip=made.out(1), text="drawing, blurry")
    empty = graph.add("EmptyLatentImage", (1, 4), width=512, height=512, batch_size=1)
    sampled = graph.add(
        "KSampler", (2, 0), model=made.out(), positive=wanted.out(), negative=unwanted.out(), latent_image=empty.out(),
        seed=1, steps=20, cfg=7.0, sampler_name="euler", scheduler="normal", denoise=1.0,
    )  # fmt: skip
    picture = graph.add("VAEDecode", (3, 0), samples=sampled.out(), vae=made.out(2))
    restored = graph.add("CLRFaceRestoreFaces", (4, 0), image=picture.out(), strength="1")
    graph.add("SaveImage", (5, 0), images=restored.out(), filename_prefix="clrface/generated")
    return graph


def video() -> Graph:
    graph = Graph("9 Restore a video")
    graph.add(
        NOTE, (0, 4.5),
        text="**Restore a video**: faces are followed from picture to picture and restored without flicker. The text "
        "says where they are: edit it and put it into *tracks* to choose or correct.\n\nThe sample video comes "
        "along, and is put into ComfyUI's folder *input* when this graph is opened.",
    )  # fmt: skip
    source = graph.add("LoadVideo", (0, 0), file="two-faces.mp4")
    restored = graph.add("CLRFaceRestoreVideo", (1, 0), video=source.out())
    graph.add("SaveVideo", (2.05, 0), video=restored.out(), filename_prefix="clrface/video")
    graph.add("PreviewAny", (2.05, 4.5), "Where the faces are", source=restored.out(1))
    return graph


CHECKPOINT = "v1-5-pruned-emaonly-fp16.safetensors"
"""The one that ComfyUI's own first graph names."""

GRAPHS = (
    one_node, one_node_app, generated, modular, upscale, between, choose, paint, compare, ksampler, custom,
    referenced, referenced_app, two_people, video,
)  # fmt: skip
"""In the order of their names."""


def blueprint(info: Info) -> dict[str, Any]:
    """The whole restoration as one block: its graph inside, the settings that matter outside."""
    graph = Graph("Restore Faces (CLR-Face stages)")
    outside = Slot(-10, 0)
    model = graph.add("CLRFaceLoadModel", (0, 4))
    cut = graph.add("CLRFaceDetectAlign", (0, 0), image=outside)
    start = graph.add("CLRFaceIRNInit", (1, 0), model=model.out(), crops=cut.out(), alignment=cut.out(1))
    mask = graph.add("CLRFaceIdentityMask", (1, 2.5), model=model.out(), latent=start.out())
    refined = graph.add("CLRFaceLatentRefineSampler", (2, 0), model=model.out(), latent=start.out(), mask=mask.out())
    decoded = graph.add("CLRFaceVQDecode", (3, 0), model=model.out(), latent=refined.out(), estimate=start.out(1))
    pasted = graph.add("CLRFaceFacePaste", (3, 2.5), image=outside, crops=decoded.out(), alignment=cut.out(1))
    links: list[list[Any]] = []
    nodes = [_saved(node, info, links, graph) for node in graph.nodes]
    ends = [("image", "IMAGE", pasted.out(0)), ("mask", "MASK", pasted.out(1)), ("count", "INT", cut.out(2))]
    for slot, (_, kind, source) in enumerate(ends):
        links.append([len(links) + 1, source.node, source.output, -20, slot, kind])
    _with_links(nodes, [link for link in links if link[1] > 0])
    name, number = graph.name, str(uuid5(NAMESPACE_URL, graph.name))
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")

    def port(label: str, kind: str, side: str, linked: list[int], at: list[int]) -> dict[str, Any]:
        return {
            "id": str(uuid5(NAMESPACE_URL, f"{name}/{side}/{label}")),
            "name": label,
            "type": kind,
            "linkIds": linked,
            "pos": at,
        }

    inside = [link[0] for link in links if link[1] == -10]
    subgraph = {
        "id": number,
        "version": 1,
        "state": {"lastGroupId": 0, "lastNodeId": len(nodes), "lastLinkId": len(links), "lastRerouteId": 0},
        "revision": 0,
        "config": {},
        "name": name,
        "description": "Finds the faces of a photo, restores them so that the person stays recognisable, pastes them.",
        "inputNode": {"id": -10, "bounding": [-200, 0, 120, 60]},
        "outputNode": {"id": -20, "bounding": [1500, 0, 120, 100]},
        "inputs": [port("image", "IMAGE", "in", inside, [-100, 20])],
        "outputs": [
            port(
                label,
                kind,
                "out",
                [link[0] for link in links if link[3] == -20 and link[4] == slot],
                [1520, 20 + 20 * slot],
            )
            for slot, (label, kind, _) in enumerate(ends)
        ],
        "widgets": [],
        "nodes": nodes,
        "groups": [],
        "links": [dict(zip(keys, link, strict=True)) for link in links],
        "extra": {},
    }
    shown = [
        ("seed", refined),
        ("steps", refined),
        ("guidance_scale", refined),
        ("color_match", pasted),
        ("blend", pasted),
    ]
    block = {
        "id": len(nodes) + 1,
        "type": number,
        "pos": [0, 0],
        "size": [300, 240],
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [{"name": "image", "type": "IMAGE", "link": None}],
        "outputs": [{"name": label, "type": kind, "links": []} for label, kind, _ in ends],
        "properties": {"proxyWidgets": [[str(node.number), widget] for widget, node in shown]},
        "widgets_values": [],
        "title": name,
    }
    return {
        "revision": 0,
        "last_node_id": block["id"],
        "last_link_id": 0,
        "nodes": [block],
        "links": [],
        "version": 0.4,
        "definitions": {"subgraphs": [subgraph]},
        "extra": {},
    }


def main() -> None:
    """Write all of them."""
    from tools.pack import load, nodes_of, object_info

    with TemporaryDirectory() as folder:
        info = object_info(nodes_of(load("clrface_pack", Path(folder))))
    for make in GRAPHS:
        graph = make()
        saved = save(graph, info)
        to_prompt(saved, info)
        (ROOT / "workflows" / f"{graph.name}.json").write_text(json.dumps(saved, indent=1) + "\n", encoding="utf-8")
    block = blueprint(info)
    (ROOT / "subgraphs" / "Restore Faces (CLR-Face).json").write_text(
        json.dumps(block, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
