"""The kinds of picture files: one list for everybody."""

from __future__ import annotations

from pathlib import Path

from ..storage import as_path

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF", "JPEG2000", "HEIF", "JXL")
"""What is read, by Pillow's names; the last two through packages of their own, see `plugins`."""

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".tif", ".tiff", ".bmp", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".avifs", ".jp2", ".j2k", ".j2c", ".jpc", ".jpx", ".jpf"),
    *(".heic", ".heif", ".hif", ".jxl"),
)
"""How files that can be read end (the last four with a package of their own installed)."""

FOREIGN_SUFFIXES = (
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"),  # raw files of cameras
    *(".psd", ".psb", ".xcf", ".svg", ".exr", ".hdr", ".tga", ".pcx", ".dds", ".qoi", ".ico"),
)
"""How pictures end that cannot be read: a folder that holds one must not pass as done."""

WRITTEN = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF", ".avif": "AVIF",
}  # fmt: skip
"""The kinds of file that are written, by their endings."""

FRAMED = {
    ".png": "PNG", ".apng": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF", ".avif": "AVIF", ".gif": "GIF",
}  # fmt: skip
"""The kinds that several frames are written to."""


def is_picture(path: str | Path) -> bool:
    """Whether the path is a file that is named as a picture. Hidden files are not; the content is not looked at."""
    path = as_path(path)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
