"""`clrface serve`: a page in the browser for those who use neither ComfyUI nor a shell; on this machine only.

Photos never leave it: the server listens on 127.0.0.1, and the page may load nothing from elsewhere. An upload is read
into memory and removed from the disk at once; results lie in a private folder that goes with the server, or sooner.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import options

if TYPE_CHECKING:
    from PIL import Image

    from ..photo import Photo
    from ..pipeline import Restoration, Restorer

ADDRESS = "127.0.0.1"
SHOWN = 1600
"""Longest side, in pixels, of the pictures in the page; the file to download has the photo's own size."""
SWEEP, KEPT = 60, 1800
"""Every so many seconds results older than so many seconds are removed."""
POLICY = "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'"
"""What the page may load (Content-Security-Policy): its own scripts and pictures, and nothing from elsewhere."""


def add_parser(commands: Any) -> None:
    """Declare the sub-command."""
    parser = commands.add_parser(
        "serve", help="restore photos in a page of the browser", allow_abbrev=False,
        description="Open a page in the browser that restores photos. It answers on this machine only.",
    )  # fmt: skip
    parser.set_defaults(run=run)
    parser.add_argument("--port", type=options.whole(1), default=7860, metavar="N", help="where it listens (7860)")
    parser.add_argument("--no-browser", action="store_true", help="do not open the page, only say its address")
    options.add_device(parser)
    parser.add_argument("--model", type=Path, metavar="FILE", help="model file instead of the bundled one")


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    from ..pipeline import Restorer
    from .console import say

    check_gradio()
    restorer = Restorer.load(args.model, device=args.device)
    with tempfile.TemporaryDirectory(prefix="clrface-serve-") as folder:
        page = build(restorer, Path(folder))
        launch(page, args.port, inbrowser=not args.no_browser)
        say(f"clrface: http://{ADDRESS}:{args.port} answers on this machine only; Ctrl-C ends it")
        page.block_thread()
    return 0


def check_gradio() -> None:
    """CLRFaceError where Gradio is not installed."""
    from importlib.util import find_spec

    from ..errors import CLRFaceError

    if find_spec("gradio") is None:
        raise CLRFaceError("Expected Gradio for the page, found none: pip install 'clr-face[app]'.")


@dataclass
class Visit:
    """What one visitor's tab holds: photos in memory, and the result that waits to be downloaded."""

    photo: Photo | None = None
    stem: str = "photo"
    references: dict[str, Photo] = field(default_factory=dict)
    result: Path | None = None

    def take(self, upload: str | None) -> Visit:
        """The photo to restore, out of an uploaded file."""
        self.photo, self.stem = (taken(upload), Path(upload).stem) if upload else (None, "photo")
        return self

    def refer_to(self, uploads: Sequence[str] | None) -> Visit:
        """Other photos of the people. Those that were there before are not read again: their files are gone."""
        self.references = {upload: self.references.get(upload) or taken(upload) for upload in uploads or ()}
        return self

    def forget(self) -> None:
        """Remove the result from the disk."""
        if self.result is not None:
            self.result.unlink(missing_ok=True)
            self.result = None


def taken(upload: str) -> Photo:
    """The photo in an uploaded file, which is removed whether it could be read or not."""
    from ..photo import read_photo

    try:
        return read_photo(upload)
    finally:
        Path(upload).unlink(missing_ok=True)


def restore(
    restorer: Restorer, folder: Path, visit: Visit, fidelity: float, strength: float | None
) -> tuple[tuple[Image.Image, Image.Image], str, Path]:
    """The picture before and after, what was done in words, and the file to download, in `folder`."""
    from ..diffusion.refine import Sampling
    from ..errors import CLRFaceError
    from ..faces.paste import Blending

    if visit.photo is None:
        raise CLRFaceError("Expected a photo, got none: choose one first.")
    result = restorer.restore(
        visit.photo, Sampling(fidelity=fidelity), blending=Blending(strength=strength),
        references=visit.references.values() or None,
    )  # fmt: skip
    visit.forget()
    visit.result = folder / f"{visit.stem}-restored.png"
    result.save(visit.result)
    return (shown(visit.photo), shown(result.photo)), described(result), visit.result


def shown(photo: Photo) -> Image.Image:
    """The photo as the page shows it."""
    import torch
    from PIL import Image

    pixels = (photo.rgb.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    picture = Image.fromarray(pixels)
    picture.thumbnail((SHOWN, SHOWN), Image.Resampling.LANCZOS)
    return picture


def described(result: Restoration) -> str:
    """What became of the faces, a line each where there is something to say."""
    done = len(result.chosen) - len(result.left_alone)
    lines = [
        f"{done} of {len(result.faces)} faces restored." if result.faces else "No face found: the photo is as it was."
    ]
    lines += [f"Face {face_id} left as it is: {reason}." for face_id, reason in result.left_alone.items()]
    matches = zip(result.chosen, result.matches, strict=True)
    lines += [f"Face {face_id}: {match}." for face_id, match in matches if match.cosines]
    return "  \n".join(lines)


def build(restorer: Restorer, folder: Path) -> Any:
    """The page, as Gradio's Blocks. What is uploaded and shown lies in `folder` meanwhile."""
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio

    def take(visit: Visit, upload: str | None) -> Any:
        ready = visit.take(upload).photo is not None
        return visit, gradio.Button(interactive=ready)

    def go(visit: Visit, fidelity: float, as_needed: bool, strength: float) -> Any:
        pictures, words, file = restore(restorer, folder, visit, fidelity, None if as_needed else strength)
        return pictures, words, gradio.DownloadButton(value=str(file), interactive=True), visit

    with gradio.Blocks(title="CLR-Face", analytics_enabled=False, delete_cache=(SWEEP, KEPT)) as page:
        visit = gradio.State(Visit(), time_to_live=KEPT, delete_callback=Visit.forget)
        gradio.Markdown("# CLR-Face\nRestores the faces of a photo, and keeps the person. Nothing leaves this machine.")
        with gradio.Row():
            with gradio.Column(scale=1):
                photo = gradio.File(label="Photo", file_types=["image"], height=140)
                references = gradio.File(
                    label="Other photos of the person, if there are any", file_types=["image"], file_count="multiple",
                    height=140,
                )  # fmt: skip
                fidelity = gradio.Slider(0, 1, 0.8, step=0.05, label="Fidelity: 0 sharpest, 1 closest to the photo")
                as_needed = gradio.Checkbox(True, label="Leave good faces as they are")
                strength = gradio.Slider(0, 1, 1, step=0.05, label="Strength", visible=False)
                start = gradio.Button("Restore", variant="primary", interactive=False)
            with gradio.Column(scale=2):
                slider = gradio.ImageSlider(label="Before and after", format="png", max_height=640, buttons=[])
                words = gradio.Markdown()
                download = gradio.DownloadButton("Download", interactive=False)
        photo.upload(told(take), [visit, photo], [visit, start])
        photo.clear(told(take), [visit, photo], [visit, start])
        references.upload(told(Visit.refer_to), [visit, references], visit)
        references.clear(told(Visit.refer_to), [visit, references], visit)
        as_needed.change(lambda on: gradio.Slider(visible=not on), as_needed, strength)
        start.click(told(go), [visit, fidelity, as_needed, strength], [slider, words, download, visit])
    return page


def told(work: Callable[..., Any]) -> Callable[..., Any]:
    """The same work, its errors as the sentences that Gradio shows."""
    import gradio

    from ..errors import CLRFaceError

    def done(*arguments: Any) -> Any:
        try:
            return work(*arguments)
        except CLRFaceError as error:
            raise gradio.Error(str(error), print_exception=False) from error

    return done


def launch(page: Any, port: int, *, inbrowser: bool = False) -> None:
    """Start the server in the background."""
    import gradio
    from starlette.middleware import Middleware

    # Gradio's own fonts are fetched from elsewhere
    theme = gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
    page.launch(
        server_name=ADDRESS, server_port=port, share=False, inbrowser=inbrowser, prevent_thread_lock=True, quiet=True,
        ssr_mode=False, footer_links=[], theme=theme, max_file_size="200mb",
        app_kwargs={"middleware": [Middleware(_Closed)]},
    )  # fmt: skip


class _Closed:
    """ASGI middleware that sends POLICY with every answer."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = message | {"headers": [*message["headers"], (b"content-security-policy", POLICY.encode())]}
            await send(message)

        await self.app(scope, receive, sending)
