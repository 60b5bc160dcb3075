"""Training configs: JSON files of the package or of the user's, and single settings in their place."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import CLRFaceError

CONFIG_DIR = Path(__file__).parent / "configs"


def read_config(name: str | Path) -> dict[str, Any]:
    """A training config: one of the package's by name, or any JSON file of that form.

    One that `extends` another takes its stages from there, and replaces single settings of them; unknown ones are an
    error.
    """
    path = Path(name) if str(name).endswith(".json") else CONFIG_DIR / f"{name}.json"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in CONFIG_DIR.glob("*.json")))
        raise CLRFaceError(f"Expected a training config out of {known} or a .json file, got {name}: check --config.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise CLRFaceError(f"Expected JSON in {path}, but {error}: correct the file.") from error
    if "extends" not in config:
        return config
    stages = read_config(config["extends"])["stages"]
    for stage, changes in config.get("stages", {}).items():
        if unknown := changes.keys() - stages.get(stage, {}).keys():
            raise CLRFaceError(
                f"Expected settings that {config['extends']} has for {stage}, got {', '.join(sorted(unknown))} in "
                f"{path}: correct or remove them."
            )
        stages[stage] |= changes
    return {"model": config["model"], "stages": stages}


def override(settings: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Settings with `key=value` (dots descend, values are JSON) applied; unknown keys are an error."""
    settings = json.loads(json.dumps(settings))
    for assignment in assignments:
        path, _, text = assignment.partition("=")
        *parents, key = path.split(".")
        place = settings
        try:
            for parent in parents:
                place = place[parent]
            place[key]
            place[key] = json.loads(text)
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise CLRFaceError(
                f"Expected a known setting as key=JSON, got {assignment!r}: settings are {', '.join(settings)}."
            ) from error
    return settings
