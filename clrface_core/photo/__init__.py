"""Pictures: what one is (`Photo`), one door in (`as_photo`), reading and writing files."""

from .convert import as_photo
from .formats import SUFFIXES, is_picture
from .photo import Photo
from .read import MAX_PIXELS, read_photo
from .write import write_photo

__all__ = ["MAX_PIXELS", "SUFFIXES", "Photo", "as_photo", "is_picture", "read_photo", "write_photo"]
