"""Which files are videos, and what a result's name says of its kind. Nothing here loads PyTorch or PyAV."""

from __future__ import annotations

from pathlib import Path

SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".wmv", ".flv", ".3gp",
    ".ogv",
)  # fmt: skip
"""Endings of files that are taken for videos."""

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
"""Kinds of results by their ending, as FFmpeg calls them."""

PICTURE_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
"""Of files built like an MP4 that hold pictures."""


def is_video(path: Path) -> bool:
    """Whether a file is a video, by its ending, or without a known one by how it begins."""
    ending = path.suffix.lower()
    if ending:
        return ending in SUFFIXES
    try:
        with open(path, "rb") as file:
            return begins_as_video(file.read(16))
    except (OSError, ValueError):
        return False


def begins_as_video(head: bytes) -> bool:
    """Whether a file that begins with these 16 bytes is an MP4 or MOV, Matroska or WebM, AVI, or MPEG stream."""
    if head[4:8] == b"ftyp":
        return head[8:12] not in PICTURE_BRANDS
    riff = head[:4] == b"RIFF" and head[8:12] == b"AVI "
    return riff or head.startswith((b"\x1a\x45\xdf\xa3", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3"))
