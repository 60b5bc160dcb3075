"""`clrface info`: what a model file says of itself."""

import json
from pathlib import Path
from typing import Any

from clrface_core.cli import main
from clrface_core.models.bundle import build


def test_info(model: Path, capsys: Any) -> None:
    assert main(["info", str(model), "--json"]) == 0
    description = json.loads(capsys.readouterr().out)
    bundle = build("tiny")
    for name, network in bundle.networks().items():
        assert description["networks"][name]["parameters"] == sum(p.numel() for p in network.parameters())
    assert description["bytes"] == model.stat().st_size and description["notes"] == {"data": "none"}
    assert main(["info", str(model)]) == 0
    table = capsys.readouterr().out
    assert description["sha256"] in table and "refiner" in table and "n_embed=64" in table
    assert main(["info", str(model.parent)]) == 1
