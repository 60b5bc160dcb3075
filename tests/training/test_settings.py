"""Training configs extend each other, and unknown settings are errors."""

import json
from pathlib import Path
from typing import Any

import pytest

from clrface_core.errors import CLRFaceError
from clrface_core.training.settings import override, read_config


def test_configs_extend_each_other(tmp_path: Path) -> None:
    changed: dict[str, Any] = {"extends": "s", "model": "s-f16", "stages": {"refiner": {"decode_crop": 256}}}
    (tmp_path / "mine.json").write_text(json.dumps(changed))
    plain, mine = read_config("s"), read_config(tmp_path / "mine.json")
    assert mine["model"] == "s-f16" and mine["stages"]["refiner"]["decode_crop"] == 256
    assert mine["stages"]["refiner"] == plain["stages"]["refiner"] | {"decode_crop": 256}
    assert {name: mine["stages"][name] for name in ("vq", "irn", "mask")} == {
        name: plain["stages"][name] for name in ("vq", "irn", "mask")
    }

    changed["stages"]["refiner"]["decode_corp"] = 256
    (tmp_path / "mine.json").write_text(json.dumps(changed))
    with pytest.raises(CLRFaceError, match=r"for refiner, got decode_corp in .*mine\.json"):
        read_config(tmp_path / "mine.json")


def test_overrides_and_configs_are_checked(tmp_path: Path) -> None:
    settings = read_config("s")["stages"]["irn"]
    changed = override(settings, ["batch=3", "weights.l1=0.5"])
    assert (changed["batch"], changed["weights"]["l1"]) == (3, 0.5)
    assert settings["batch"] != 3  # the original is left alone
    for bad in ("bach=3", "batch=three", "weights.l3=1"):
        with pytest.raises(CLRFaceError, match="known setting"):
            override(settings, [bad])
    with pytest.raises(CLRFaceError, match="training config"):
        read_config("huge")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(CLRFaceError, match="Expected JSON"):
        read_config(tmp_path / "bad.json")
