"""Write what repeats the nodes' schemas: locales/*/nodeDefs.json, and the tables of the help pages js/docs/*/*.md.

    python -m tools.texts

English is what the schemas say. A translation keeps its words as long as the English ones stay what they were; what is
new or was changed stands there in English, and is listed, until somebody translates it in the nodeDefs.json.

A help page opens with the node's name and description and ends with tables of its inputs and outputs: these are written
here. What stands between the description and the marker is prose, and stays.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
MARKER = "<!-- From here on written by `python -m tools.texts`, as are the title and the first paragraph. -->"

Texts = dict[str, dict[str, Any]]
"""Node id to what a nodeDefs.json holds of it."""


class Language(NamedTuple):
    """How a help page says what its tables are, what joins the lines of a tooltip, and how its words look."""

    inputs: tuple[str, str, str]
    outputs: tuple[str, str, str]
    join: str
    script: str


LANGUAGES = {
    "en": Language(("Inputs", "input", "what it does"), ("Outputs", "output", "what it is"), " ", r""),
    "zh": Language(("输入", "输入", "作用"), ("输出", "输出", "含义"), "", r"[\u4e00-\u9fff]"),
    "ja": Language(("入力", "入力", "働き"), ("出力", "出力", "内容"), "", r"[\u3040-\u30ff\u4e00-\u9fff]"),
}
ALIKE = {"VAE"}
"""Words that are the same in every language."""


def english(nodes: dict[str, Any]) -> Texts:
    """What the schemas of the node classes say, in the form of a nodeDefs.json."""

    def named(entry: Any) -> dict[str, str]:
        return {"name": entry.id.replace("_", " "), "tooltip": entry.tooltip}

    schemas = {name: node.define_schema() for name, node in nodes.items()}
    return {
        name: {
            "display_name": schema.display_name,
            "description": schema.description,
            "inputs": {entry.id: named(entry) for entry in schema.inputs},
            "outputs": {str(index): named(entry) for index, entry in enumerate(schema.outputs)},
        }
        for name, schema in schemas.items()
    }


def translated(now: Any, then: Any, ours: Any) -> Any:
    """The tree of `now`, English, with the words of `ours` where the English was the same `then`."""
    if isinstance(now, str):
        return ours if isinstance(ours, str) and now == then else now
    then, ours = (tree if isinstance(tree, dict) else {} for tree in (then, ours))
    return {key: translated(branch, then.get(key), ours.get(key)) for key, branch in now.items()}


def leaves(tree: Any, path: str = "") -> dict[str, str]:
    """Every text of a tree, by its path."""
    if isinstance(tree, str):
        return {path: tree}
    return {key: leaf for name, branch in tree.items() for key, leaf in leaves(branch, f"{path}/{name}").items()}


def untranslated(texts: Texts, language: str) -> dict[str, str]:
    """The words that are still English, by their path."""
    script = LANGUAGES[language].script
    return {path: text for path, text in leaves(texts).items() if not re.search(script, text) and text not in ALIKE}


def page(node: dict[str, Any], language: str, now: str) -> str:
    """The help page of a node, with the prose of the page as it is `now`."""
    say = LANGUAGES[language]
    prose = now.partition(MARKER)[0].strip().split("\n\n")[2:]
    # An English page calls an input by its id, as the prose does; a translated one as the node shows it.
    inputs = [(key if language == "en" else entry["name"], entry) for key, entry in node["inputs"].items()]
    outputs = [(entry["name"], entry) for entry in node["outputs"].values()]
    parts = [f"# {node['display_name']}", _line(node["description"], say), *prose, MARKER]
    for (title, *head), entries in ((say.inputs, inputs), (say.outputs, outputs)):
        rows = [f"| **{name}** | {_line(entry['tooltip'], say)} |" for name, entry in entries]
        parts += [f"## {title}", "\n".join([f"| {' | '.join(head)} |", "| --- | --- |", *rows])]
    return "\n\n".join(parts) + "\n"


def _line(text: str, say: Language) -> str:
    return text.replace("\n", say.join)


def saved(language: str, root: Path = ROOT) -> Path:
    """The file of a language's words."""
    return root / "locales" / language / "nodeDefs.json"


def files(nodes: dict[str, Any], root: Path = ROOT) -> dict[Path, str]:
    """What each of the generated files under `root` should hold."""

    made: dict[Path, str] = {}
    now, then = english(nodes), _texts(saved("en", root))
    for language in LANGUAGES:
        texts = translated(now, then, _texts(saved(language, root)))
        made[saved(language, root)] = json.dumps(texts, indent=1, ensure_ascii=False) + "\n"
        for name, node in texts.items():
            path = root / "js" / "docs" / name / f"{language}.md"
            made[path] = page(node, language, path.read_text(encoding="utf-8") if path.is_file() else "")
    return made


def _texts(path: Path) -> Texts:
    return json.loads(path.read_text(encoding="utf-8"))


def main() -> None:
    """Write all of them, and list what waits for a translation."""
    from tools.pack import load, nodes_of

    with TemporaryDirectory() as folder:
        made = files(nodes_of(load("clrface_pack", Path(folder))))
    for path, text in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for language in LANGUAGES:
        for words, text in untranslated(json.loads(made[saved(language)]), language).items():
            print(f"{saved(language).relative_to(ROOT)}: {words}: still English: {text!r}")


if __name__ == "__main__":
    main()
