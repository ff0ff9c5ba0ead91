"""The images of a set by their names, whether they lie in class folders or in shards."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from container.dataset.sharded_folder import holds_shards, index_shards
from container.errors import DataError


def image_reader(directory: Path) -> Callable[[str], bytes]:
    """Return what gives the encoded image of a name, a path inside the set.

    It raises OSError where the image cannot be read, and DataError where there is none of this name.

    Raises:
        DataError: there are shards, and they cannot be read.
        OSError: the folder cannot be read.
    """
    if not holds_shards(directory):
        return file_reader(directory)
    shards = index_shards(directory)
    positions = {name: position for position, name in enumerate(shards.names)}

    def read(name: str) -> bytes:
        if name not in positions:
            raise DataError(f"{directory} holds no image {name!r}")
        return shards.content(positions[name])

    return read


def file_reader(directory: Path) -> Callable[[str], bytes]:
    """Return the same for a folder of files."""

    def read(name: str) -> bytes:
        relative = PurePosixPath(name)
        # A path that somebody else wrote must not lead out of the folder.
        if relative.is_absolute() or ".." in relative.parts:
            raise DataError(f"{name!r} is no path inside {directory}")
        # A pipe would keep whoever opens it waiting.
        descriptor = os.open(directory / relative, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "it is no regular file", name)
            return file.read()

    return read
