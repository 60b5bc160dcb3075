"""Help pages and translations say what the schemas say, of every node and of everything on it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def texts(node: Any) -> dict[str, Any]:
    """What a translation file holds of one node, in English."""
    schema = node.define_schema()

    def named(entry: Any) -> dict[str, str]:
        return {"name": entry.id.replace("_", " "), "tooltip": entry.tooltip}

    return {
        "display_name": schema.display_name,
        "description": schema.description,
        "inputs": {entry.id: named(entry) for entry in schema.inputs},
        "outputs": {str(index): named(entry) for index, entry in enumerate(schema.outputs)},
    }


def leaves(tree: Any, path: str = "") -> dict[str, str]:
    if isinstance(tree, str):
        return {path: tree}
    return {key: leaf for name, branch in tree.items() for key, leaf in leaves(branch, f"{path}/{name}").items()}


def translation(language: str) -> dict[str, Any]:
    return json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))


def test_english_is_what_the_schemas_say(nodes: dict[str, Any]) -> None:
    assert translation("en") == {name: texts(node) for name, node in nodes.items()}


@pytest.mark.parametrize(("language", "script"), [("zh", r"[\u4e00-\u9fff]"), ("ja", r"[\u3040-\u30ff\u4e00-\u9fff]")])
def test_translations_are_whole(language: str, script: str) -> None:
    english, ours = leaves(translation("en")), leaves(translation(language))
    assert ours.keys() == english.keys()
    assert [path for path, text in ours.items() if not re.search(script, text) and text not in ("VAE",)] == []
    assert [path for path, text in ours.items() if text.count("\n") != english[path].count("\n")] == []


def test_tooltips_take_several_lines(nodes: dict[str, Any]) -> None:
    short = [path for path, text in leaves(translation("en")).items() if path.endswith("/tooltip") and "\n" not in text]
    assert short == []


@pytest.mark.parametrize("language", ["en", "zh", "ja"])
def test_every_node_has_a_help_page_that_names_what_is_on_it(nodes: dict[str, Any], language: str) -> None:
    """ComfyUI asks for the page in the user's language, and falls back to no other."""
    names = translation(language)
    assert {page.parent.name for page in (ROOT / "js" / "docs").glob(f"*/{language}.md")} == set(nodes)
    for name, node in names.items():
        page = (ROOT / "js" / "docs" / name / f"{language}.md").read_text(encoding="utf-8")
        assert page.startswith(f"# {node['display_name']}\n") and len(page) > (500 if language == "en" else 200)
        for entry, texts in (*node["inputs"].items(), *node["outputs"].items()):
            assert f"| **{texts['name']}** |" in page or f"| **{entry}** |" in page, f"{name}: {entry}"
            assert re.sub(r"\s", "", texts["tooltip"]) in re.sub(r"\s", "", page), f"{name}: {entry}"
