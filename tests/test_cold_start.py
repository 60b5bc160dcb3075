"""What the first picture waits for: nothing may be imported that takes longer than a restoration."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

SCRIPT = """
import sys
from clrface_core import Restorer, Sampling
result = Restorer.load(device="cpu", dtype="float32").restore("samples/grace-hopper.jpg", Sampling(guidance_scale=1.0))
print(len(result.chosen), *sorted({"torch._dynamo", "sympy", "torchvision", "facexlib"} & set(sys.modules)))
"""


def test_a_restoration_imports_neither_torchs_compiler_nor_torchvision() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1"]
