"""What workflows rely on: ids, inputs and outputs stay; everything is explained."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from clrface_core import Blending, Detection, Sampling

SNAPSHOT = Path(__file__).parent / "schemas.json"


def describe(node: Any) -> dict[str, Any]:
    """The part of a schema that a saved workflow depends on."""
    schema = node.define_schema()
    return {
        "inputs": {entry.id: entry.io_type for entry in schema.inputs},
        "outputs": [[entry.id, entry.io_type] for entry in schema.outputs],
    }


def test_nothing_that_workflows_use_has_gone(nodes: dict[str, Any], request: pytest.FixtureRequest) -> None:
    now = {name: describe(node) for name, node in sorted(nodes.items())}
    if request.config.getoption("--update-schemas"):
        SNAPSHOT.write_text(json.dumps(now, indent=1) + "\n")
    then = json.loads(SNAPSHOT.read_text())
    for name, old in then.items():
        assert name in now, f"the node {name} has gone"
        for entry, kind in old["inputs"].items():
            assert now[name]["inputs"].get(entry) == kind, f"input {entry} of {name}"
        assert now[name]["outputs"][: len(old["outputs"])] == old["outputs"], f"outputs of {name}"
    assert now == then, "schemas have grown: run pytest tests/nodes/test_schemas.py --update-schemas, and commit"


def test_every_node_is_named_filed_and_explained(nodes: dict[str, Any]) -> None:
    for name, node in nodes.items():
        schema = node.define_schema()
        assert name.startswith("CLRFace") and schema.category == "CLR-Face"
        assert schema.display_name and len(schema.search_aliases) >= 3
        assert schema.description
        for entry in (*schema.inputs, *schema.outputs):
            assert entry.tooltip and len(entry.tooltip) > 15, f"{entry.id} of {name} has no tooltip"
            assert entry.io_type.startswith("CLRFACE_") or "CLRFACE" not in entry.io_type


def test_every_setting_of_the_library_is_a_widget(nodes: dict[str, Any]) -> None:
    inputs = {entry.id for entry in nodes["CLRFaceRestoreFaces"].define_schema().inputs}
    for kind in (Sampling, Detection, Blending):
        assert {each.name for each in fields(kind)} <= inputs, kind
    pasted = {entry.id for entry in nodes["CLRFaceFacePaste"].define_schema().inputs}
    assert {each.name for each in fields(Blending)} - pasted == {"strength", "skip_blurred"}  # it knows no severity


def test_defaults_are_the_librarys(nodes: dict[str, Any]) -> None:
    from clrface_core.models.configs import CONFIGS

    usual = Sampling()
    for name in ("CLRFaceRestoreFaces", "CLRFaceLatentRefineSampler"):
        defaults = {
            entry.id: entry.default for entry in nodes[name].define_schema().inputs if hasattr(entry, "default")
        }
        assert (defaults["steps"], defaults["solver"], defaults["guidance_scale"]) == (
            usual.steps,
            usual.solver,
            usual.guidance_scale,
        )
        assert {defaults["denoise"]} == {config.refiner.t0 for config in CONFIGS.values()}
