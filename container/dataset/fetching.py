"""Fetches the files of a store such as S3 into a folder, several at a time.

The folder stays until all are there: what an earlier run fetched, and is still the same, is not fetched again.
"""

import errno
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from container.dataset.index import BadFile
from container.dataset.progress import Progress
from container.dataset.taking import NAMED, UNSUITABLE, Quota, Taken, inside, is_hidden, unsafe
from container.dataset.text import printable
from container.dataset.threads import in_parallel

FETCHED_AT_ONCE = 16
# Of a part of a path, on every file system in use.
MOST_NAME_BYTES = 255


class StoredFile(NamedTuple):
    """A file in a store. A tuple, because there are many."""

    name: str
    """Path inside what is fetched: anything."""
    size: int
    """Bytes."""
    modified: float
    """Seconds since the epoch."""


class Store(Protocol):
    """A folder elsewhere."""

    def files(self) -> Iterator[StoredFile]:
        """Yield the files, in the order of their names."""

    def fetch(self, file: StoredFile, target: Path) -> None:
        """Write the content of a file; threads call this side by side."""


@dataclass(frozen=True)
class Listing:
    """What a store holds."""

    wanted: Mapping[str, StoredFile]
    """The files that are fetched, by their paths below the folder."""
    taken: Taken
    identity: str
    """Tells whether it is still the same."""


def fetching_folder(target: Path) -> Path:
    """Return where files lie that are fetched for a target, until all are there."""
    target = Path(os.path.realpath(target))
    return target.with_name(f".{target.name}.being-fetched")


def held_bytes(folder: Path) -> int:
    """Return the bytes of the files in a folder, which may be missing."""
    return sum(Path(parent, file).lstat().st_size for parent, _, files in os.walk(folder) for file in files)


def list_files(store: Store, quota: Quota, progress: Progress) -> Listing:
    """Find out what is to be fetched.

    Raises:
        DataError: the files are too many, or too large.
    """
    digest, hidden, wanted = hashlib.sha256(), 0, _Wanted(quota)
    for file in store.files():
        progress.advance()
        quota.count_file()
        digest.update(f"{file.name!r}\0{file.size}\0{file.modified}\0".encode())
        if is_hidden(file.name):
            hidden += 1
        elif problem := unsafe(file.name):
            wanted.leave_out(file.name, problem)
        else:
            wanted.add(file)
    taken = Taken(len(wanted.files), quota.bytes, hidden, wanted.left_out, tuple(wanted.named))
    return Listing(wanted.files, taken, digest.hexdigest())


def fetch_files(store: Store, wanted: Mapping[str, StoredFile], folder: Path, progress: Progress) -> None:
    """Fetch files into a folder, which then holds nothing else."""
    folder.mkdir(exist_ok=True)
    # First, since what is no more may fill the disk, or stand where a folder is to be.
    _remove_others(folder, wanted)

    def fetch(path: str) -> None:
        file, target = wanted[path], folder / path
        if not _is_same(target, file):
            target.parent.mkdir(parents=True, exist_ok=True)
            beside = target.with_name(f".{hashlib.sha256(target.name.encode()).hexdigest()[:16]}")
            store.fetch(file, beside)
            os.utime(beside, (file.modified, file.modified))
            beside.rename(target)

    for _ in in_parallel(fetch, wanted, FETCHED_AT_ONCE):
        progress.advance()


@dataclass
class _Wanted:
    """The files that are fetched. Unlike a folder, a store can have a file and files below it under one name."""

    quota: Quota
    files: dict[str, StoredFile] = field(default_factory=dict)
    left_out: int = 0
    named: list[BadFile] = field(default_factory=list)
    _folders: set[str] = field(default_factory=set)

    def add(self, file: StoredFile) -> None:
        path = inside(file.name).as_posix()
        if problem := self._problem(path):
            self.leave_out(file.name, problem)
            return
        self.quota.count_bytes(file.size)
        self.files[file.name if path == file.name else path] = file
        while (path := path.rpartition("/")[0]) and path not in self._folders:
            self._folders.add(path)
            # Often an empty object that stands for the folder.
            if other := self.files.pop(path, None):
                self.quota.bytes -= other.size
                self.leave_out(other.name, UNSUITABLE[errno.EISDIR])

    def leave_out(self, name: str, problem: str) -> None:
        self.left_out += 1
        if self.left_out <= NAMED:
            self.named.append(BadFile(printable(name), problem))

    def _problem(self, path: str) -> str:
        try:
            if any(len(os.fsencode(part)) > MOST_NAME_BYTES for part in path.split("/")):
                return UNSUITABLE[errno.ENAMETOOLONG]
        except UnicodeEncodeError:
            return UNSUITABLE[errno.EILSEQ]
        if path in self._folders:
            return UNSUITABLE[errno.EISDIR]
        return UNSUITABLE[errno.EEXIST] if path in self.files else ""


def _is_same(path: Path, file: StoredFile) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    return found.st_size == file.size and abs(found.st_mtime - file.modified) < 1e-3


def _remove_others(folder: Path, wanted: Mapping[str, StoredFile]) -> None:
    for parent, folders, files in os.walk(folder, topdown=False):
        for file in files:
            path = Path(parent, file)
            if path.relative_to(folder).as_posix() not in wanted:
                path.unlink()
        for name in folders:
            if not any(Path(parent, name).iterdir()):
                Path(parent, name).rmdir()
