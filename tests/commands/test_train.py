"""`clrface train`: its options reach the loop and the export."""

from pathlib import Path
from typing import Any

import pytest

from clrface_core.cli import main
from clrface_core.training import assemble, loop


def test_training_and_export_reach_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    class Done:
        step = 7

    def train(options: loop.TrainOptions) -> Done:
        seen.append(options)
        return Done()

    def export(*arguments: Any) -> None:
        seen.append(arguments)

    monkeypatch.setattr(loop, "train", train)
    monkeypatch.setattr(assemble, "export", export)
    notes = tmp_path / "notes.json"
    notes.write_text('{"compute": "two cores"}')
    command = ["train", "irn", "--data", "a.tar", "b.tar", "--run", "run", "--minutes", "2.5", "--device", "cpu"]
    assert main([*command, "--set", "lr=0.1", "--quiet"]) == 0
    assert (seen[0].stage, seen[0].data, seen[0].minutes) == ("irn", [Path("a.tar"), Path("b.tar")], 2.5)
    assert seen[0].overrides == ["lr=0.1"] and seen[0].device == "cpu" and not seen[0].progress
    assert main(["train", "export", "--run", "run", "-o", "m.safetensors", "--notes", str(notes)]) == 0
    assert seen[1] == (Path("run"), Path("m.safetensors"), "s", {"compute": "two cores"}, None, {})
    assert main(["train", "export", "--run", "run", "-o", "m.safetensors", "--average", "irn=0.6", "mask=1"]) == 0
    assert seen[2][5] == {"irn": 0.6, "mask": 1.0}
