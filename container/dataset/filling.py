"""Puts images into sets: by hard links where the file system can, else as copies."""

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from container.dataset.image_files import ImageFile
from container.dataset.placement import Share
from container.dataset.progress import Progress
from container.errors import DataError

# Why a file that can be read may yet not be linked: another file system, one without links, too many links, or a system
# that lets nobody link another user's file.
CANNOT_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP})


def fill(new: Path, directory: Path, shares: Sequence[Share], progress: Progress) -> int:
    """Put every image into its set; return how many are linked, not copied.

    Raises:
        DataError: an image vanished, or its name is taken where the sets lie.
        OSError: the sets cannot be written.
    """
    linked = 0
    made: set[str] = set()
    for share in shares:
        start, place = f"{directory}/{share.folder}/", f"{new}/{share.set}/{share.name}/{share.prefix}"
        for file in share.files:
            folder = place + file.name.rpartition("/")[0]
            if folder not in made:
                Path(folder).mkdir(parents=True, exist_ok=True)
                made.add(folder)
            linked += link_or_copy(file, start + file.name, place + file.name)
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
    if Path(target).exists():
        raise DataError(_collision(source))
    shutil.copyfile(source, target)
    os.utime(target, ns=(file.modified, file.modified))
    return False


def _collision(source: str) -> str:
    return f"{source!r}: where the sets lie, its name is the same as another file's: rename it"
