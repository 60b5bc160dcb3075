"""The real front-end in Chromium: templates, help, views, and faces picked by click, in both renderers.

Needs playwright for Python (the `browser` extra), and a Chromium: Debian's, or the one that $CHROMIUM names.
`--screenshots=FOLDER` keeps what was seen.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
PATIENCE = 180_000
"""Milliseconds: a busy machine of two cores takes its time."""


@pytest.fixture(scope="module")
def browser(host: Any) -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: see the browser extra")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        pytest.skip("no Chromium on this machine: install one, or name it in $CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        browser.close()


class Front:
    """A page with the front-end, and what a test does on it."""

    def __init__(self, browser: Any, host: Any, folder: Path | None, vue: bool, language: str) -> None:
        for name, value in {
            "Comfy.TutorialCompleted": True,
            "Comfy.OnboardingCoachmarks.Seen": ["appMode", "firstRun"],
            "Comfy.VueNodes.Enabled": vue,
            "Comfy.Locale": language,
            "Comfy.Workflow.Persist": False,
            "LiteGraph.Canvas.MaximumFps": 10,  # drawn without a GPU, the canvas takes the cores from the server
        }.items():
            host.post(f"/settings/{name}", value)
        self.folder, self.vue, self.language = folder, vue, language
        self.errors: list[str] = []
        self.page = browser.new_page(viewport={"width": 1600, "height": 1000})
        self.page.set_default_timeout(PATIENCE)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._heard)
        self.page.goto(f"http://{host.address}/", wait_until="domcontentloaded")
        self.wait()

    def wait(self) -> None:
        """Until the front-end has started, and shows ComfyUI's own first graph."""
        self.page.wait_for_function("window.app?.extensionManager && document.querySelector('canvas')")
        self.page.wait_for_function("!!LiteGraph.registered_node_types['CLRFaceRestoreFaces']")
        self.page.wait_for_function("app.graph.nodes.length > 0")  # ComfyUI's own first graph

    def _heard(self, message: Any) -> None:
        """An error in the console. Files of the user's that are not there yet are asked for and answered by 404."""
        address = message.location.get("url", "")
        if "accessed before initialization" in message.text:  # by `wait`, which asks for the graph until it is there
            return
        if message.type == "error" and "/userdata" not in address and "user.css" not in address:
            self.errors.append(f"{message.text} ({address})")

    def open_template(self, name: str, drawn: bool = True) -> None:
        """Through the template browser, by click. drawn: as a graph, and not as an app."""
        page = self.page
        page.keyboard.press("Escape")
        page.evaluate("app.extensionManager.command.execute('Comfy.BrowseTemplates')")
        page.get_by_text("clr-face", exact=True).first.click()
        thumbnails = "[...document.querySelectorAll('[role=dialog] img')].filter(i => i.naturalWidth >= 512).length"
        page.wait_for_function(f"{thumbnails} >= 8")  # the front-end loads those that are in sight
        self.shot("templates")
        assert not [error for error in self.errors if "clr" in error.lower()]
        self.errors.clear()  # ComfyUI's first graph asks for models, which nobody can fetch here
        page.get_by_text(name, exact=True).first.click()
        page.wait_for_function("app.graph.nodes.some(node => node.comfyClass?.startsWith('CLRFace'))")
        assert not page.evaluate("app.graph.nodes.some(node => node.has_errors)")
        if not drawn:
            return
        count = page.locator("[data-node-id]").count()
        nodes = page.evaluate("app.graph.nodes.length")
        assert count >= nodes if self.vue else count == 0, f"{count} of {nodes} nodes are elements of the page"

    def run(self) -> None:
        """By the button, until the graph has run."""
        self.page.evaluate(
            """() => {
                window.clrfaceEnd = null;
                for (const end of ["execution_success", "execution_error", "execution_interrupted"])
                    app.api.addEventListener(end, () => { window.clrfaceEnd ??= end; }, { once: true });
            }"""
        )
        self.page.get_by_test_id("queue-button").first.click()
        self.page.wait_for_function("window.clrfaceEnd")
        assert self.page.evaluate("window.clrfaceEnd") == "execution_success"

    def show(self, kind: str, scale: float = 1.0) -> None:
        """Bring a node of the open graph into the middle, at full size or reduced; a tall one as a whole."""
        self.page.evaluate(
            """([kind, scale]) => {
                const node = app.canvas.graph.nodes.find(node => node.comfyClass === kind);
                scale = Math.min(scale, 800 / node.size[1]);
                app.canvas.ds.scale = scale;
                app.canvas.ds.offset[0] = 500 / scale - node.pos[0];
                app.canvas.ds.offset[1] = 150 / scale - node.pos[1];
                app.canvas.setDirty(true, true);
            }""",
            [kind, scale],
        )
        self.page.wait_for_timeout(1000)

    def shot(self, name: str) -> None:
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            kind = "vue" if self.vue else "classic"
            self.page.screenshot(path=self.folder / f"{kind}-{self.language}-{name}.png")


@pytest.fixture(params=["classic-en", "vue-en"])
def front(request: pytest.FixtureRequest, browser: Any, host: Any) -> Iterator[Front]:
    renderer, language = request.param.split("-")
    front = Front(browser, host, request.config.getoption("--screenshots"), renderer == "vue", language)
    yield front
    front.page.close()


def test_a_template_runs_and_a_face_is_picked(front: Front) -> None:
    page = front.page
    front.open_template("4 Choose one face")
    front.shot("graph")
    front.run()
    front.show("CLRFaceDetectAlign")
    faces = page.locator(".clrface-face")
    faces.first.wait_for()
    assert faces.count() == 2
    numbers = "app.graph.nodes.find(n => n.comfyClass === 'CLRFaceSelectFaces').widgets.find(w => w.name === 'faces')"
    assert page.evaluate(f"{numbers}.value") == "1"
    assert [faces.nth(i).get_attribute("aria-pressed") for i in range(2)] == ["false", "true"]
    front.shot("found")
    faces.nth(0).click()
    assert page.evaluate(f"{numbers}.value") == "0,1"
    faces.nth(1).click()
    assert page.evaluate(f"{numbers}.value") == "0"
    page.wait_for_timeout(500)
    front.shot("picked")
    lies_over_its_face(front)
    fits_its_node(front, "CLRFaceDetectAlign", ".clrface-picker .clrface-bar")
    page.evaluate("app.canvas.selectNode(app.graph.nodes.find(n => n.comfyClass === 'CLRFaceDetectAlign'))")
    page.wait_for_timeout(500)
    picture = page.locator(".clrface-picker img").bounding_box()
    assert picture["width"] > 0.85 * page.evaluate(
        "app.graph.nodes.find(n => n.comfyClass === 'CLRFaceDetectAlign').size[0] * app.canvas.ds.scale"
    )
    front.shot("selected")
    prompt = json.loads(page.evaluate("app.graphToPrompt().then(p => JSON.stringify(p.output))"))
    sent = {node["class_type"]: node["inputs"] for node in prompt.values()}
    assert sent["CLRFaceSelectFaces"]["faces"] == "0" and "clrface_view" not in sent["CLRFaceDetectAlign"]
    saved = json.loads(page.evaluate("JSON.stringify(app.graph.serialize())"))
    assert len(next(n for n in saved["nodes"] if n["type"] == "CLRFaceDetectAlign")["widgets_values"]) == 5
    front.run()
    assert front.errors == []


def fits_its_node(front: Front, kind: str, view: str) -> None:
    """What the view shows lies within the node's frame."""
    if front.vue:
        number = front.page.evaluate(f"app.graph.nodes.find(n => n.comfyClass === '{kind}').id")
        frame = front.page.locator(f"[data-node-id='{number}']").first.bounding_box()
    else:
        x, y, width, height = front.page.evaluate(
            """kind => {
                const node = app.graph.nodes.find(n => n.comfyClass === kind), { scale, offset } = app.canvas.ds;
                const left = (node.pos[0] + offset[0]) * scale, top = (node.pos[1] + offset[1]) * scale;
                const canvas = app.canvas.canvas.getBoundingClientRect();
                return [canvas.x + left, canvas.y + top, node.size[0] * scale, node.size[1] * scale];
            }""",
            kind,
        )
        frame = {"x": x, "y": y, "width": width, "height": height}
    box = front.page.locator(view).first.bounding_box()
    assert frame["x"] <= box["x"] and box["x"] + box["width"] <= frame["x"] + frame["width"]
    assert frame["y"] <= box["y"] and box["y"] + box["height"] <= frame["y"] + frame["height"]


def lies_over_its_face(front: Front) -> None:
    """The buttons lie where the boxes of the preview are drawn, at whatever size the picture is shown."""
    image = front.page.locator(".clrface-picker img").bounding_box()
    button = front.page.locator(".clrface-face").nth(0).bounding_box()
    found = "Object.values(app.nodeOutputs).find(output => output.clrface_faces)"
    (left, top, right, _), (width, height) = front.page.evaluate(
        f"(output => [output.clrface_faces[0][0], output.clrface_size])({found})"
    )
    assert image["width"] > 200 and image["width"] / image["height"] == pytest.approx(width / height, rel=0.02)
    assert button["x"] == pytest.approx(image["x"] + left / width * image["width"], abs=3)
    assert button["y"] == pytest.approx(image["y"] + top / height * image["height"], abs=3)
    assert button["width"] == pytest.approx((right - left) / width * image["width"], abs=4)


@pytest.mark.parametrize("front", ["classic-en", "vue-en", "vue-zh", "classic-ja"], indirect=True)
def test_before_and_after(front: Front) -> None:
    page = front.page
    front.open_template("1 Restore faces")
    front.run()
    front.show("CLRFaceRestoreFaces")
    page.wait_for_function("[...document.querySelectorAll('.clrface-compare img')].every(i => i.naturalWidth > 100)")
    before, after = (page.locator(".clrface-compare img").nth(i).bounding_box() for i in range(2))
    assert before == pytest.approx(after, abs=0.1) and before["width"] > 150  # one over the other
    box = page.locator(".clrface-range").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] / 2)
    page.wait_for_timeout(300)
    style = page.locator(".clrface-compare .clrface-frame").get_attribute("style")
    assert float(style.split("--clrface-cut:")[1].split("%")[0]) == pytest.approx(25, abs=3)
    words = {"en": ["Before", "After"], "zh": ["修复前", "修复后"], "ja": ["復元前", "復元後"]}
    assert page.locator(".clrface-label").all_inner_texts() == words[front.language]
    front.shot("compared")
    fits_its_node(front, "CLRFaceRestoreFaces", ".clrface-compare .clrface-frame")
    assert front.errors == []


@pytest.mark.parametrize(
    ("name", "sample", "settings"),
    [
        ("1a Restore faces (app)", "grace-hopper.jpg", ("fidelity", "faces", "region", "seed")),
        (
            "8a Restore from another photo (app)",
            "astronaut-clean.jpg",
            ("The photo", "Another photo of the person", "scale", "fidelity", "faces", "seed"),
        ),
    ],
)
def test_an_app_shows_its_widgets_and_its_result(
    front: Front, host: Any, name: str, sample: str, settings: tuple[str, ...]
) -> None:
    """And a sample picture that somebody has deleted comes back when its graph is opened."""
    page = front.page
    (host.base / "input" / sample).unlink()
    front.open_template(name, drawn=False)
    assert (host.base / "input" / sample).is_file()
    widgets = page.get_by_test_id("linear-widgets")
    widgets.wait_for(state="visible")
    front.shot(f"app-{name[:2]}")
    shown = widgets.inner_text()
    assert all(setting in shown for setting in settings) and "score" not in shown
    assert "all" in [box.input_value() for box in widgets.locator("input:visible, textarea:visible").all()]
    assert page.evaluate("app.rootGraph.extra.linearMode") is True
    page.evaluate(
        """() => {
            window.clrfaceEnd = null;
            for (const end of ["execution_success", "execution_error"])
                app.api.addEventListener(end, () => { window.clrfaceEnd ??= end; }, { once: true });
        }"""
    )
    page.evaluate("app.queuePrompt(0)")
    page.wait_for_function("window.clrfaceEnd")
    assert page.evaluate("window.clrfaceEnd") == "execution_success"
    result = page.get_by_test_id("linear-image-output")
    result.first.wait_for(state="visible")
    front.shot(f"app-{name[:2]}-result")
    assert front.errors == []


@pytest.mark.parametrize("front", ["classic-en"], indirect=True)
def test_graphs_are_saved_with_the_values_they_were_opened_with(front: Front) -> None:
    """Values are listed by place: one too few, and each widget behind it has its neighbour's."""
    for path in sorted((ROOT / "workflows").glob("*.json")):
        graph = json.loads(path.read_text(encoding="utf-8"))
        front.page.evaluate("graph => app.loadGraphData(graph)", graph)
        again = json.loads(front.page.evaluate("JSON.stringify(app.graph.serialize())"))
        values = [
            {node["id"]: (node["type"], [value for value in node.get("widgets_values") or [] if value is not None])
             for node in each["nodes"]}
            for each in (graph, again)
        ]  # fmt: skip
        assert values[0] == values[1], path.stem


@pytest.mark.parametrize("name", ["2 Every stage a node", "6 Degrade, restore, compare"])
def test_wires_are_led_around_nodes(front: Front, name: str) -> None:
    """What the tool that writes the graphs computes, the front-end has drawn; the picture is to be looked at."""
    page = front.page
    front.open_template(name)
    page.evaluate("app.canvas.ds.scale = 0.42; app.canvas.ds.offset = [60, 330]; app.canvas.setDirty(true, true)")
    page.wait_for_timeout(1500)
    turns = page.evaluate("[...app.graph.reroutes.values()].map(r => [r.pos[0], r.pos[1], [...r.linkIds].length])")
    saved = json.loads((ROOT / "workflows" / f"{name}.json").read_text())["extra"]["reroutes"]
    assert sorted(map(tuple, turns)) == sorted((*each["pos"], len(each["linkIds"])) for each in saved)
    front.shot(f"wires-{name[0]}")
    assert front.errors == []


SHOWN = "document.querySelector('.clrface-compare img.clrface-after')?.src ?? ''"
NODE = "app.graph.nodes.find(n => n.comfyClass === 'CLRFaceRestoreFaces')"


def seen_now(front: Front) -> str:
    """The address of the picture that stands on the node, once it is loaded and to be seen."""
    front.show("CLRFaceRestoreFaces", 0.6)  # the classic renderer folds no settings away
    picture = front.page.locator(".clrface-compare img.clrface-after")
    picture.wait_for(state="visible")
    assert picture.count() == 1
    front.page.wait_for_function("document.querySelector('.clrface-compare img.clrface-after')?.naturalWidth > 0")
    return front.page.evaluate(SHOWN)


def test_views_turn_pages_and_outlive_undo_reload_and_subgraphs(front: Front) -> None:
    page = front.page
    front.open_template("1 Restore faces")
    front.run()
    face = seen_now(front)
    bar = page.locator(".clrface-compare .clrface-bar")
    assert "Face 0" in bar.inner_text()
    front.shot("pager-face")
    bar.locator(".clrface-turn").last.click()
    whole = seen_now(front)
    assert "Whole picture" in bar.inner_text() and whole != face
    front.shot("pager-whole")

    page.evaluate(f"window.before = {NODE}")
    page.evaluate(
        f"""() => {{
            const tracker = app.extensionManager.workflow.activeWorkflow.changeTracker;
            {NODE}.pos[0] += 60;
            app.canvas.setDirty(true, true);
            (tracker.captureCanvasState ?? tracker.checkState).call(tracker);
        }}"""
    )
    page.evaluate("app.extensionManager.workflow.activeWorkflow.changeTracker.undo()")
    page.wait_for_function(f"{NODE} !== window.before")
    page.wait_for_timeout(1500)
    assert seen_now(front) == face  # the new node shows what the old one did
    page.evaluate("app.graph.nodes.find(n => n.type === 'LoadImage').widgets[0].value = 'astronaut.jpg'")
    front.run()
    page.wait_for_timeout(1000)
    other = seen_now(front)
    assert other not in (face, whole)
    bar.locator(".clrface-turn").last.click()
    assert seen_now(front) != other  # the buttons are the new node's
    front.shot("undone")

    saved = page.evaluate("JSON.stringify(app.graph.serialize())")
    page.reload(wait_until="domcontentloaded")
    front.wait()
    page.evaluate("saved => app.loadGraphData(JSON.parse(saved))", saved)
    page.wait_for_function(f"!!{NODE}")
    assert seen_now(front) == other
    front.shot("reloaded")

    page.evaluate(
        f"""() => {{
            const {{ node, subgraph }} = app.canvas.graph.convertToSubgraph(new Set([{NODE}]));
            Object.assign(window, {{ outer: node, inner: subgraph }});
        }}"""
    )
    page.evaluate("app.graph.nodes.find(n => n.type === 'LoadImage').widgets[0].value = 'grace-hopper.jpg'")
    front.run()
    page.evaluate("app.canvas.openSubgraph(window.inner, window.outer)")
    page.wait_for_timeout(2000)
    assert seen_now(front) not in (other, face)
    front.shot("subgraph")
    assert front.errors == []


def test_similarity_is_read_on_the_node(front: Front) -> None:
    front.open_template("6 Degrade, restore, compare")
    front.run()
    front.show("CLRFaceFaceSimilarity")
    texts = front.page.locator(".clrface-text")
    texts.first.wait_for()
    assert texts.count() == 3 and all("face 0: 0." in texts.nth(i).inner_text() for i in range(3))
    front.shot("similarity")
    fits_its_node(front, "CLRFaceFaceSimilarity", ".clrface-text")
    assert front.errors == []


@pytest.mark.parametrize("front", ["classic-en", "vue-en", "vue-zh", "classic-ja"], indirect=True)
def test_names_and_help(front: Front) -> None:
    page = front.page
    front.open_template("2 Every stage a node")
    names = json.loads((ROOT / "locales" / front.language / "nodeDefs.json").read_text(encoding="utf-8"))
    for kind, texts in names.items():
        assert page.evaluate(f"LiteGraph.registered_node_types['{kind}'].title") == texts["display_name"]
    front.show("CLRFaceDetectAlign")
    page.evaluate("app.canvas.selectNode(app.graph.nodes.find(n => n.comfyClass === 'CLRFaceDetectAlign'))")
    page.get_by_test_id("info-button").click()
    help_page = page.locator(".node-help-content")
    help_page.get_by_role("heading", name=names["CLRFaceDetectAlign"]["display_name"]).wait_for()
    page_of = ROOT / "js" / "docs" / "CLRFaceDetectAlign" / f"{front.language}.md"
    assert page_of.read_text(encoding="utf-8").splitlines()[2] in help_page.inner_text()
    front.shot("help")
    assert front.errors == []


def test_found_by_other_names_and_as_a_blueprint(front: Front) -> None:
    page = front.page
    front.open_template("1 Restore faces")
    before = page.evaluate("app.graph.nodes.length")
    for words, label in (("gfpgan", "clr-face"), ("Restore Faces", "Blueprint")):
        page.evaluate("app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
        page.get_by_role("dialog").get_by_role("combobox").or_(page.get_by_role("dialog").locator("input")).first.fill(
            words
        )
        found = page.get_by_role("option").filter(has_text="Restore Faces (CLR-Face)").filter(has_text=label)
        found.first.wait_for()
        front.shot(f"search-{words.split()[0]}")
        found.first.click()
        page.wait_for_timeout(500)
        page.mouse.move(500, 620, steps=5)  # the node hangs on the pointer until it is put down
        page.mouse.down()
        page.mouse.up()
        page.wait_for_timeout(500)
        assert page.evaluate("app.graph.nodes.length") == before + 1
        before += 1
    inside = page.evaluate("app.graph.nodes.filter(n => n.isSubgraphNode?.()).map(n => n.subgraph.nodes.length)")
    assert inside == [7]
    front.shot("blueprint")
    assert front.errors == []
