"""Training on a machine that is lent for half an hour at a time, with small transfers both ways.

    python -m tools.gpu_round pack --to parts/ --part 60 code.tar shards/*.tar weights.safetensors
    python -m tools.gpu_round unpack parts/ --to here/             # there, once all parts are over
    python -m tools.gpu_round run --minutes irn=9 refiner=12 --init bundle.safetensors \\
        --data here/ --run run/ --out "$OUT"
    python -m tools.gpu_round restore back/ --run run/             # on a fresh machine, before `run` again

`run` trains the stages in order, each for its minutes in all, by the clock. Whenever a stage has saved (every two
minutes with the config s-gpu) it leaves its checkpoint in OUT, in half precision and in parts that can be fetched.
Everything is checked by its SHA-256: a part that is missing or damaged is named.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch

from clrface_core.errors import CLRFaceError
from clrface_core.training.loop import TrainOptions, train

MIB = 2**20
MANIFEST = "manifest.json"


class _Parts(io.RawIOBase):
    """What is written goes to files of at most `size` bytes, `name`.000 and on."""

    def __init__(self, folder: Path, name: str, size: int) -> None:
        self.folder, self.name, self.size = folder, name, size
        self.sums: dict[str, str] = {}
        self._content = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self._content += content
        while len(self._content) >= self.size:
            self._flush(self.size)
        return len(content)

    def _flush(self, length: int) -> None:
        part, self._content = bytes(self._content[:length]), self._content[length:]
        path = self.folder / f"{self.name}.{len(self.sums):03d}"
        path.write_bytes(part)
        self.sums[path.name] = hashlib.sha256(part).hexdigest()

    def close(self) -> None:
        if not self.closed and self._content:
            self._flush(len(self._content))
        super().close()


def write_parts(folder: Path, name: str, source: BinaryIO, size: int) -> dict[str, str]:
    """A stream as files of at most `size` bytes; their SHA-256 by name."""
    with _Parts(folder, name, size) as parts:
        shutil.copyfileobj(source, parts, MIB)
    return parts.sums


def read_parts(folder: Path, sums: dict[str, str]) -> Iterator[bytes]:
    """The files of `write_parts`, one after the other. CLRFaceError where one is missing or damaged."""
    for name, wanted in sums.items():
        path = folder / name
        content = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(content).hexdigest() != wanted:
            raise CLRFaceError(f"Expected the part {path} as it was packed, got {len(content)} bytes: send it again.")
        yield content


def pack(files: Sequence[Path], to: Path, size: int) -> None:
    """Files of any size in parts of at most `size` bytes, and a manifest that says what they are."""
    to.mkdir(parents=True, exist_ok=True)
    manifest = {}
    for number, path in enumerate(files):
        with path.open("rb") as source:
            manifest[path.name] = write_parts(to, f"{number:03d}", source, size)
    (to / MANIFEST).write_text(json.dumps(manifest, indent=1))


def unpack(folder: Path, to: Path) -> None:
    """The files that `pack` took, in `to`."""
    to.mkdir(parents=True, exist_ok=True)
    for name, sums in json.loads((folder / MANIFEST).read_text()).items():
        with (to / Path(name).name).open("wb") as target:
            target.writelines(read_parts(folder, sums))


def in_half(state: Any, dtype: torch.dtype) -> Any:
    """A checkpoint's tensors in half precision. Optimiser states are small numbers: bfloat16 keeps their size."""
    if isinstance(state, dict):
        return {key: in_half(value, torch.bfloat16 if key == "optimiser" else dtype) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(in_half(value, dtype) for value in state)
    return state.to("cpu", dtype) if isinstance(state, torch.Tensor) and state.dtype == torch.float32 else state


def in_full(state: Any) -> Any:
    """What `in_half` made, in float32 again."""
    if isinstance(state, dict):
        return {key: in_full(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(in_full(value) for value in state)
    halves = (torch.float16, torch.bfloat16)
    return state.float() if isinstance(state, torch.Tensor) and state.dtype in halves else state


def publish(stage: str, run: Path, out: Path, size: int) -> None:
    """The stage's checkpoint as parts in `out`; parts of an earlier one go first, as there is little room."""
    state = torch.load(run / stage / "checkpoint.pt", map_location="cpu", weights_only=True)
    stream = io.BytesIO()
    torch.save(in_half(state, torch.float16), stream)
    stream.seek(0)
    for old in (out / f"{stage}.json", *out.glob(f"{stage}.[0-9]*")):
        old.unlink(missing_ok=True)
    sums = write_parts(out, stage, stream, size)
    (out / f"{stage}.json").write_text(json.dumps(sums))  # last: parts without it are not whole


def restore(folder: Path, run: Path) -> list[str]:
    """The checkpoints that `publish` left in `folder`, in the run folder; the stages' names."""
    stages = sorted(path.stem for path in folder.glob("*.json") if path.name != MANIFEST)
    for stage in stages:
        sums = json.loads((folder / f"{stage}.json").read_text())
        stream = io.BytesIO(b"".join(read_parts(folder, sums)))
        (run / stage).mkdir(parents=True, exist_ok=True)
        torch.save(in_full(torch.load(stream, weights_only=True)), run / stage / "checkpoint.pt")
    return stages


class Publisher:
    """A thread that publishes a stage's checkpoint each time it has been saved anew."""

    def __init__(self, stage: str, run: Path, out: Path, size: int) -> None:
        self._publish = lambda: publish(stage, run, out, size)
        self._path, self._seen, self._over = run / stage / "checkpoint.pt", 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._over.wait(2):
            self._look()

    def _look(self) -> None:
        saved = self._path.stat().st_mtime_ns if self._path.is_file() else 0
        if saved != self._seen:
            self._publish()
            self._seen = saved

    def __enter__(self) -> Publisher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()


def run(args: argparse.Namespace) -> None:
    """The stages in order, each until its minutes in all are over."""
    args.out.mkdir(parents=True, exist_ok=True)
    for stage, minutes in args.minutes:
        options = TrainOptions(
            stage, args.data, args.run, args.config, minutes=minutes, device=args.device, perceptual=args.perceptual,
            init=args.init, workers=args.workers, val=args.val, overrides=["steps=null", *args.set], progress=False,
        )  # fmt: skip
        with Publisher(stage, args.run, args.out, args.part * MIB):
            trainer = train(options)
        print(f"{stage}: {trainer.step} steps, {trainer.minutes():.1f} minutes", flush=True)


def _share(text: str) -> tuple[str, float]:
    stage, _, minutes = text.partition("=")
    return stage, float(minutes)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m tools.gpu_round", description=__doc__.split("\n")[0])
    commands = top.add_subparsers(dest="command", required=True)
    for name, text in (("pack", "files to parts"), ("unpack", "parts to files"), ("restore", "parts to checkpoints")):
        command = commands.add_parser(name, help=text)
        command.add_argument("files" if name == "pack" else "folder", type=Path, nargs="+" if name == "pack" else None)
        command.add_argument("--run" if name == "restore" else "--to", type=Path, required=True, metavar="DIR")
        if name == "pack":
            command.add_argument("--part", type=int, default=60, metavar="MIB", help="the largest part")
    command = commands.add_parser("run", help="train the stages, by the clock")
    command.add_argument("--minutes", nargs="+", type=_share, required=True, metavar="STAGE=M")
    command.add_argument("--data", nargs="+", type=Path, required=True)
    command.add_argument("--val", nargs="*", type=Path, default=[])
    for name in ("--run", "--out"):
        command.add_argument(name, type=Path, required=True, metavar="DIR")
    command.add_argument("--init", type=Path, metavar="FILE")
    command.add_argument("--perceptual", type=Path, metavar="FILE")
    command.add_argument("--config", default="s-gpu")
    command.add_argument("--device", default="cuda")
    command.add_argument("--workers", type=int, default=12)
    command.add_argument("--part", type=int, default=15, metavar="MIB", help="the largest part")
    command.add_argument("--set", nargs="*", default=[], metavar="KEY=JSON", help="settings of all stages")
    return top


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command says."""
    args = parser().parse_args(arguments)
    if args.command == "pack":
        pack(args.files, args.to, args.part * MIB)
    elif args.command == "unpack":
        unpack(args.folder, args.to)
    elif args.command == "restore":
        print("restored:", ", ".join(restore(args.folder, args.run)))
    else:
        run(args)


if __name__ == "__main__":
    main()
