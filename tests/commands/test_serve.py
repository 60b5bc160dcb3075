"""The page of `clrface serve`: what it makes of uploads, what it leaves on the disk, and how it looks in a browser."""

import importlib.util
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from clrface_core import CLRFaceError, Restorer
from clrface_core.cli import main
from clrface_core.commands import serve
from clrface_core.models.bundle import Bundle
from clrface_core.restorer import FaceRestorer
from tests.tiny import Colours, Given, face_at, files_in, picture

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture
def restorer(tiny_bundle: Bundle) -> Restorer:
    return Restorer(FaceRestorer(tiny_bundle, Colours()), Given(face_at(40, 30, 96)))


def upload(folder: Path, name: str = "old photo.jpg", **options: Any) -> str:
    return str(picture(folder / name, size=(220, 180), **options))


def test_uploads_are_read_and_removed(tmp_path: Path) -> None:
    visit = serve.Visit().take(upload(tmp_path)).refer_to([upload(tmp_path, "anna.jpg")])
    assert files_in(tmp_path) == [] and visit.photo is not None and len(visit.references) == 1
    (tmp_path / "notes.jpg").write_text("no picture", encoding="utf-8")
    with pytest.raises(CLRFaceError, match="Expected"):
        visit.take(str(tmp_path / "notes.jpg"))
    assert files_in(tmp_path) == []


def test_references_that_were_there_before_stay(tmp_path: Path) -> None:
    first, second = upload(tmp_path, "a.jpg"), upload(tmp_path, "b.jpg")
    visit = serve.Visit().refer_to([first]).refer_to([first, second])
    assert list(visit.references) == [first, second]
    assert visit.refer_to(None).references == {}


def test_the_download_keeps_what_the_file_knew_and_there_is_one(tmp_path: Path, restorer: Restorer) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Kodak"
    visit = serve.Visit().take(upload(tmp_path, exif=exif.tobytes()))
    for fidelity in (0.2, 0.9):
        (before, after), words, file = serve.restore(restorer, tmp_path, visit, fidelity, 1.0)
    assert files_in(tmp_path) == ["old photo-restored.png"] and words == "1 of 1 faces restored."
    assert before.size == after.size == (220, 180) and before.tobytes() != after.tobytes()
    with Image.open(file) as result:
        assert result.size == (220, 180) and result.getexif()[0x010F] == "Kodak"
    visit.forget()
    assert files_in(tmp_path) == []


def test_without_a_photo_it_says_so(tmp_path: Path, restorer: Restorer) -> None:
    with pytest.raises(CLRFaceError, match="choose one first"):
        serve.restore(restorer, tmp_path, serve.Visit(), 0.8, None)


def test_references_are_used(tmp_path: Path, restorer: Restorer) -> None:
    visit = serve.Visit().take(upload(tmp_path)).refer_to([upload(tmp_path, "same.jpg")])
    _, words, _ = serve.restore(restorer, tmp_path, visit, 0.8, 1.0)
    assert re.search(r"Face 0: [a-z ]+ \(cosine -?[01]\.\d\d\)", words)


def test_without_gradio_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["serve"]) == 1
    assert "pip install 'clr-face[app]'" in capsys.readouterr().err


@pytest.fixture
def address(tmp_path: Path, restorer: Restorer) -> Iterator[str]:
    pytest.importorskip("gradio", reason="the page needs Gradio (the extra `app`)")
    with socket.socket() as free:
        free.bind((serve.ADDRESS, 0))
        port = free.getsockname()[1]
    page = serve.build(restorer, tmp_path / "served")
    serve.launch(page, port)
    try:
        yield f"http://{serve.ADDRESS}:{port}"
    finally:
        page.close()


def test_the_page_in_a_browser(address: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Upload, restore, compare, download; nothing is asked of any other machine, and no upload is left."""
    api = pytest.importorskip("playwright.sync_api", reason="a browser needs playwright (the extra `browser`)")
    if not CHROMIUM.exists():
        pytest.skip("no Chromium here")
    photo = upload(tmp_path)
    asked: list[str] = []
    with api.sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1200, "height": 860})
        tab.set_default_timeout(120_000)
        tab.on("requestfinished", lambda sent: asked.append(sent.url))
        tab.goto(address)
        tab.locator("input[type=file]").first.set_input_files(photo)
        tab.get_by_text("old photo.jpg").first.wait_for()
        tab.get_by_label("Leave good faces as they are").uncheck()
        tab.get_by_role("button", name="Restore", exact=True).click()
        tab.get_by_text("1 of 1 faces restored.").wait_for()
        with tab.expect_download() as started:
            tab.get_by_role("button", name="Download").or_(tab.get_by_role("link", name="Download")).first.click()
        started.value.save_as(tmp_path / "got.png")
        shots = request.config.getoption("--screenshots")
        if shots is not None:
            shots.mkdir(parents=True, exist_ok=True)
            tab.screenshot(path=shots / "serve.png")
        browser.close()
    with Image.open(tmp_path / "got.png") as got:
        assert got.size == (220, 180)
    assert not [name for name in files_in(tmp_path / "served") if name.endswith(".jpg")], "uploads are removed"
    elsewhere = [each for each in asked if not each.startswith((address, "data:", "blob:"))]
    assert elsewhere == []


def test_the_server_listens_on_this_machine_only(address: str) -> None:
    port = int(address.rpartition(":")[2])
    others = {str(each[4][0]) for each in socket.getaddrinfo(socket.gethostname(), None)} - {
        serve.ADDRESS,
        "127.0.1.1",
        "::1",
    }
    for other in others:
        with pytest.raises(OSError):
            socket.create_connection((other, port), timeout=2)


def test_pictures_are_shown_as_they_are(smooth_picture: Any) -> None:
    from clrface_core.photo import as_photo

    wide = smooth_picture(90, 3200)
    assert serve.shown(as_photo(wide)).size == (serve.SHOWN, 45)
    assert torch.equal(as_photo(serve.shown(as_photo(wide[:, :, :90]))).rgb, (wide[:, :, :90] * 255).round() / 255)
