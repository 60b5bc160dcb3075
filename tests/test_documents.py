"""README and docs keep their word: commands parse, files and anchors exist, Python runs, figures are those measured."""

import argparse
import ast
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clrface_core.cli import build_parser
from clrface_core.models.bundle import default_bundle_path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("samples/*.md")])
TRANSLATED = [ROOT / "README.zh.md", ROOT / "README.ja.md"]
CARD = ROOT / "clrface_core" / "weights" / "MODEL_CARD.md"

MODULES = {"tools", "benchmarks", "clrface_core", "venv", "pip", "pytest"}
"""What `python -m` runs in our documents."""
PROGRAMS = {"git", "python", "python3", "pip", "ruff", "mypy", "pytest", "accelerate", "comfy", "npm", "python.exe"}
"""Programs other than ours in our documents."""
SHELL = {"mkdir", "cp", "wait", "cd", "export"}


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def fenced(path: Path, *languages: str) -> list[str]:
    """The fenced blocks of a document in these languages, in order."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", text_of(path), flags=re.M | re.S)
    return [block for language, block in found if language in languages]


def commands(path: Path) -> Iterator[list[str]]:
    """Every command of the shell blocks of a document, and of its running text, as words."""
    lines = "".join(fenced(path, "sh", "bat")).replace("\\\n", " ").splitlines()
    lines += re.findall(
        r"`((?:clrface|python -m|accelerate) [^`]+)`", re.sub(r"^```.*?^```", "", text_of(path), flags=re.M | re.S)
    )
    known: dict[str, str] = {}
    for line in lines:
        for piece in re.split(r"&&|;|(?<![&])&(?![&])", line.replace("$", "\\$")):
            posix = "\\" not in piece.replace("\\$", "")
            words = [
                word.replace("\\$", "$") for word in shlex.split(piece.replace("\\$", "$"), comments=True, posix=posix)
            ]
            if len(words) == 1 and (found := re.fullmatch(r"(\w+)=(.*)", words[0])):
                known[found[1]] = found[2]
            elif words:
                yield [part for word in words for part in _expanded(word, known)]


def _expanded(word: str, known: dict[str, str]) -> list[str]:
    """A word with the variables of the document in place: one that is a variable may be several words."""
    for name, value in known.items():
        if word == f"${name}":
            return [part for each in shlex.split(value) for part in _expanded(each, known)]
        word = word.replace(f"${name}", value)
    return [word]


def ours(words: list[str]) -> list[str] | None:
    """The arguments of `clrface` in a command, however it is started; None where it is another program."""
    if Path(words[0]).name == "clrface":
        return words[1:]
    if "clrface_core" in words and words[words.index("clrface_core") - 1] == "-m":
        return words[words.index("clrface_core") + 1 :]
    return None


def sub_parsers() -> dict[str, argparse.ArgumentParser]:
    for action in build_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise AssertionError("clrface has no sub-commands")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


ALL_COMMANDS = [(path, words) for path in DOCUMENTS for words in commands(path)]


def test_there_is_something_to_check() -> None:
    assert len(DOCUMENTS) > 10 and len(ALL_COMMANDS) > 40
    assert sum(ours(words) is not None for _, words in ALL_COMMANDS) > 25


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_its_commands_are_ours_and_parse(path: Path) -> None:
    for words in commands(path):
        arguments = ours(words)
        if arguments is not None:
            # Whether a store can be opened depends on what is installed; the command does not.
            plain = [word.replace("s3://", "memory://") for word in arguments if word != "..."]
            _parses(plain, complete="..." not in words)
        elif words[1:2] == ["-m"] and words[2].split(".")[0] in ("tools", "benchmarks"):
            module = ROOT / Path(*words[2].split("."))
            assert module.with_suffix(".py").is_file() or (module / "__main__.py").is_file(), words
        else:
            program = re.split(r"[\\/]", words[0])[-1]
            assert program in PROGRAMS | SHELL, f"{named(path)}: {' '.join(words)}"


def _parses(arguments: list[str], *, complete: bool) -> None:
    """The command takes them. What is said of it in passing, such as `clrface restore` alone, need not be complete."""
    if "--help" in arguments or arguments in ([], ["COMMAND"]):
        return
    parser = sub_parsers()[arguments[0]]
    if complete and any(not word.startswith("-") for word in arguments[1:]):
        try:
            build_parser().parse_args(arguments)
        except SystemExit:
            pytest.fail(f"clrface {' '.join(arguments)}")
    else:
        flags = {
            name for each in [parser, *_inner(parser)] for action in each._actions for name in action.option_strings
        }
        assert {word for word in arguments if word.startswith("--")} <= flags, arguments


def _inner(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    return [
        each
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for each in action.choices.values()
    ]


@pytest.mark.parametrize("path", [*DOCUMENTS, CARD], ids=named)
def test_what_it_links_to_is_there(path: Path) -> None:
    """On a clean clone: a picture that git ignores is there on its maker's disk alone."""
    links = re.findall(r"\]\((?!https?:)([^)\s]+)\)", text_of(path))
    for link in links:
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.is_file(), f"{named(path)} links to {link}"
        if anchor:
            assert anchor in anchors(target), f"{named(path)} links to {link}"
    for address in re.findall(r"https?://[^\s)>\"'`]+", text_of(path)):
        assert address.startswith("https://") or "127.0.0.1" in address, address


def anchors(path: Path) -> set[str]:
    """The anchors that a Markdown page has by its headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text_of(path), flags=re.M | re.S), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_the_files_it_names_are_there(path: Path) -> None:
    """Paths in running text and tables, such as `clrface_core/models/irn.py`."""
    roots = "clrface_core|nodes|tools|tests|benchmarks|samples|docs|workflows|js|locales"
    text = re.sub(r"^```.*?^```", "", text_of(path), flags=re.M | re.S)
    for name in re.findall(rf"`((?:{roots})/[^`*<>]*?)`", text):
        assert (ROOT / name).exists(), f"{named(path)} names {name}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_its_pictures_say_what_they_show(path: Path) -> None:
    for said, file in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", text_of(path)):
        assert len(said) > 8, f"{named(path)}: {file} needs words for those who do not see it"


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_its_python_is_about_what_there_is(path: Path) -> None:
    """Every Python block compiles, and what it takes from us exists."""
    import importlib

    for block in fenced(path, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "clrface_core":
                module = importlib.import_module(node.module or "")
                for each in node.names:
                    assert hasattr(module, each.name), f"{named(path)}: {node.module}.{each.name}"


def test_the_readme_is_short_and_opens_with_the_picture() -> None:
    lines = text_of(README).splitlines()
    assert len(lines) <= 200
    picture = next(number for number, line in enumerate(lines) if line.startswith("![A slider"))
    assert picture < 12, "before and after are seen without scrolling"


def test_the_readme_names_every_node() -> None:
    nodes = json.loads(text_of(ROOT / "locales" / "en" / "nodeDefs.json")).values()
    table = text_of(README).partition("## Nodes")[2].partition("\n## ")[0]
    assert [node["display_name"] for node in nodes if node["display_name"] not in table] == []


def test_the_readme_tells_how_to_try_and_how_to_test() -> None:
    restore = next(block for block in fenced(README, "sh") if ".venv/bin/clrface restore samples/" in block)
    marker = "<!-- test command -->"
    assert text_of(README).count(marker) == 1 and marker in text_of(ROOT / ".ci" / "run")
    test = text_of(README).split(marker)[1].split("```")[1].removeprefix("sh\n")
    for block in (restore, test):
        assert len(block.splitlines()) == 1
        assert block.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    for tool in ("ruff check .", "mypy", "pytest"):
        assert f".venv/bin/{tool}" in test


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    if not default_bundle_path().is_file():
        pytest.skip("no bundled model in this checkout")
    (example,) = fenced(README, "python")
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "grace-hopper.jpg").write_bytes((ROOT / "samples" / "grace-hopper.jpg").read_bytes())
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    assert (tmp_path / "restored.png").is_file()
    assert capsys.readouterr().out == "1 face(s), 1 restored\n"


@pytest.mark.parametrize("path", TRANSLATED, ids=named)
def test_translations_have_the_same_parts(path: Path) -> None:
    """The same commands and pictures in the same order, but for the command that developers run."""
    english, other = text_of(README), text_of(path)
    pictures = r"!\[[^\]]*\]\(([^)]+)\)"
    local = [name for name in re.findall(pictures, english) if not name.startswith("https:")]
    assert [name for name in re.findall(pictures, other) if not name.startswith("https:")] == local
    assert fenced(path, "bat") == fenced(README, "bat") and fenced(path, "python") == fenced(README, "python")
    without = [re.sub(r" *#.*", "", block) for block in fenced(README, "sh")[:-1]]
    assert [re.sub(r" *#.*", "", block) for block in fenced(path, "sh")] == without
    assert other.count("\n## ") >= english.count("\n## ") - 1


def test_the_options_are_those_of_the_command(tools: Any) -> None:
    page, cli_page, marked = ROOT / "docs" / "cli.md", tools("cli_page"), tools("marked")
    assert marked.part(text_of(page), "options") == cli_page.tables().strip("\n"), "run python -m tools.cli_page"


def test_the_figures_are_those_of_the_report(tools: Any) -> None:
    """Model card and README cannot drift from docs/report, nor the report from the weights that are bundled."""
    import hashlib

    report, marked = tools("report"), tools("marked")
    for path, (name, expected) in report.parts().items():
        assert marked.part(text_of(path), name) == expected.strip("\n"), f"{named(path)}: run python -m tools.report"
    model = default_bundle_path()
    if not model.is_file():
        pytest.skip("no bundled model in this checkout")
    for folder in (report.REPORT, report.REPORT / "mild"):
        measured = report.read(folder)["files"][model.name]
        assert measured == hashlib.sha256(model.read_bytes()).hexdigest(), (
            "docs/report is of another model: see CONTRIBUTING.md"
        )


def test_the_speeds_are_those_measured(tools: Any) -> None:
    bench, marked = tools("benchmarks.report"), tools("marked")
    results = json.loads(text_of(bench.RESULTS))
    assert marked.part(text_of(README), "speed") == bench.short(results).strip("\n"), "run python -m benchmarks.report"
    page = text_of(ROOT / "docs" / "benchmarks.md")
    assert marked.part(page, "benchmarks") == bench.full(results).strip("\n"), "run python -m benchmarks.report"


def test_pictures_to_drop_hold_the_graphs_of_today(tools: Any) -> None:
    pictures = tools("pictures")
    graphs = sorted(pictures.GRAPHS.glob("*.json"))
    assert sorted(pictures.PICTURES.glob("graph-*.png")) == sorted(pictures.picture_of(graph) for graph in graphs)
    for graph in graphs:
        with Image.open(pictures.picture_of(graph)) as picture:
            held = picture.info["workflow"]
        assert json.loads(held) == json.loads(text_of(graph)), "run python -m tools.pictures graphs"
    small = [path for path in pictures.PICTURES.iterdir() if path.is_file()]
    assert sum(path.stat().st_size for path in small) < 1_500_000


def test_requirements_are_those_of_the_package() -> None:
    listed = re.search(r"^dependencies = \[(.*?)^\]", text_of(ROOT / "pyproject.toml"), flags=re.M | re.S)
    assert listed is not None
    assert re.findall(r'"([^"]+)"', listed[1]) == text_of(ROOT / "requirements.txt").split()
