"""Looks into archives that need not be trusted: what is in them, one file after the other; nothing is written here."""

import bz2
import gzip
import io
import lzma
import stat
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tarfile import EOFHeaderError, HeaderError, ReadError, TarFile, TarInfo  # type: ignore[attr-defined]
from typing import IO, Any, NamedTuple, Protocol, Self

from container.errors import DataError

ZIP_SUFFIXES = (".zip",)
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
ARCHIVE_SUFFIXES = (*ZIP_SUFFIXES, *TAR_SUFFIXES)
# Contents are read in smaller pieces. Only a forged header makes tarfile ask for more than this at once, in memory.
MOST_BYTES_AT_ONCE = 1 << 20
# Zeros behind the end of a .tar, which fill up the block of a tape. Compressed they may be any number.
MOST_PADDING_BYTES = 64_000_000
IS_ENCRYPTED = 0x1
LINK, NO_FILE = "it is a link", "it is neither a file nor a folder"


class Readable(Protocol):
    """What an opened file can do, as far as it is needed."""

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes; none at the end."""


class Member(NamedTuple):
    """A file in an archive. A tuple, because there are many."""

    name: str
    """As it stands in the archive: anything."""
    modified: float
    """Seconds since the epoch; 0 where nobody tells."""
    problem: str
    """Why it cannot be taken out; empty: it can."""
    open: Callable[[], Readable]


class DamagedMemberError(DataError):
    """The content of one file of an archive cannot be read; the others may well be whole."""


def is_archive(name: str) -> bool:
    """Tell by a file's name whether it is an archive."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


@contextmanager
def opened_archive(archive: Path) -> Iterator[Iterator[Member]]:
    """Open an archive; yield an iterator over its files, each of which is to be read before the next.

    Raises:
        DataError: it cannot be read, or is damaged; here, in the block, and while its files are read.
    """
    opened = _zip_members if archive.name.lower().endswith(ZIP_SUFFIXES) else _tar_members
    try:
        yield opened(archive)
    except DataError:
        raise
    # Beside their own exceptions zipfile and tarfile raise whatever a forged header leads to: KeyError, EOFError, ...
    except Exception as error:
        # What the system says has a number: the disk is full, or a file cannot be read.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{archive} cannot be unpacked: {reason}; get it again, if it is cut off") from None


def _zip_members(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            if not info.is_dir():
                yield Member(info.filename, _zip_time(info), _zip_problem(info), _zip_opener(opened, info))


def _zip_opener(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], Readable]:
    def open_it() -> Readable:
        try:
            return _Checked(opened.open(info))
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise DamagedMemberError(" ".join(str(error).split())) from None

    return open_it


class _Checked:
    """A file in a .zip; what is wrong with it alone is told apart from what is wrong with the archive."""

    def __init__(self, opened: IO[bytes]) -> None:
        self._opened = opened

    def read(self, size: int = -1, /) -> bytes:
        try:
            return self._opened.read(size)
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
            raise DamagedMemberError(" ".join(str(error).split()) or type(error).__name__) from None


def _zip_problem(info: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return LINK
    if kind not in (0, stat.S_IFREG):
        return NO_FILE
    return "it is encrypted" if info.flag_bits & IS_ENCRYPTED else ""


def _zip_time(info: zipfile.ZipInfo) -> float:
    try:
        return time.mktime((*info.date_time, 0, 0, -1))
    except (ValueError, OverflowError):
        return 0


def _tar_members(archive: Path) -> Iterator[Member]:
    with _plain(archive) as plain, TarFile.open(fileobj=plain, mode="r:", tarinfo=_Header) as opened:
        while info := opened.next():
            if not info.isdir():
                yield Member(info.name, info.mtime, _tar_problem(info), _tar_opener(opened, info))
            # They would be kept, all of them.
            opened.members = []  # type: ignore[attr-defined]
        _read_to_the_end(plain)


class _Header(TarInfo):
    """What stands before a file in a .tar. After the first one, TarFile takes a damaged one for the archive's end."""

    @classmethod
    def fromtarfile(cls, tarfile: TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except EOFHeaderError:
            raise
        except HeaderError as error:
            raise ReadError(f"a header in it is missing or damaged: {error}") from None


def _read_to_the_end(plain: Readable) -> None:
    """Read what stands behind the end of a .tar: behind that are the checksums of what is compressed.

    Raises:
        ReadError: it is no padding, as where a header was blanked, or another archive follows.
    """
    count = 0
    while content := plain.read(MOST_BYTES_AT_ONCE):
        count += len(content)
        if content.count(0) < len(content):
            raise ReadError("files may follow its end")
        if count > MOST_PADDING_BYTES:
            raise ReadError(f"more than {MOST_PADDING_BYTES / 1e6:.0f} MB follow its end")


def _tar_opener(opened: TarFile, info: TarInfo) -> Callable[[], Readable]:
    def open_it() -> Readable:
        found = opened.extractfile(info)
        assert found is not None
        return found

    return open_it


def _tar_problem(info: TarInfo) -> str:
    if info.issym() or info.islnk():
        return LINK
    return "" if info.isreg() else NO_FILE


def _plain(archive: Path) -> Any:
    """Return what an archive has under its compression, as its first bytes tell it."""
    with archive.open("rb") as file:
        head = file.read(6)
    kinds = ((b"\x1f\x8b", _Gzip), (b"BZh", _Bzip2), (b"\xfd7zXZ\0", _Xz))
    return next((kind for start, kind in kinds if head.startswith(start)), _Uncompressed)(archive, "rb")


class _Bounded:
    """Gives no more at once than what a header can honestly ask for."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= MOST_BYTES_AT_ONCE:
            raise ValueError("a header in it is too large")
        return super().read(size)  # type: ignore[misc]


class _Gzip(_Bounded, gzip.GzipFile):
    pass


class _Bzip2(_Bounded, bz2.BZ2File):
    pass


class _Xz(_Bounded, lzma.LZMAFile):
    pass


class _Uncompressed(_Bounded, io.FileIO):
    pass
