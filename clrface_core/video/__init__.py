"""Videos: faces followed from picture to picture, restored along their tracks, and written as they came.

    from clrface_core import Restorer
    from clrface_core.video import restore_video

    restore_video(Restorer.load(), Path("clip.mp4"), Path("restored.mp4"))

Reading and writing needs PyAV, which the extra `video` installs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .restore import VideoRestoration, find_tracks, restore_video
    from .tracks import Track, Tracks
    from .writing import Encoding

__all__ = ["Encoding", "Track", "Tracks", "VideoRestoration", "find_tracks", "restore_video"]

_HOMES = {
    "Encoding": ".writing",
    "Track": ".tracks",
    "Tracks": ".tracks",
    "VideoRestoration": ".restore",
    "find_tracks": ".restore",
    "restore_video": ".restore",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
