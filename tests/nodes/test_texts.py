"""Translations and help pages say what the schemas say, of every node and of everything on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("en", "zh", "ja")
COMMAND = "python -m tools.texts"


@pytest.fixture(scope="module")
def texts(tools: Callable[[str], ModuleType]) -> ModuleType:
    return tools("texts")


def leaves(texts: ModuleType, language: str) -> dict[str, str]:
    return texts.leaves(json.loads(texts.saved(language).read_text(encoding="utf-8")))


def test_what_repeats_the_schemas_is_up_to_date(texts: ModuleType, nodes: dict[str, Any]) -> None:
    made = texts.files(nodes)
    stale = [
        str(path.relative_to(ROOT))
        for path, text in made.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    assert stale == [], f"stale: run `{COMMAND}`, and commit what it writes"
    gone = {path.relative_to(ROOT).as_posix() for path in (ROOT / "js" / "docs").glob("*/*.md") if path not in made}
    assert gone == set(), "help pages of nodes or languages that there are not: remove them"


@pytest.mark.parametrize("language", ["zh", "ja"])
def test_translations_are_whole(texts: ModuleType, language: str) -> None:
    waiting = texts.untranslated(json.loads(texts.saved(language).read_text(encoding="utf-8")), language)
    assert waiting == {}, f"translate these in locales/{language}/nodeDefs.json, then run `{COMMAND}`"
    english, ours = leaves(texts, "en"), leaves(texts, language)
    assert [path for path, text in ours.items() if text.count("\n") != english[path].count("\n")] == []


def test_tooltips_take_several_lines(texts: ModuleType) -> None:
    short = [path for path, text in leaves(texts, "en").items() if path.endswith("/tooltip") and "\n" not in text]
    assert short == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_help_pages_have_prose_beside_the_tables(texts: ModuleType, nodes: dict[str, Any], language: str) -> None:
    for name in nodes:
        page = (ROOT / "js" / "docs" / name / f"{language}.md").read_text(encoding="utf-8")
        assert page.startswith("# ") and page.count(texts.MARKER) == 1
        assert len(page) > (500 if language == "en" else 200), name


def test_words_stay_translated_until_the_english_changes(texts: ModuleType) -> None:
    then = {"Node": {"inputs": {"a": {"name": "a", "tooltip": "Same."}, "t0": {"name": "t0", "tooltip": "Old."}}}}
    now = {"Node": {"inputs": {"a": {"name": "a", "tooltip": "Same."}, "b": {"name": "b", "tooltip": "Other."}}}}
    now["Node"]["inputs"]["a"]["name"] = "alpha"
    ours = {"Node": {"inputs": {"a": {"name": "甲", "tooltip": "一样。"}, "t0": {"name": "起点", "tooltip": "旧。"}}}}
    merged = texts.translated(now, then, ours)
    assert merged["Node"]["inputs"] == {
        "a": {"name": "alpha", "tooltip": "一样。"},
        "b": {"name": "b", "tooltip": "Other."},
    }
    assert set(texts.untranslated(merged, "zh")) == {
        "/Node/inputs/a/name", "/Node/inputs/b/name", "/Node/inputs/b/tooltip",
    }  # fmt: skip


def test_prose_stays_where_tables_change(texts: ModuleType) -> None:
    node = {
        "display_name": "Node",
        "description": "Two\nlines.",
        "inputs": {"min_size": {"name": "min size", "tooltip": "Small.\nZero takes all."}},
        "outputs": {"0": {"name": "out", "tooltip": "What comes."}},
    }
    now = f"# Old\n\nOld words.\n\nBy hand.\n\n- a\n- b\n\n{texts.MARKER}\n\n| **gone** | x |\n"
    page = texts.page(node, "en", now)
    assert page.startswith(f"# Node\n\nTwo lines.\n\nBy hand.\n\n- a\n- b\n\n{texts.MARKER}\n\n## Inputs\n")
    assert "| **min_size** | Small. Zero takes all. |" in page and "gone" not in page
    assert texts.page(node, "en", page) == page
