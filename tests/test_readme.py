"""The README keeps its word: its commands parse, its files exist, its Python example runs."""

import argparse
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from clrface_core.cli import build_parser
from clrface_core.models.bundle import default_bundle_path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def fenced(language: str) -> list[str]:
    """The fenced blocks of the README in this language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.M | re.S)


def clrface_commands() -> list[list[str]]:
    """Every `clrface ...` of the shell blocks, as arguments."""
    found = []
    for line in "".join(fenced("sh")).splitlines():
        for part in line.split("&&"):
            words = shlex.split(part, comments=True)
            if words and Path(words[0]).name == "clrface":
                found.append(words[1:])
    return found


def sub_parsers() -> dict[str, argparse.ArgumentParser]:
    """The parsers of the sub-commands, by name."""
    for action in build_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise AssertionError("clrface has no sub-commands")


def option_names(parser: argparse.ArgumentParser) -> set[str]:
    return {name for action in parser._actions for name in action.option_strings} - {"-h", "--help"}


def test_its_first_two_blocks_are_one_line_to_restore_and_one_to_test() -> None:
    restore, test = fenced("sh")[:2]
    for block in (restore, test):
        assert len(block.splitlines()) == 1
        assert block.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert ".venv/bin/clrface restore samples/" in restore
    for tool in ("ruff check .", "mypy", "pytest"):
        assert f".venv/bin/{tool}" in test


@pytest.mark.parametrize("arguments", clrface_commands(), ids=" ".join)
def test_its_commands_parse(arguments: list[str]) -> None:
    assert build_parser().parse_args(arguments).command == arguments[0]


def test_its_sample_pictures_and_files_are_there() -> None:
    named = set(re.findall(r"(?:samples|clrface_core)/[\w./-]*\w\.(?:py|md|jpg|json)", README))
    assert {"samples/grace-hopper.jpg", "clrface_core/pipeline.py", "clrface_core/weights/MODEL_CARD.md"} <= named
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []
    for folder, names in re.findall(r"`(clrface_core/\w+/)` ((?:`[\w.]+` ?)+)", README):
        for name in re.findall(r"`([\w.]+)`", names):
            assert (ROOT / folder / name).is_file(), f"{folder}{name}"


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        "docs/training.md",
        "docs/evaluation.md",
        "docs/ablations.md",
        "docs/report/report.md",
        "docs/trust.md",
    ],
)
def test_what_the_documents_link_to_is_there(document: str) -> None:
    """On a clean clone: a picture that git ignores is there on its maker's disk alone."""
    path = ROOT / document
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text())
    assert [link for link in links if not (path.parent / link).is_file()] == []


def test_its_table_lists_the_options_of_restore_and_no_others() -> None:
    table = README.split("`clrface restore INPUT... -o OUT`:")[1].split("\n\n")[1]
    rows = [row.split("|")[1] for row in table.splitlines()[2:]]
    assert {name for row in rows for name in re.findall(r"`(-[-\w]+)`", row)} == option_names(sub_parsers()["restore"])


def test_its_defaults_are_those_of_the_command() -> None:
    args: Any = build_parser().parse_args(["restore", "a.jpg", "-o", "out"])
    for name, default in re.findall(r"^\| `--([\w-]+)` \| `?([\w.]+)`? \|", README, flags=re.M):
        value = getattr(args, name.replace("-", "_"))
        shown = {"off": "False", "the": "None"}.get(default, default)
        if value is None and default == "auto":
            continue
        assert str(value) in (shown, f"{shown}.0"), f"--{name}"


def test_ci_runs_the_test_command_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    marker = "<!-- test command -->"
    assert marker in script and README.count(marker) == 1
    assert README.split(marker)[1].lstrip().startswith("```sh\n" + fenced("sh")[1])


def test_its_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    if not default_bundle_path().is_file():
        pytest.skip("no bundled model in this checkout")
    (example,) = fenced("python")
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    assert (tmp_path / "restored.png").is_file()
    expected = example.split("#")[-2].splitlines()[0].strip()
    assert capsys.readouterr().out.splitlines() == ["1 face(s), 1 restored", expected]


def test_requirements_are_those_of_the_package() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    listed = re.search(r"^dependencies = \[(.*?)^\]", text, flags=re.M | re.S)
    assert listed is not None
    assert re.findall(r'"([^"]+)"', listed[1]) == (ROOT / "requirements.txt").read_text().split()
