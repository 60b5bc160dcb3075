"""The README's way for someone who has never heard of us: drop a picture on ComfyUI's window, choose a photo, run."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs" / "pictures" / "graph-1.png"

DROP = """([name, content]) => {
    const bytes = Uint8Array.from(atob(content), character => character.charCodeAt(0));
    const carried = new DataTransfer();
    carried.items.add(new File([bytes], name, { type: "image/png" }));
    const target = document.querySelector("canvas");
    for (const kind of ["dragover", "drop"])
        target.dispatchEvent(new DragEvent(kind, { dataTransfer: carried, bubbles: true, cancelable: true }));
}"""
ENDS = """() => {
    window.clrfaceEnd = null;
    for (const end of ["execution_success", "execution_error", "execution_interrupted"])
        app.api.addEventListener(end, () => { window.clrfaceEnd ??= end; }, { once: true });
}"""
CHOOSE = (
    "app.graph.nodes.find(node => node.type === 'LoadImage').widgets.find(each => each.type === 'button').callback()"
)


@pytest.fixture
def page(host: Any) -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: see the browser extra")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        pytest.skip("no Chromium on this machine: install one, or name it in $CHROMIUM")
    host.post("/settings/Comfy.TutorialCompleted", True)
    host.post("/settings/LiteGraph.Canvas.MaximumFps", 10)
    with api.sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1500, "height": 900})
        page.set_default_timeout(300_000)
        page.goto(f"http://{host.address}/", wait_until="domcontentloaded")
        page.wait_for_function("window.app?.extensionManager && app.graph?.nodes.length > 0")
        yield page
        browser.close()


def test_a_dropped_picture_opens_as_a_graph_and_restores_a_photo(
    page: Any, host: Any, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    photo = tmp_path / "grandmother.jpg"
    shutil.copyfile(ROOT / "samples" / "grace-hopper.jpg", photo)
    page.evaluate(DROP, [PICTURE.name, base64.b64encode(PICTURE.read_bytes()).decode()])
    page.wait_for_function("app.graph.nodes.some(node => node.type === 'CLRFaceRestoreFaces')")
    with page.expect_file_chooser() as chooser:
        page.evaluate(CHOOSE)
    chooser.value.set_files(photo)
    page.wait_for_function("app.graph.nodes.find(n => n.type === 'LoadImage').widgets[0].value === 'grandmother.jpg'")
    page.evaluate(ENDS)
    page.get_by_test_id("queue-button").first.click()
    page.wait_for_function("window.clrfaceEnd")
    assert page.evaluate("window.clrfaceEnd") == "execution_success"
    if (shots := request.config.getoption("--screenshots")) is not None:
        shots.mkdir(parents=True, exist_ok=True)
        page.wait_for_timeout(2000)
        page.screenshot(path=shots / "stranger.png")
    saved = list((host.base / "output").rglob("*.png"))
    assert saved, "the graph ends in Save Image"
