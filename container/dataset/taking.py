"""Writes files that need not be trusted into a folder: none of them leaves it, and together they cannot fill the disk.

Only regular files are written, each new and by a name that was looked at, so that no link can lead anywhere.
"""

import errno
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from container.dataset.archives import DamagedMemberError, Member, Readable
from container.dataset.index import BadFile
from container.dataset.progress import Progress
from container.dataset.text import printable
from container.errors import DataError

COPIED_AT_ONCE = 1 << 20
# What other programs may write meanwhile.
SPARED_BYTES = 256 << 20
# So much may come out of any archive, however small.
ALWAYS_ALLOWED = 64 << 20
# What macOS puts beside the files of its archives.
MAC_FOLDER = "__MACOSX"
# How many of the files that are left out are named: a hostile archive may have any number.
NAMED = 1000
FILE_IS_FOLDER = "a file has the name of its folder"
# Why a file cannot be written, though others can.
UNSUITABLE = {
    errno.ENAMETOOLONG: "its name is too long",
    errno.EEXIST: "another file has its name already",
    errno.EISDIR: "a folder has its name already",
    errno.ENOTDIR: FILE_IS_FOLDER,
    errno.EILSEQ: "its name cannot be written here",
    errno.EINVAL: "its name cannot be written here",
}


@dataclass(frozen=True)
class Limits:
    """How much may come in."""

    files: int
    bytes: int
    """0: as many as the disk has room for."""
    ratio: float
    """How many times its own size an archive may unpack to."""
    pixels: int
    """That an image of an array may have."""


@dataclass(frozen=True)
class Taken:
    """What came in."""

    files: int
    bytes: int
    hidden: int
    """Files whose names, or whose folders', begin with a dot, and what macOS adds: they were left out."""
    left_out: int
    """Others that were left out."""
    named: tuple[BadFile, ...]
    """The first of those."""


class Quota:
    """Counts what came in, and ends it where it is too much."""

    def __init__(self, limits: Limits, folder: Path, archive_bytes: int | None = None, held: int = 0) -> None:
        """Look at the disk.

        Args:
            limits: those of the settings.
            folder: an existing one, on the disk that is filled.
            archive_bytes: size of the archive; None: there is none.
            held: bytes that the disk holds already of what is to come in.
        """
        self._limits = limits
        self._most = max(shutil.disk_usage(folder).free - SPARED_BYTES, 0) + held
        self._why = "the disk has no room for more: make room"
        if limits.bytes and limits.bytes < self._most:
            self._most, self._why = limits.bytes, "ingestion.max_gb allows no more: raise it, if you trust the source"
        unpacked = None if archive_bytes is None else max(int(limits.ratio * archive_bytes), ALWAYS_ALLOWED)
        if unpacked is not None and unpacked < self._most:
            self._most = unpacked
            self._why = (
                f"it unpacks to more than {limits.ratio:g} times its size, as no images do: raise ingestion.max_ratio, "
                "if you trust it"
            )
        self.files = self.bytes = 0

    def count_file(self) -> None:
        """Count a file.

        Raises:
            DataError: it is one too many.
        """
        self.files += 1
        if self.files > self._limits.files:
            raise DataError(
                f"there are more than {self._limits.files:,} files, as many as ingestion.max_files allows: raise it, "
                "if you trust the source; nothing was ingested"
            )

    def count_bytes(self, count: int) -> None:
        """Count what is to be written.

        Raises:
            DataError: it is too much.
        """
        self.bytes += count
        if self.bytes > self._most:
            raise DataError(f"stopped after {self._most:,} bytes: {self._why}; nothing was ingested")


def take(members: Iterable[Member], folder: Path, quota: Quota, progress: Progress) -> Taken:
    """Write files below a folder, which must be there and empty; what cannot be is left out and told.

    Raises:
        DataError: they are too many, or too large.
        OSError: the folder cannot be written.
    """
    hidden = left_out = 0
    named: list[BadFile] = []
    for member in members:
        quota.count_file()
        if is_hidden(member.name):
            hidden += 1
        elif problem := member.problem or unsafe(member.name) or _write(member, folder, quota):
            left_out += 1
            if left_out <= NAMED:
                named.append(BadFile(printable(member.name), problem))
        progress.advance()
    return Taken(quota.files - hidden - left_out, quota.bytes, hidden, left_out, tuple(named))


def is_hidden(name: str) -> bool:
    """Tell whether a name is left out without a word."""
    parts = name.split("/")
    return MAC_FOLDER in parts or any(part.startswith(".") and part not in (".", "..") for part in parts)


def unsafe(name: str) -> str:
    """Return why no file may be written under a name; empty: it may, below the folder that it is for."""
    if name.startswith("/"):
        return "its name is an absolute path"
    if ".." in name.split("/"):
        return "its name leads out of the folder"
    if "\0" in name or not inside(name).parts:
        return "it has no name"
    return ""


def inside(name: str) -> Path:
    """Return a name as a path: a//b and a/./b are a/b."""
    return Path(*(part for part in name.split("/") if part not in ("", ".")))


def _write(member: Member, folder: Path, quota: Quota) -> str:
    """Write a file; return why that cannot be."""
    path = folder / inside(member.name)
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            return FILE_IS_FOLDER
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        if error.errno not in UNSUITABLE:
            raise
        return UNSUITABLE[error.errno]
    except UnicodeEncodeError:
        return UNSUITABLE[errno.EILSEQ]
    before = quota.bytes
    with os.fdopen(descriptor, "wb") as file:
        try:
            _copy(member.open(), file, quota)
        except DamagedMemberError as error:
            path.unlink()
            quota.bytes = before
            return f"it is damaged: {error}"
    if 0 < member.modified < 1 << 33:
        os.utime(path, (member.modified, member.modified))
    return ""


def _copy(source: Readable, target: IO[bytes], quota: Quota) -> None:
    while content := source.read(COPIED_AT_ONCE):
        quota.count_bytes(len(content))
        target.write(content)
