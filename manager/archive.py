"""Unpacks an archive that need not be trusted: nothing of it leaves its folder, and it cannot fill the disk."""

import gzip
import os
import shutil
import tarfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from manager.errors import ResultsError

MOST_MEMBERS = 100_000
# What other programs may write meanwhile.
SPARED_BYTES = 256 << 20
# Contents are read in smaller pieces. Only a forged header makes tarfile ask for more than this at once, in memory.
MOST_BYTES_AT_ONCE = 1 << 20


def unpack(archive: Path, directory: Path) -> None:
    """Unpack a tar archive that is compressed by gzip; what was unpacked before an error stays where it is.

    Refused are absolute paths, `..` that leads out, links that go up, devices and pipes, and archives with more files
    or bytes than the disk should hold. Python's data filter does the rest: links that stay inside are kept.

    Args:
        archive: the archive.
        directory: an existing, empty folder.

    Raises:
        ResultsError: the archive is damaged, unsafe or too large.
    """
    if not hasattr(tarfile, "data_filter"):
        raise ResultsError("this Python cannot unpack safely: use the newest release of Python 3.11, 3.12 or 3.13")
    quota = _Quota(shutil.disk_usage(directory).free - SPARED_BYTES)
    try:
        with _Plain(archive) as plain, tarfile.open(fileobj=plain, mode="r:") as tar:
            for member in tar:
                quota.charge(member)
                _check_names(member)
                tar.extract(member, directory, filter="data")
    except ResultsError:
        raise
    except Exception as error:
        # Beside its own exceptions tarfile raises whatever a forged header leads to: KeyError, OverflowError, ...
        raise ResultsError(f"{archive.name} cannot be unpacked: {' '.join(str(error).split())}") from None


class _Plain(gzip.GzipFile):
    """What an archive has under its compression. A header cannot make it fill the memory."""

    def __init__(self, archive: Path) -> None:
        super().__init__(archive, "rb")

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= MOST_BYTES_AT_ONCE:
            raise ResultsError(f"{Path(self.name).name} cannot be unpacked: a header in it is too large")
        return super().read(size)


@dataclass
class _Quota:
    """What an archive may still take of the disk."""

    free: int
    """Bytes."""
    _sizes: dict[str, int] = field(default_factory=dict)

    def charge(self, member: tarfile.TarInfo) -> None:
        """Count a file, before it is unpacked.

        Raises:
            ResultsError: it is one too many, or too large.
        """
        # tarfile writes a hard link's content once more where the file that it is linked to is gone by then.
        size = self._sizes.get(os.path.normpath(member.linkname), 0) if member.islnk() else member.size
        self._sizes[os.path.normpath(member.name)] = size
        if len(self._sizes) > MOST_MEMBERS:
            raise ResultsError(f"the archive has more than {MOST_MEMBERS:,} files: it was not unpacked")
        if size > self.free:
            raise ResultsError(
                f"{member.name!r} would fill the disk: it has {size:,} bytes, and {max(self.free, 0):,} are left to "
                "the archive; make room, or look into it by hand"
            )
        self.free -= size


def _check_names(member: tarfile.TarInfo) -> None:
    # The data filter makes an absolute path a relative one; an archive of ours never has any.
    if PurePosixPath(member.name).is_absolute():
        raise ResultsError(f"{member.name!r} is an absolute path: the archive was not unpacked any further")
    # Chains of links that go up and down again have led the data filter itself out of the folder (CVE-2025-4517).
    if (member.issym() or member.islnk()) and ".." in PurePosixPath(member.linkname).parts:
        raise ResultsError(f"{member.name!r} is a link to {member.linkname!r}, which could lead out of the archive")
