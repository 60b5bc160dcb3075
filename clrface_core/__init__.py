"""CLR-Face as a library: restore degraded faces and keep the person.

    from clrface_core import Restorer

    Restorer.load().restore("photo.jpg").save("restored.png")

Names are fetched on first use, so that `clrface --help` answers without loading PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import CLRFaceError

if TYPE_CHECKING:
    from .diffusion.refine import Sampling
    from .faces.paste import Blending
    from .faces.select import Detection
    from .pipeline import Restoration, Restorer

__version__ = "0.2.0"
__all__ = ["Blending", "CLRFaceError", "Detection", "Restoration", "Restorer", "Sampling", "__version__"]

_HOMES = {
    "Blending": ".faces.paste",
    "Detection": ".faces.select",
    "Restoration": ".pipeline",
    "Restorer": ".pipeline",
    "Sampling": ".diffusion.refine",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
