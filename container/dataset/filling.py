"""Puts images into sets: by hard links where the file system can, else as copies."""

import errno
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from container.dataset.image_files import ImageFile
from container.dataset.placement import Share
from container.dataset.progress import Progress
from container.errors import DataError

# Why a file that can be read may yet not be linked: another file system, one without links, too many links, or a system
# that lets nobody link another user's file.
CANNOT_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP})
# Making a link waits for the file system, most of all over a network; each thread makes so many before it tells.
THREADS, PART = 3, 256


def fill(new: Path, directory: Path, shares: Sequence[Share], progress: Progress) -> int:
    """Put every image into its set; return how many are linked, not copied.

    Raises:
        DataError: an image vanished, or its name is taken where the sets lie.
        OSError: the sets cannot be written.
    """

    def put(share: Share, files: Sequence[ImageFile]) -> int:
        start, place = f"{directory}/{share.folder}/", f"{new}/{share.set}/{share.name}/{share.prefix}"
        for folder in {file.name.rpartition("/")[0] for file in files}:
            Path(place + folder).mkdir(parents=True, exist_ok=True)
        return sum(link_or_copy(file, start + file.name, place + file.name) for file in files)

    # Side by side are parts of different folders: the file system changes a folder for one thread at a time.
    most = max((len(share.files) for share in shares), default=0)
    parts = [
        (share, files)
        for start in range(0, most, PART)
        for share in shares
        if (files := share.files[start : start + PART])
    ]
    linked = 0
    with ThreadPoolExecutor(THREADS) as threads:
        for (_, files), linked_ones in zip(parts, threads.map(put, *zip(*parts, strict=True)), strict=True):
            linked += linked_ones
            for _ in files:
                progress.advance()
    return linked


def link_or_copy(file: ImageFile, source: str, target: str) -> bool:
    """Put an image elsewhere, and return whether it could be linked.

    Raises:
        DataError: it vanished, or the name is taken.
        OSError: nothing can be written there.
    """
    try:
        # os.link would link to a symbolic link, not to its file.
        os.link(os.path.realpath(source) if file.is_link else source, target)
        return True
    except FileExistsError:
        raise DataError(_collision(source)) from None
    except FileNotFoundError:
        raise DataError(f"{source!r} vanished during the split: run it again") from None
    except OSError as error:
        if error.errno not in CANNOT_LINK:
            raise
    try:
        with open(source, "rb") as original, open(target, "xb") as copy:  # noqa: PTH123
            shutil.copyfileobj(original, copy)
    except FileExistsError:
        raise DataError(_collision(source)) from None
    os.utime(target, ns=(file.modified, file.modified))
    return False


def _collision(source: str) -> str:
    return f"{source!r}: where the sets lie, its name is the same as another file's: rename it"
