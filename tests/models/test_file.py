"""A file of networks holds what was saved; a damaged or hostile one is a sentence, soon and in little memory."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from clrface_core.errors import CLRFaceError
from clrface_core.models.bundle import build, load_bundle, save_bundle
from clrface_core.models.file import read_header, read_networks, write_networks
from clrface_core.models.irn import IRN, IRNConfig
from clrface_core.models.unet import UNetConfig

Change = Callable[[dict[str, Tensor], dict[str, str]], Any]
DEEP = "[" * 200_000


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "m.safetensors"
    save_bundle(path, build("tiny"), torch.float32)
    return path


def changed(original: Path, path: Path, change: Change) -> Path:
    """The file after `change(tensors, metadata)`."""
    with safe_open(original, "pt") as file:
        metadata = dict(file.metadata())
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    change(tensors, metadata)
    save_file(tensors, path, metadata)
    return path


def setting(network: str, **values: Any) -> Change:
    """A change of a network's config; `unet` is merged into the one that is there."""

    def change(_: dict[str, Tensor], metadata: dict[str, str]) -> None:
        config = json.loads(metadata[network])
        if isinstance(values.get("unet"), dict):
            values["unet"] = config["unet"] | values["unet"]
        metadata[network] = json.dumps(config | values)

    return change


def header(**texts: str) -> Change:
    """Other texts in the header."""
    return lambda _, metadata: metadata.update(texts)


def tensor(key: str, make: Callable[[Tensor], Tensor]) -> Change:
    """Another tensor in the place of one."""
    return lambda tensors, _: tensors.update({key: make(tensors[key])})


def poisoned(value: Tensor) -> Tensor:
    value.view(-1)[-1] = float("nan")
    return value


def peak() -> float:
    """The most memory that this process ever had, in MB; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def refused(path: Path, message: str) -> None:
    """Loading ends in one sentence that says `message`, within 2 s of this process's time and 200 MB."""
    started, before = time.process_time(), peak()
    with pytest.raises(CLRFaceError, match=message) as caught:
        load_bundle(path)
    assert time.process_time() - started < 2 and peak() - before < 200
    assert len(str(caught.value)) < 600 + len(str(path)) and "\n" not in str(caught.value)


HEADERS: dict[str, tuple[Change, str]] = {
    "another kind": (header(format="other"), "another kind of safetensors"),
    "a later version": (header(version="9"), "update CLR-Face"),
    "no name": (lambda t, m: m.pop("name"), "Expected a name"),
    "a name for a terminal": (header(name="\x1b[2J"), "Expected a name"),
    "a name without end": (header(name="n" * 100_000), "Expected a name"),
    "no notes": (lambda t, m: m.pop("notes"), "Expected JSON for notes"),
    "notes not JSON": (header(notes="{steps"), "Expected JSON for notes"),
    "deep notes": (header(notes=DEEP), "Expected JSON for notes"),
    "long notes": (header(notes=f'["{"x" * 2**20}"]'), "at most 1 MB"),
    "a list of notes": (header(notes="[1]"), "Expected notes by name"),
    "a size in words": (header(size='"large"'), "a whole number for size"),
    "a size past all": (header(size="1e999"), "a whole number for size"),
    "no size": (header(size="0"), "a number from 16 to 4096 for size"),
    "an odd size": (header(size="72"), "multiple of 16 px"),
    "a number of 5,000 digits": (header(size="9" * 5000), "size"),
    "a deep config": (header(irn=DEEP), "Expected JSON for irn"),
    "a config that is null": (header(irn="null"), "settings by name in irn"),
    "a config that is a list": (header(vq="[]"), "settings by name in vq"),
    "a U-Net that is a number": (setting("irn", unet=3), "settings by name in irn"),
    "no U-Net": (header(refiner="{}"), "the setting unet in refiner"),
    "an unknown setting": (header(mask='{"colour": 3}'), "'colour'"),
    "a text for a number": (setting("vq", ch="8"), "a whole number for ch in vq.*'8'"),
    "true for a number": (setting("vq", ch=True), "a whole number for ch in vq.*True"),
    "a fraction for a number": (setting("vq", ch=8.5), "a whole number for ch"),
    "a number for a list": (setting("vq", ch_mult=3), "a list of up to 64 numbers for ch_mult"),
    "a list of lists": (setting("mask", dilations=[[1]]), "a whole number for dilations"),
    "a long list": (setting("mask", dilations=[1] * 50_000), "a list of up to 64"),
    "an empty list": (setting("mask", dilations=[]), "at least one dilation"),
    "a number for a text": (setting("refiner", schedule=3), "a text for schedule"),
    "a start that is no number": (setting("refiner", t0=float("nan")), "for t0 in refiner"),
    "negative widths": (setting("irn", unet={"widths": [-8, 16]}), "for widths in irn"),
    "widths of 1e9": (setting("irn", unet={"widths": [10**9, 10**9]}), "for widths in irn"),
    "widths of 4096": (setting("irn", unet={"widths": [4096, 4096]}), "of shape"),
    "no norms": (setting("irn", unet={"norm_groups": 0}), "multiples of norm_groups=0"),
    "no reduction": (setting("irn", reduce=0), "for reduce in irn.*got 0"),
    "a reduction of null": (setting("irn", reduce=None), "for reduce in irn.*got None"),
    "a huge patch": (setting("refiner", patch=10**6), "for patch in refiner"),
    "a codebook of 1e12": (setting("vq", n_embed=10**12), "for n_embed in vq"),
    "a million VQ blocks": (setting("vq", num_res_blocks=10**6), "for num_res_blocks in vq"),
    "4096 VQ blocks": (setting("vq", num_res_blocks=4096), "describes more"),
    "4096 U-Net blocks": (setting("refiner", unet={"blocks": [4096, 4096]}), "describes more"),
    "more maps than channels": (setting("mask", maps=2), "1 map or 3"),
}
TENSORS: dict[str, tuple[Change, str]] = {
    "one missing": (lambda t, m: t.pop("irn.unet.conv_in.bias"), "irn.unet.conv_in.bias is missing"),
    "one too many": (lambda t, m: t.update({"vq.extra": torch.zeros(1)}), "vq.extra' does not belong"),
    "of no network": (lambda t, m: t.update({"x.y": torch.zeros(1)}), "x.y' does not belong"),
    "of a network without a config": (lambda t, m: m.pop("mask"), "mask.*does not belong"),
    "a name without end": (lambda t, m: t.update({"vq." + "n" * 9999: torch.zeros(1)}), "does not belong"),
    "5,000 of them": (lambda t, m: t.update({f"vq.{i}": torch.zeros(1) for i in range(5000)}), "up to 4096 tensors"),
    "another shape": (tensor("vq.quant_conv.bias", lambda _: torch.zeros(7)), r"bias of shape \(3,\).*got \(7,\)"),
    "int8": (tensor("irn.unet.conv_in.weight", lambda w: w.to(torch.int8)), "conv_in.weight as floats.*I8"),
    "int64": (tensor("refiner.unet.conv_in.weight", lambda w: w.long()), "conv_in.weight as floats.*I64"),
    "bool": (tensor("mask.logits.weight", lambda w: w > 0), "logits.weight as floats.*BOOL"),
    "float8": (tensor("mask.logits.weight", lambda w: w.to(torch.float8_e4m3fn)), "logits.weight as floats.*F8"),
    "NaN in the refiner": (tensor("refiner.unet.conv_out.bias", poisoned), "NaN or infinity in refiner.unet.conv_out"),
    "NaN in the codebook": (tensor("vq.quantize.embedding.weight", poisoned), "infinity in vq.quantize.embedding"),
    "NaN in the mask": (tensor("mask.logits.bias", poisoned), "NaN or infinity in mask.logits.bias"),
    "infinity": (tensor("irn.unet.conv_in.bias", lambda w: w / 0), "NaN or infinity in irn.unet.conv_in.bias"),
    "too large for float32": (
        tensor("irn.unet.conv_in.bias", lambda w: 1e300 + w.double()),
        "in irn.unet.conv_in.bias",
    ),
}


@pytest.mark.parametrize("case", HEADERS)
def test_an_odd_header_is_named(original: Path, tmp_path: Path, case: str) -> None:
    change, message = HEADERS[case]
    refused(changed(original, tmp_path / "m.safetensors", change), message)


@pytest.mark.parametrize("case", TENSORS)
def test_odd_tensors_are_named(original: Path, tmp_path: Path, case: str) -> None:
    change, message = TENSORS[case]
    refused(changed(original, tmp_path / "m.safetensors", change), message)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x08", b"no tensors here", b"\xff" * 8 + b"{", (2**40).to_bytes(8, "little"), b"\x80\x96\x98\0\0\0\0\0"],
    ids=["empty", "one byte", "text", "a header without end", "a header of 1 TB", "a header that is cut short"],
)
def test_what_is_no_safetensors_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.safetensors").write_bytes(content)
    refused(tmp_path / "m.safetensors", "could not read it")


@pytest.mark.parametrize("kept", [0.01, 0.5, 0.999])
def test_a_truncated_file_is_named(original: Path, tmp_path: Path, kept: float) -> None:
    whole = original.read_bytes()
    (tmp_path / "m.safetensors").write_bytes(whole[: int(kept * len(whole))])
    refused(tmp_path / "m.safetensors", "could not read it")


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    refused(tmp_path, "could not read it")
    refused(tmp_path / "none.safetensors", r"none\.safetensors")
    if hasattr(os, "mkfifo"):  # opening one would wait for a writer
        os.mkfifo(tmp_path / "pipe.safetensors")
        refused(tmp_path / "pipe.safetensors", "could not read it")


def test_a_deep_header_of_the_format_itself_is_named(tmp_path: Path) -> None:
    text = b'{"__metadata__":' + DEEP.encode()
    (tmp_path / "m.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    refused(tmp_path / "m.safetensors", "could not read it")


def test_odd_hyper_parameters_survive(tmp_path: Path) -> None:
    config = IRNConfig(UNetConfig((12, 24, 36), (2, 1, 3), norm_groups=3, head_channels=9), patch=2, reduce=1)
    path = tmp_path / "odd.safetensors"
    write_networks(path, {"irn": IRN(config)}, name="odd", notes={"steps": 3}, size=96, dtype=torch.float32)
    found, networks = read_networks(path)
    assert (found.name, found.notes, found.size) == ("odd", {"steps": 3}, 96)
    assert list(networks) == ["irn"] and networks["irn"].config == config == found.configs["irn"]
    assert read_header(path) == found


def test_a_failed_save_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object, path: Path, *__: object) -> None:
        path.write_bytes(b"half of it")
        raise OSError("disk full")

    monkeypatch.setattr("clrface_core.models.file.save_file", full)
    with pytest.raises(OSError, match="disk full"):
        save_bundle(tmp_path / "m.safetensors", build("tiny"))
    assert list(tmp_path.iterdir()) == []
