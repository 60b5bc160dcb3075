"""CLR-Face as a library: restore degraded faces and keep the person.

    from clrface_core import Restorer

    Restorer().restore("photo.jpg").save("restored.png")

Names are fetched on first use, so that `clrface --help` answers without loading PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import CLRFaceError

if TYPE_CHECKING:
    from .pipeline import Restoration, Restorer

__version__ = "0.1.0"
__all__ = ["CLRFaceError", "Restoration", "Restorer", "__version__"]


def __getattr__(name: str) -> Any:
    if name in ("Restorer", "Restoration"):
        return getattr(import_module(".pipeline", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
