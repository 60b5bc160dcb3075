"""Which files of the checkout ComfyUI's registry packs."""

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]


def published_files() -> list[str]:
    """Those that neither .gitignore nor .comfyignore names, relative to the checkout, sorted.

    Asked of git with an empty repository of its own, so that a copy without one will do.
    """
    with TemporaryDirectory() as folder:
        subprocess.run(["git", "init", "-q", "--bare", folder], check=True)
        command = ["git", f"--git-dir={folder}", f"--work-tree={ROOT}", "ls-files", "-z", "--others"]
        command += [f"--exclude-from={ROOT / name}" for name in (".gitignore", ".comfyignore")]
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, encoding="utf-8")
    return sorted(filter(None, listed.stdout.split("\0")))
