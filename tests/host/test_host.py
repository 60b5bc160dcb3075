"""Every example graph in a real ComfyUI, over its API: pictures, progress, previews, cancelling, refusals.

Run by ComfyUI's own Python: `python -m pytest tests/host --comfyui=PATH -s`; -s shows the times.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parents[2]
GRAPHS = sorted((ROOT / "workflows").glob("*.json"), key=lambda path: path.stem)

pytestmark = pytest.mark.usefixtures("host")


@dataclass
class Watched:
    """What came over the websocket while a prompt ran."""

    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    previews: int = 0
    seconds: float = 0.0

    def kinds(self) -> set[str]:
        return {kind for kind, _ in self.events}


def watch(host: Any, prompt: dict[str, Any], on_event: Callable[[str, dict[str, Any]], None] | None = None) -> Watched:
    """Queue a prompt and listen until it ended."""
    aiohttp = pytest.importorskip("aiohttp", reason="run these tests by ComfyUI's Python, which has aiohttp")

    async def listen() -> Watched:
        seen = Watched()
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"http://{host.address}/ws?clientId=clrface-test", max_msg_size=0) as socket,
        ):
            start = time.monotonic()
            number = await asyncio.to_thread(host.queue, prompt, "clrface-test", preview_method="auto")
            async for message in socket:
                if message.type == aiohttp.WSMsgType.BINARY:
                    seen.previews += 1
                    continue
                event = json.loads(message.data)
                kind, data = event["type"], event.get("data", {})
                if data.get("prompt_id") != number:
                    continue
                seen.events.append((kind, data))
                if on_event:
                    on_event(kind, data)
                if kind in ("execution_success", "execution_error", "execution_interrupted"):
                    seen.seconds = time.monotonic() - start
                    return seen
        raise AssertionError("the websocket closed before the prompt ended")

    return asyncio.run(asyncio.wait_for(listen(), 900))


def saved_picture(host: Any, seen: Watched) -> np.ndarray:
    """The last picture that a Save Image of this run wrote."""
    assert "execution_success" in seen.kinds(), seen.events[-1]
    files = [file for kind, data in seen.events if kind == "executed" for file in data["output"].get("images", [])]
    saved = [file for file in files if file["type"] == "output"]
    return np.asarray(Image.open(io.BytesIO(host.picture(saved[-1]))).convert("RGB"))


def saved_frames(host: Any, seen: Watched) -> list[Any]:
    """The pictures of the video that a Save Video of this run wrote."""
    [file] = [
        file for kind, data in seen.events if kind == "executed" for file in data["output"].get("images", [])
        if file["filename"].endswith(".mp4")
    ]  # fmt: skip
    with av.open(io.BytesIO(host.picture(file))) as video:
        return list(video.decode(video=0))


def prompt_of(tool: ModuleType, host: Any, path: Path) -> dict[str, Any]:
    """A graph as a prompt; a photo in place of what a checkpoint would generate, for none is here."""
    saved = json.loads(path.read_text())
    generated = next((node["id"] for node in saved["nodes"] if node["type"] == "VAEDecode"), None)
    known = dict(host.info)
    if generated is not None:
        known["CheckpointLoaderSimple"] = json.loads((ROOT / "tools" / "core_nodes.json").read_text())[
            "CheckpointLoaderSimple"
        ]
    prompt = tool.to_prompt(saved, known)
    if generated is None:
        return prompt
    prompt = {number: node for number, node in prompt.items() if int(number) > generated}
    prompt[str(generated)] = {"class_type": "LoadImage", "inputs": {"image": "grace-hopper.jpg"}}
    return prompt


def graph_named(stem: str) -> Path:
    return next(path for path in GRAPHS if path.stem == stem)


def fresh(prompt: dict[str, Any], seed: int) -> dict[str, Any]:
    """The prompt with another seed, which no cache knows."""
    for node in prompt.values():
        if "seed" in node["inputs"] and node["class_type"] != "CLRFaceDegradeFace":
            node["inputs"]["seed"] = seed
    return prompt


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.stem)
def test_a_graph_runs(path: Path, tool: ModuleType, host: Any) -> None:
    prompt = fresh(prompt_of(tool, host, path), 100 + GRAPHS.index(path))  # an app is its graph, which is cached else
    seen = watch(host, prompt)
    assert "execution_success" in seen.kinds(), seen.events[-1]
    assert {"execution_start", "executing", "executed"} <= seen.kinds() and "progress_state" in seen.kinds()
    if path.stem == "9 Restore a video":
        assert len(saved_frames(host, seen)) == 24
    else:
        picture = saved_picture(host, seen)
        assert picture.std() > 20 and min(picture.shape[:2]) >= 512
    print(f"\n{path.stem}: {seen.seconds:.1f} s")


def one_node(**settings: Any) -> dict[str, Any]:
    """The one node between Load Image and Save Image."""
    usual = {
        "image": ["1", 0], "seed": 0, "steps": 1, "solver": "ddim", "denoise": 0.5, "guidance_scale": 0.0,
        "batch_size": 0, "fidelity": 0.8, "faces": "all", "detector": "yunet", "score_threshold": 0.8, "order": "area",
        "min_size": 0, "at_most": 0, "feather": 0.1, "color_match": False, "blend": 1.0, "detail": 1.0,
    }  # fmt: skip
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": "grace-hopper.jpg"}},
        "2": {"class_type": "CLRFaceRestoreFaces", "inputs": usual | settings},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "one"}},
    }


def test_the_chain_and_the_one_node_give_the_same_pixels(tool: ModuleType, host: Any) -> None:
    modular = next(path for path in GRAPHS if path.stem.startswith("2"))
    chain = saved_picture(host, watch(host, fresh(prompt_of(tool, host, modular), 5)))
    one = saved_picture(host, watch(host, one_node(seed=5, guidance_scale=1.0)))
    assert np.array_equal(chain, one)
    untouched, where = one_node(), one_node(seed=5, guidance_scale=1.0)
    untouched["3"]["inputs"]["images"] = ["1", 0]  # the photo as ComfyUI itself loads and saves it
    where["4"] = {"class_type": "ThresholdMask", "inputs": {"mask": ["2", 1], "value": 0.0}}
    where["5"] = {"class_type": "MaskToImage", "inputs": {"mask": ["4", 0]}}
    where["3"]["inputs"]["images"] = ["5", 0]
    allowed = saved_picture(host, watch(host, where)).any(2)
    changed = (one != saved_picture(host, watch(host, untouched))).any(2)
    assert 0.02 < changed.mean() < 0.5 and 0.02 < allowed.mean() < 0.5 and not changed[~allowed].any()


def test_the_chain_with_references_gives_the_one_nodes_pixels(tool: ModuleType, host: Any) -> None:
    """The pull comes after what VQ Decode keeps of the estimate, in both."""
    referenced = fresh(prompt_of(tool, host, graph_named("8 Restore from another photo")), 4)
    modular = fresh(prompt_of(tool, host, graph_named("2 Every stage a node")), 4)
    one = saved_picture(host, watch(host, referenced))
    number, known = next((n, node) for n, node in referenced.items() if node["class_type"] == "CLRFaceReferenceFaces")
    chain = modular | {"90": {"class_type": known["class_type"], "inputs": known["inputs"] | {"image": ["91", 0]}}}
    chain["91"] = {"class_type": "LoadImage", "inputs": {"image": "astronaut-clean.jpg"}}
    for node in chain.values():
        if node["class_type"] == "LoadImage" and node["inputs"]["image"] == "grace-hopper.jpg":
            node["inputs"]["image"] = "astronaut.jpg"
        if node["class_type"] == "CLRFaceLatentRefineSampler":
            del node["inputs"]["mask"]
            node["inputs"]["guidance_scale"] = 0.0
        if node["class_type"] == "CLRFaceVQDecode":
            node["inputs"]["references"] = ["90", 0]
    assert np.array_equal(saved_picture(host, watch(host, chain)), one)
    referenced[number]["inputs"]["scale"] = 0.0
    assert not np.array_equal(saved_picture(host, watch(host, referenced)), one)


def test_cores_face_mask_and_the_region_confine_the_paste(host: Any) -> None:
    picture = Image.open(host.base / "input" / "grace-hopper.jpg").convert("RGB")
    picture.save(host.base / "input" / "hopper.png")  # core decodes a JPEG in its own way
    photo, prompt = np.asarray(picture), one_node(seed=3)
    prompt["1"]["inputs"]["image"] = "hopper.png"
    whole = (saved_picture(host, watch(host, prompt)) != photo).any(2)
    prompt["4"] = {
        "class_type": "FaceRing",
        "inputs": {"image": ["1", 0], "x": 256, "y": 190, "across": 60, "down": 80},
    }
    prompt["5"] = {"class_type": "MediaPipeFaceMask", "inputs": {"face_landmarks": ["4", 0], "regions": "all"}}
    prompt["2"]["inputs"]["mask"] = ["5", 0]
    masked = (saved_picture(host, watch(host, prompt)) != photo).any(2)
    rows, columns = np.mgrid[: photo.shape[0], : photo.shape[1]]
    outside = ((columns - 256) / 62) ** 2 + ((rows - 190) / 82) ** 2 > 1
    assert masked.any() and not masked[outside].any() and whole[outside].any()
    del prompt["2"]["inputs"]["mask"]
    prompt["2"]["inputs"]["region"] = "face"
    oval = (saved_picture(host, watch(host, prompt)) != photo).any(2)
    assert 0.15 < oval.sum() / whole.sum() < 0.5


def test_prompts_of_an_earlier_version_go_on_working(host: Any) -> None:
    prompt = one_node(seed=5)
    settings = prompt["2"]["inputs"]
    settings |= {"t0": settings.pop("denoise"), "identity": settings.pop("guidance_scale")}
    for name in ("fidelity", "faces", "grain", "region", "strength", "skip_blurred"):
        settings.pop(name, None)
    seen = watch(host, prompt)
    assert "execution_success" in seen.kinds(), seen.events[-1]
    assert np.array_equal(saved_picture(host, seen), saved_picture(host, watch(host, one_node(seed=5))))
    assert not [name for name in json.loads(host.get("/node_replacements")) if name.startswith("CLRFace")]  # no id went


def test_sample_pictures_come_to_the_input_folder(host: Any) -> None:
    gone = host.base / "input" / "astronaut-clean.jpg"
    gone.unlink()
    assert host.post("/clrface/samples", {}) == ["astronaut-clean.jpg"] and gone.stat().st_size > 1000
    assert host.post("/clrface/samples", {}) == []


def test_latents_counted_in_pixels_are_refused(tool: ModuleType, host: Any) -> None:
    """Upscale Latent to 1024 px would give 512 again, for it takes 8 px for a latent."""
    prompt = prompt_of(tool, host, graph_named("7 Restore with KSampler"))
    start = next(number for number, node in prompt.items() if node["class_type"] == "CLRFaceIRNInit")
    sampler = next(node for node in prompt.values() if node["class_type"] == "KSampler")
    larger = {"samples": [start, 0], "upscale_method": "bilinear", "width": 1024, "height": 1024, "crop": "disabled"}
    prompt["90"] = {"class_type": "LatentUpscale", "inputs": larger}
    sampler["inputs"]["latent_image"] = ["90", 0]
    kind, data = watch(host, prompt).events[-1]
    assert kind == "execution_error" and "Upscale Latent By" in data["exception_message"]
    assert REFUSED.fullmatch(data["exception_message"].strip())


def test_progress_and_previews(host: Any) -> None:
    seen = watch(host, one_node(seed=6, steps=4))
    ours = [data["nodes"]["2"] for kind, data in seen.events if kind == "progress_state" and "2" in data["nodes"]]
    values = [node["value"] / node["max"] for node in ours]
    assert values == sorted(values) and values[-1] == 1.0 and len(set(values)) >= 4
    assert seen.previews >= 4


def test_cancelling_ends_within_a_step(host: Any) -> None:
    cancelled: list[float] = []

    def cancel(kind: str, data: dict[str, Any]) -> None:
        running = kind == "progress_state" and data["nodes"].get("2", {}).get("value", 0) > 0
        if running and not cancelled:
            cancelled.append(time.monotonic())
            host.post("/interrupt", {})

    seen = watch(host, one_node(seed=7, steps=100, guidance_scale=1.0), cancel)
    assert seen.events[-1][0] == "execution_interrupted" and cancelled
    steps = [data["nodes"]["2"]["value"] for kind, data in seen.events if kind == "progress_state"]
    assert max(steps) <= 2  # of 100: no more than the step under way when the word came
    print(f"\ncancelled {time.monotonic() - cancelled[0]:.1f} s after the word")
    assert "execution_success" in watch(host, one_node(seed=8)).kinds()


def test_a_batch_comes_out_whole_and_faceless_pictures_pass_through(tool: ModuleType, host: Any) -> None:
    Image.new("RGB", (96, 80), (90, 120, 60)).save(host.base / "input" / "meadow.png")
    prompt = one_node(image=["4", 0])
    prompt["1"]["inputs"]["image"] = "meadow.png"
    prompt["4"] = {"class_type": "RepeatImageBatch", "inputs": {"image": ["1", 0], "amount": 5}}
    seen = watch(host, prompt)
    images = [data["output"]["images"] for kind, data in seen.events if kind == "executed" and data["node"] == "3"]
    assert len(images[0]) == 5 and (saved_picture(host, seen) == (90, 120, 60)).all()
    for path in (path for path in GRAPHS if path.stem.split()[0] in ("1", "2", "3", "3a", "4")):
        faceless = prompt_of(tool, host, path)
        for node in faceless.values():
            if node["class_type"] == "LoadImage":
                node["inputs"]["image"] = "meadow.png"
            if node["class_type"] == "CLRFaceSelectFaces":
                node["inputs"]["faces"] = "all"
        seen = watch(host, faceless)
        assert "execution_success" in seen.kinds(), (path.stem, seen.events[-1])
        assert (saved_picture(host, seen) == (90, 120, 60)).all()


def test_without_a_face_what_needs_one_is_left_out(tool: ModuleType, host: Any) -> None:
    """Preview Image and lanczos scaling take no empty batch; Face Paste, and what hangs on it, goes on."""
    Image.new("RGB", (96, 80), (90, 120, 60)).save(host.base / "input" / "meadow.png")
    prompt = prompt_of(tool, host, next(path for path in GRAPHS if path.stem.startswith("2")))
    photo = next(node for node in prompt.values() if node["class_type"] == "LoadImage")
    cut = next(number for number, node in prompt.items() if node["class_type"] == "CLRFaceDetectAlign")
    scale = {"image": [cut, 0], "upscale_method": "lanczos", "scale_by": 2.0}
    prompt["80"] = {"class_type": "ImageScaleBy", "inputs": scale}
    prompt["81"] = {"class_type": "PreviewImage", "inputs": {"images": ["80", 0]}}
    prompt["82"] = {"class_type": "PreviewImage", "inputs": {"images": [cut, 0]}}
    one = one_node(image=photo["inputs"]["image"])["2"]
    prompt["83"] = {"class_type": "CLRFaceRestoreFaces", "inputs": one["inputs"] | {"image": ["84", 0]}}
    prompt["84"] = {"class_type": "LoadImage", "inputs": photo["inputs"]}
    prompt["85"] = {"class_type": "PreviewImage", "inputs": {"images": ["83", 4]}}
    for picture, shown in (("meadow.png", False), ("grace-hopper.jpg", True)):
        photo["inputs"]["image"] = picture
        seen = watch(host, prompt)
        assert "execution_success" in seen.kinds(), seen.events[-1]
        ran = {data["node"] for kind, data in seen.events if kind == "executed"}
        assert {number in ran for number in ("81", "82", "85")} == {shown}, ran
        if not shown:
            assert (saved_picture(host, seen) == (90, 120, 60)).all()


def test_the_vae_serves_cores_own_nodes(host: Any) -> None:
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "grace-hopper.jpg"}},
        "2": {"class_type": "CLRFaceLoadModel", "inputs": {"file": "bundled (CLR-Face s)"}},
        "3": {"class_type": "VAEEncode", "inputs": {"pixels": ["1", 0], "vae": ["2", 1]}},
        "4": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["2", 1]}},
        "5": {"class_type": "VAEEncodeTiled", "inputs": {
            "pixels": ["4", 0], "vae": ["2", 1], "tile_size": 512, "overlap": 64, "temporal_size": 64,
            "temporal_overlap": 8}},
        "6": {"class_type": "VAEDecodeTiled", "inputs": {
            "samples": ["5", 0], "vae": ["2", 1], "tile_size": 512, "overlap": 64, "temporal_size": 64,
            "temporal_overlap": 8}},
        "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "vae"}},
    }  # fmt: skip
    seen = watch(host, prompt)
    assert "execution_success" in seen.kinds(), seen.events[-1]
    photo = np.asarray(Image.open(host.base / "input" / "grace-hopper.jpg").convert("RGB"))
    assert np.abs(saved_picture(host, seen).astype(float) - photo).mean() < 12
    saving = {"2": prompt["2"], "8": {"class_type": "VAESave", "inputs": {"vae": ["2", 1], "filename_prefix": "vae"}}}
    seen = watch(host, saving)
    assert seen.events[-1][0] == "execution_error"
    assert REFUSED.fullmatch(seen.events[-1][1]["exception_message"].strip()), seen.events[-1]
    prompt["3"] = {"class_type": "VAEEncodeForInpaint", "inputs": {
        "pixels": ["1", 0], "vae": ["2", 1], "mask": ["1", 1], "grow_mask_by": 6}}  # fmt: skip
    assert "execution_success" in watch(host, prompt).kinds()


BETWEEN: list[tuple[str, dict[str, Any]]] = [
    ("LatentMultiply", {"multiplier": 0.9}),
    ("LatentFromBatch", {"batch_index": 0, "length": 1}),
    ("RepeatLatentBatch", {"amount": 2}),
    ("LatentFlip", {"flip_method": "y-axis: horizontally"}),
    ("LatentRotate", {"rotation": "90 degrees"}),
]


@pytest.mark.parametrize(("kind", "settings"), BETWEEN, ids=[kind for kind, _ in BETWEEN])
def test_core_latent_nodes_fit_between(tool: ModuleType, host: Any, kind: str, settings: dict[str, Any]) -> None:
    modular = next(path for path in GRAPHS if path.stem.startswith("2"))
    prompt = prompt_of(tool, host, modular)
    start = next(number for number, node in prompt.items() if node["class_type"] == "CLRFaceIRNInit")
    sampler = next(node for node in prompt.values() if node["class_type"] == "CLRFaceLatentRefineSampler")
    prompt["90"] = {"class_type": kind, "inputs": {"samples": [start, 0], **settings}}
    sampler["inputs"] |= {"latent": ["90", 0], "guidance_scale": 0.0}
    del sampler["inputs"]["mask"]
    decoder = next(number for number, node in prompt.items() if node["class_type"] == "CLRFaceVQDecode")
    saver = next(node for node in prompt.values() if node["class_type"] == "SaveImage")
    saver["inputs"]["images"] = [decoder, 0]
    seen = watch(host, prompt)
    assert "execution_success" in seen.kinds(), seen.events[-1]


REFUSED = re.compile(r"Expected [^\n]*: [^\n]*\.")


def failing(host: Any, change: Callable[[dict[str, Any]], None]) -> str:
    """The sentence on the node of a prompt that was changed so that it cannot run."""
    prompt = one_node(seed=9)
    change(prompt)
    seen = watch(host, prompt)
    kind, data = seen.events[-1]
    assert kind == "execution_error", kind
    return data["exception_message"].strip()


def test_refusals_are_one_sentence_and_the_server_lives_on(host: Any) -> None:
    folder = host.base / "models" / "clrface"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "torn.safetensors").write_bytes(b"no model at all")

    def alpha(prompt: dict[str, Any]) -> None:
        prompt["4"] = {"class_type": "JoinImageWithAlpha", "inputs": {"image": ["1", 0], "alpha": ["1", 1]}}
        prompt["2"]["inputs"]["image"] = ["4", 0]

    def torn(prompt: dict[str, Any]) -> None:
        prompt["4"] = {"class_type": "CLRFaceLoadModel", "inputs": {"file": "torn.safetensors"}}
        prompt["2"]["inputs"]["model"] = ["4", 0]

    def plain_latent(prompt: dict[str, Any]) -> None:
        prompt["4"] = {"class_type": "CLRFaceLoadModel", "inputs": {"file": "bundled (CLR-Face s)"}}
        prompt["5"] = {"class_type": "CLRFaceVQEncode", "inputs": {"model": ["4", 0], "image": ["1", 0]}}
        settings = {"seed": 0, "steps": 1, "solver": "ddim", "denoise": 0.5, "guidance_scale": 0.0, "batch_size": 0}
        refine = {"model": ["4", 0], "latent": ["5", 0], **settings}
        prompt["6"] = {"class_type": "CLRFaceLatentRefineSampler", "inputs": refine}
        prompt["7"] = {
            "class_type": "CLRFaceVQDecode",
            "inputs": {"model": ["4", 0], "latent": ["6", 0], "quantise": True, "fidelity": 0.8},
        }
        prompt["3"]["inputs"]["images"] = ["7", 0]

    def foreign(prompt: dict[str, Any]) -> None:
        save_file({"first_stage_model.decoder.conv_in.bias": np.zeros(2, np.float32)}, folder / "foreign.safetensors")
        torn(prompt)
        prompt["4"]["inputs"]["file"] = "foreign.safetensors"

    def odd(kind: str) -> Callable[[dict[str, Any]], None]:
        def change(prompt: dict[str, Any]) -> None:
            prompt["4"] = {"class_type": "OddPicture", "inputs": {"kind": kind}}
            prompt["2"]["inputs"]["image"] = ["4", 0]

        return change

    refused: list[tuple[Callable[[dict[str, Any]], None], str]]
    refused = [(alpha, "4 channels"), (torn, "torn.safetensors"), (foreign, "foreign.safetensors")]
    refused += [(plain_latent, "IRN Init"), (odd("nan"), "NaN"), (odd("empty"), "empty batch")]
    for change, words in refused:
        sentence = failing(host, change)
        assert words in sentence and REFUSED.fullmatch(sentence), sentence
        print(f"\n{sentence}", end="")

    wrong = one_node()
    wrong["2"]["inputs"]["image"] = ["1", 1]  # a MASK
    answer = host.post("/prompt", {"prompt": wrong})
    assert answer["node_errors"]["2"]["errors"][0]["type"] == "return_type_mismatch"
    assert "execution_success" in watch(host, one_node(seed=10)).kinds()


def test_a_picture_of_one_pixel_passes(host: Any) -> None:
    Image.new("RGB", (1, 1), (7, 8, 9)).save(host.base / "input" / "dot.png")
    prompt = one_node()
    prompt["1"]["inputs"]["image"] = "dot.png"
    assert saved_picture(host, watch(host, prompt)).tolist() == [[[7, 8, 9]]]


def test_cores_boxes_say_where_to_look(host: Any) -> None:
    """Grace Hopper's face, and a corner of the flag, in which there is none."""
    for box, faces in (((150, 100, 200, 250), "1"), ((0, 500, 80, 80), "0")):
        x, y, width, height = box
        prompt = {
            "1": {"class_type": "LoadImage", "inputs": {"image": "grace-hopper.jpg"}},
            "2": {"class_type": "PrimitiveBoundingBox", "inputs": {"x": x, "y": y, "width": width, "height": height}},
            "3": {"class_type": "CLRFaceDetectAlign", "inputs": {
                "image": ["1", 0], "bboxes": ["2", 0], "detector": "yunet", "score_threshold": 0.8, "order": "area",
                "min_size": 0, "at_most": 0}},
            "4": {"class_type": "PreviewAny", "inputs": {"source": ["3", 2]}},
        }  # fmt: skip
        seen = watch(host, prompt)
        said = [data["output"]["text"] for kind, data in seen.events if kind == "executed" and data["node"] == "4"]
        assert said == [[faces]], seen.events[-1]


def test_models_can_be_unloaded_and_come_back(host: Any) -> None:
    host.post("/free", {"unload_models": True, "free_memory": True})
    assert "execution_success" in watch(host, one_node(seed=11, guidance_scale=0.5)).kinds()


def test_half_precision_and_model_folders_elsewhere_or_unreadable(
    start: Any, tool: ModuleType, host: Any, tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "clrface").write_text("a file where the folder should be")
    (tmp_path / "elsewhere").mkdir()
    shutil.copy2(
        ROOT / "clrface_core" / "weights" / "clrface-s.safetensors", tmp_path / "elsewhere" / "own.safetensors"
    )
    (tmp_path / "paths.yaml").write_text(f"mine:\n    base_path: {tmp_path}\n    clrface: elsewhere\n")
    options = ["--fp16-intermediates", "--extra-model-paths-config", str(tmp_path / "paths.yaml")]
    with start(tmp_path, *options) as other:
        files = other.info["CLRFaceLoadModel"]["input"]["required"]["file"][1]["options"]
        assert files == ["bundled (CLR-Face s)", "own.safetensors"]
        modular = next(path for path in GRAPHS if path.stem.startswith("2"))
        prompt = prompt_of(tool, other, modular)
        load = next(node for node in prompt.values() if node["class_type"] == "CLRFaceLoadModel")
        load["inputs"]["file"] = "own.safetensors"
        half = saved_picture(other, watch(other, prompt)).astype(int)
        load["inputs"]["file"] = "bundled (CLR-Face s)"
        full = saved_picture(host, watch(host, prompt)).astype(int)
        assert 0 < np.abs(half - full).mean() < 2
        load["inputs"]["file"] = "mine.safetensors"
        answer = other.post("/prompt", {"prompt": prompt})
        [[error]] = [node["errors"] for node in answer["node_errors"].values()]
        assert "Expected a model that is in models/clrface and readable" in error["details"]
        assert "execution_success" in watch(other, one_node(seed=12)).kinds()


def test_what_the_front_end_asks_for_is_there(host: Any) -> None:
    log = host.log.read_text()
    assert "IMPORT FAILED" not in log and "clr-face" in log
    print("\nimport:", re.findall(r"([\d.]+ seconds): .*clr-face", log))
    assert sum(name.startswith("CLRFace") for name in host.info) >= 14
    translations = json.loads(host.get("/i18n"))
    assert all("CLRFaceRestoreFaces" in translations[language]["nodeDefs"] for language in ("en", "zh", "ja"))
    assert len(json.loads(host.get("/workflow_templates"))["clr-face"]) == len(GRAPHS)
    blocks = json.loads(host.get("/global_subgraphs")).values()
    assert "Restore Faces (CLR-Face)" in {block["name"] for block in blocks}
    scripts = json.loads(host.get("/extensions"))
    assert "/extensions/clr-face/clrface.js" in scripts
    for name in host.info:
        if name.startswith("CLRFace"):
            assert host.get(f"/extensions/clr-face/docs/{name}/en.md").startswith(b"# ")
