"""Pictures: what one is (`Photo`), one door in (`as_photo`), reading and writing files."""

from .convert import as_photo
from .formats import FOREIGN_SUFFIXES, FRAMED, SUFFIXES, WRITTEN, is_picture
from .opening import MAX_PIXELS
from .photo import ColorCoding, Metadata, Photo
from .read import content_of, count_frames_in, count_frames_of, frames_of_file, photo_of_file, read_frames, read_photo
from .replace_file import read_note, remove_leftovers
from .tone import keep_tone
from .write import write_frames, write_photo

__all__ = [
    "FOREIGN_SUFFIXES",
    "FRAMED",
    "MAX_PIXELS",
    "SUFFIXES",
    "WRITTEN",
    "ColorCoding",
    "Metadata",
    "Photo",
    "as_photo",
    "content_of",
    "count_frames_in",
    "count_frames_of",
    "frames_of_file",
    "is_picture",
    "keep_tone",
    "photo_of_file",
    "read_frames",
    "read_note",
    "read_photo",
    "remove_leftovers",
    "write_frames",
    "write_photo",
]
