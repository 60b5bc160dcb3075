"""Write the example graphs and the blueprint, from the short descriptions below and the nodes' schemas.

    python -m tools.workflows

The same knowledge of how a saved graph maps to nodes and widgets turns a graph into the prompt that ComfyUI's API takes
(`to_prompt`). A node of ComfyUI's own that no graph used so far must first be added to core_nodes.json.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from uuid import NAMESPACE_URL, uuid5

ROOT = Path(__file__).resolve().parents[1]
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COLOR", "IMAGECOMPARE"}
CONTROL = {"fixed", "increment", "decrement", "randomize"}
NOTE = "MarkdownNote"
COLUMN, ROW = 360, 90

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
    """What a workflow does, and its nodes."""

    name: str
    nodes: list[Node] = field(default_factory=list)

    def add(self, kind: str, at: tuple[float, float], title: str | None = None, **given: Any) -> Node:
        self.nodes.append(Node(len(self.nodes) + 1, kind, at, given, title))
        return self.nodes[-1]


def inputs_of(definition: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any], bool]]:
    """Name, type, options and whether it is a widget, of every input in the order of the front-end."""
    for group in ("required", "optional"):
        for name, (kind, *rest) in definition["input"].get(group, {}).items():
            options = rest[0] if rest else {}
            if isinstance(kind, list):
                kind, options = "COMBO", {**options, "options": kind}
            yield name, kind, options, kind in WIDGETS and not options.get("forceInput")


def widgets_of(definition: dict[str, Any]) -> list[str | None]:
    """The widgets whose values a saved graph lists, by name; None is the control after a seed, or an upload button."""
    names: list[str | None] = []
    for name, _, options, widget in inputs_of(definition):
        if widget:
            names.append(name)
            if options.get("control_after_generate") or (options.get("image_upload") and "widgetType" not in options):
                names.append(None)
    return names


def save(graph: Graph, info: Info) -> dict[str, Any]:
    """The graph as the front-end saves one."""
    links: list[list[Any]] = []
    nodes = [_saved(node, info, links, graph) for node in graph.nodes]
    return {
        "id": str(uuid5(NAMESPACE_URL, graph.name)),
        "revision": 0,
        "last_node_id": len(nodes),
        "last_link_id": len(links),
        "nodes": _with_links(nodes, links),
        "links": links,
        "groups": [],
        "config": {},
        "extra": {"ds": {"scale": 0.8, "offset": [60, 120]}},
        "version": 0.4,
    }


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
            "size": [330, 200],
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
    size = [330 if values else 240, max(60 + 26 * len(values) + 22 * max(len(inputs), len(outputs)), 80)]
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
    if choices and not options.get("image_upload") and value not in choices:
        raise ValueError(f"{node}.{name} offers {choices}, the graph has {value!r}")
    if "min" in options and not options["min"] <= value <= options["max"]:
        raise ValueError(f"{node}.{name} takes {options['min']} to {options['max']}, the graph has {value!r}")


PHOTO = "grace-hopper.jpg"
HINT = "Copy the pictures of this pack's folder *samples* into ComfyUI's folder *input*, or choose a photo of your own."


def one_node() -> Graph:
    graph = Graph("1 Restore faces")
    graph.add(NOTE, (0, 4.5), text=f"**Restore faces**: every face of the photo, in one node.\n\n{HINT}")
    photo = graph.add("LoadImage", (0, 0), image=PHOTO)
    restored = graph.add("CLRFaceRestoreFaces", (1, 0), image=photo.out())
    graph.add("SaveImage", (2.05, 0), images=restored.out(), filename_prefix="clrface/restored")
    return graph


def stages(graph: Graph, photo: Slot, row: float = 0, column: float = 1, **select: Any) -> tuple[Node, Node, Node]:
    """Detect (and select), start and load-model nodes, in the columns from 1 on."""
    model = graph.add("CLRFaceLoadModel", (0, row + 5))
    cut = graph.add("CLRFaceDetectAlign", (column, row), image=photo)
    if select:
        cut = graph.add("CLRFaceSelectFaces", (column + 1, row), alignment=cut.out(1), **select)
        column += 1
    start = graph.add("CLRFaceIRNInit", (column + 1, row), model=model.out(), crops=cut.out(), alignment=cut.out(1))
    return cut, start, model


def ending(
    graph: Graph, photo: Slot, cut: Node, model: Node, start: Node, refined: Node, column: float, name: str
) -> None:
    """Decode, paste and save nodes, from `column` on."""
    decoded = graph.add("CLRFaceVQDecode", (column, 0), model=model.out(), latent=refined.out(), estimate=start.out(1))
    pasted = graph.add("CLRFaceFacePaste", (column, 2.5), image=photo, crops=decoded.out(), alignment=cut.out(1))
    graph.add("SaveImage", (column + 1.05, 0), images=pasted.out(), filename_prefix=f"clrface/{name}")


def modular() -> Graph:
    graph = Graph("2 Every stage a node")
    graph.add(NOTE, (0, 7.5), text=f"**Every stage a node**: the same pixels as the one node gives.\n\n{HINT}")
    photo = graph.add("LoadImage", (0, 0), image=PHOTO)
    cut, start, model = stages(graph, photo.out())
    mask = graph.add("CLRFaceIdentityMask", (2, 2.5), model=model.out(), latent=start.out())
    refined = graph.add(
        "CLRFaceLatentRefineSampler", (3, 0), model=model.out(), latent=start.out(), mask=mask.out(), guidance_scale=1.0
    )
    ending(graph, photo.out(), cut, model, start, refined, 4.05, "modular")
    return graph


def upscale() -> Graph:
    graph = Graph("3 Restore, upscale, paste")
    graph.add(
        NOTE, (0, 7.5),
        text="**Restore, upscale, paste**: photo and faces are enlarged apart, and pasted at the larger size.\n\n"
        f"Any upscaler fits in their place.\n\n{HINT}",
    )  # fmt: skip
    photo = graph.add("LoadImage", (0, 0), image=PHOTO)
    cut, start, model = stages(graph, photo.out())
    refined = graph.add("CLRFaceLatentRefineSampler", (3, 0), model=model.out(), latent=start.out())
    decoded = graph.add("CLRFaceVQDecode", (4.05, 0), model=model.out(), latent=refined.out(), estimate=start.out(1))
    faces = graph.add("ImageScaleBy", (4.05, 2), image=decoded.out(), upscale_method="bicubic", scale_by=2.0)
    larger = graph.add("ImageScaleBy", (3, 5), image=photo.out(), upscale_method="bicubic", scale_by=2.0)
    pasted = graph.add(
        "CLRFaceFacePaste", (4.05, 4.5), image=larger.out(), crops=faces.out(), alignment=cut.out(1), color_match=True
    )
    graph.add("SaveImage", (5.1, 0), images=pasted.out(), filename_prefix="clrface/upscaled")
    return graph


def choose() -> Graph:
    graph = Graph("4 Choose one face")
    graph.add(
        NOTE, (0, 10.5),
        text="**Choose one face**: run it once, then click a face in the preview of *Detect & Align Faces*: its number "
        f"goes to *Select Faces*.\n\n{HINT}",
    )  # fmt: skip
    left = graph.add("LoadImage", (-1, 0), image="astronaut.jpg")
    right = graph.add("LoadImage", (-1, 4.5), image=PHOTO)
    group = graph.add("ImageStitch", (0, 0), image1=left.out(), image2=right.out())
    cut, start, model = stages(graph, group.out(), faces="1", order="left-right")
    refined = graph.add("CLRFaceLatentRefineSampler", (4, 0), model=model.out(), latent=start.out())
    ending(graph, group.out(), cut, model, start, refined, 5.05, "one-face")
    return graph


def paint() -> Graph:
    graph = Graph("5 Paint an identity mask")
    graph.add(
        NOTE, (0, 7.5),
        text="**Paint an identity mask**: run it once, then paint over the face in *Painter*: guidance stays away from "
        f"what you painted.\n\n{HINT}",
    )  # fmt: skip
    photo = graph.add("LoadImage", (0, 0), image="astronaut.jpg")
    cut, start, model = stages(graph, photo.out(), at_most=1)
    painted = graph.add("Painter", (2, 3.8), image=cut.out())
    kept = graph.add("InvertMask", (3, 3.8), mask=painted.out(1))
    mask = graph.add("CLRFaceIdentityMask", (3, 2), model=model.out(), latent=start.out(), mask=kept.out())
    refined = graph.add(
        "CLRFaceLatentRefineSampler", (4, 0), model=model.out(), latent=start.out(), mask=mask.out(), guidance_scale=1.5
    )
    ending(graph, photo.out(), cut, model, start, refined, 5.05, "painted")
    return graph


def compare() -> Graph:
    graph = Graph("6 Degrade, restore, compare")
    graph.add(
        NOTE, (0, 7.5),
        text="**Degrade, restore, compare**: a clean face is damaged and restored. The two texts say how much of the "
        f"person each has kept.\n\n{HINT} This one is *samples/clean/astronaut.jpg*, under another name.",
    )  # fmt: skip
    photo = graph.add("LoadImage", (0, 0), image="astronaut-clean.jpg")
    model = graph.add("CLRFaceLoadModel", (0, 5))
    cut = graph.add("CLRFaceDetectAlign", (1, 0), image=photo.out())
    worse = graph.add("CLRFaceDegradeFace", (2, 0), image=cut.out(), seed=9)
    start = graph.add("CLRFaceIRNInit", (2, 3), model=model.out(), crops=worse.out(), alignment=cut.out(1))
    refined = graph.add("CLRFaceLatentRefineSampler", (3, 0), model=model.out(), latent=start.out())
    decoded = graph.add("CLRFaceVQDecode", (4.05, 0), model=model.out(), latent=refined.out(), estimate=start.out(1))
    graph.add("ImageCompare", (4.05, 2.2), image_a=worse.out(), image_b=decoded.out())
    before = graph.add("CLRFaceFaceSimilarity", (5.1, 0), faces=worse.out(), reference=cut.out())
    after = graph.add("CLRFaceFaceSimilarity", (5.1, 2.2), faces=decoded.out(), reference=cut.out())
    graph.add("PreviewAny", (5.9, 0), "Degraded and clean", source=before.out(1))
    graph.add("PreviewAny", (5.9, 2.2), "Restored and clean", source=after.out(1))
    graph.add("SaveImage", (5.1, 5), images=decoded.out(), filename_prefix="clrface/compared")
    return graph


def ksampler() -> Graph:
    graph = Graph("7 Restore with KSampler")
    graph.add(
        NOTE, (0, 7.5),
        text="**Restore with KSampler**: ComfyUI's own sampler in place of *Latent Refine Sampler*. Any sampler and "
        "scheduler works; a denoise of 0.5 is what the bundled model was trained for, and cfg stays at 1.\n\n" + HINT,
    )  # fmt: skip
    photo = graph.add("LoadImage", (0, 0), image=PHOTO)
    cut, start, model = stages(graph, photo.out())
    guided = graph.add("CLRFaceIdentityGuidance", (2, 4), core_model=model.out(2))
    refined = graph.add(
        "KSampler", (3, 0), model=guided.out(), positive=start.out(2), negative=start.out(3), latent_image=start.out(),
        steps=4, cfg=1.0, sampler_name="euler", scheduler="simple", denoise=0.5,
    )  # fmt: skip
    ending(graph, photo.out(), cut, model, start, refined, 4.05, "ksampler")
    return graph


def referenced() -> Graph:
    graph = Graph("8 Restore from another photo")
    graph.add(
        NOTE, (0, 10),
        text="**Restore from another photo**: a sharp photo of the same person pulls the face towards that person. The "
        "text says how sure the match is. A reference makes a likeness; it is no evidence of who somebody is.\n\n"
        f"{HINT} The second one is *samples/clean/astronaut.jpg*, under another name.",
    )  # fmt: skip
    photo = graph.add("LoadImage", (0, 0), "The photo", image="astronaut.jpg")
    other = graph.add("LoadImage", (0, 5), "Another photo of the person", image="astronaut-clean.jpg")
    known = graph.add("CLRFaceReferenceFaces", (1, 5), image=other.out())
    restored = graph.add("CLRFaceRestoreFaces", (2, 0), image=photo.out(), references=known.out())
    graph.add("SaveImage", (3.05, 0), images=restored.out(), filename_prefix="clrface/referenced")
    graph.add("PreviewAny", (3.05, 4.5), "How sure the match is", source=restored.out(3))
    return graph


GRAPHS = (one_node, modular, upscale, choose, paint, compare, ksampler, referenced)


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
