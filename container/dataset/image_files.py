"""A single file of a folder of images: whether it is an image, by its name and its first bytes, or why it is none."""

import os
import zlib
from typing import NamedTuple

# What tf.io.decode_image decodes, and Pillow too.
IMAGE_EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
EMPTY = "it is empty"
NO_IMAGE = "its first bytes are no known image's"
NOT_UNICODE = "its name is not UTF-8, as a name in S3 must be"
NOWHERE = "it is a link to nowhere"
NO_FILE = "it is no regular file"
UNREADABLE = "it cannot be read"
# Of a file's start, which tell whether it is an image.
HEAD_BYTES = 16
# Bytes in a file's middle that tell most files of the same size apart.
TRACE_BYTES = 256
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")


class ImageFile(NamedTuple):
    """An image as the file system knows it. A tuple, because there are many."""

    name: str
    """Path inside the class folder, with `/` between its parts."""
    size: int
    """Bytes."""
    modified: int
    """Nanoseconds since the epoch."""
    is_link: bool
    """Whether the name is a symbolic link to the file."""
    trace: int = 0
    """A checksum of some bytes in its middle, where it was looked into for that: the same files have the same."""


def is_image(head: bytes) -> bool:
    """Tell whether a file that begins with these bytes, 16 if it has them, is an image of a known kind."""
    if head.startswith(SIGNATURES):
        return True
    if head.startswith(b"BM"):
        # So may a text; a bitmap goes on with sizes and reserved fields, whose upper bytes are zero.
        return b"\0" in head
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def look_at_entry(entry: os.DirEntry[str], name: str, folder: int, looks_inside: bool, traces: bool) -> ImageFile | str:
    """Return the image, or why it is none.

    Args:
        entry: of a folder.
        name: what the image is to be called.
        folder: a descriptor of the folder that the entry is of.
        looks_inside: read its first bytes; else its name decides.
        traces: read some bytes of its middle too.
    """
    if not is_unicode(name):
        return NOT_UNICODE
    try:
        if not entry.is_file():
            return NOWHERE if entry.is_symlink() else NO_FILE
        if not looks_inside:
            known = entry.stat()
            return ImageFile(name, known.st_size, known.st_mtime_ns, entry.is_symlink()) if known.st_size else EMPTY
        descriptor = os.open(entry.name, os.O_RDONLY, dir_fd=folder)
        try:
            head = os.read(descriptor, HEAD_BYTES)
            found = os.fstat(descriptor)
            middle = os.pread(descriptor, TRACE_BYTES, found.st_size // 2) if traces else b""
        finally:
            os.close(descriptor)
    except OSError as error:
        return f"{UNREADABLE}: {error.strerror}"
    if not head:
        return EMPTY
    if not is_image(head):
        return NO_IMAGE
    return ImageFile(name, found.st_size, found.st_mtime_ns, entry.is_symlink(), zlib.crc32(middle))


def is_unicode(name: str) -> bool:
    """Tell whether a file's name is UTF-8."""
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
