"""The kinds of picture files: one list for everybody."""

from __future__ import annotations

from pathlib import Path

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF", "JPEG2000")
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2"),
)


def is_picture(path: str | Path) -> bool:
    """Whether the path is a file that is named as a picture. Hidden files are not; the content is not looked at."""
    path = Path(path)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
