"""Brings images to where they are split: out of an archive, a folder, or a store such as S3; as a whole or not at all.

What comes in lies in a hidden folder beside its place until all of it is there. From a store it comes file by file, and
a run that dies is gone on with; what is on this machine is read anew.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Literal, NamedTuple, Protocol, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from container.dataset.archives import LINK, NO_FILE, Member, opened_archive
from container.dataset.arrays import ArrayFile
from container.dataset.folders import exclusive, replacement
from container.dataset.index import BadFile
from container.dataset.progress import Progress
from container.dataset.taking import NAMED, Limits, Quota, Taken, inside, is_hidden, take, unsafe
from container.dataset.text import printable
from container.errors import DataError

# Hidden, so that nobody takes it for a class or an image.
RECORD = ".ingested.json"
FETCHED_AT_ONCE = 16


class Ingested(BaseModel):
    """What was ingested into a folder."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    version: Literal[1] = 1
    origin: str
    """Where it came from, as it was named."""
    identity: str
    """Tells whether what lies there is still the same."""
    files: int
    bytes: int
    hidden: int
    """Files left out since their names begin with a dot."""
    left_out: int
    """Other files that were left out."""
    named: tuple[BadFile, ...]
    """The first thousand of those."""
    unchanged: bool = False
    """Whether all was there already."""

    @classmethod
    def read(cls, target: Path) -> Self | None:
        """Return what was ingested into a folder; None: nothing."""
        try:
            return cls.model_validate_json((target / RECORD).read_bytes())
        except (OSError, ValidationError):
            return None


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


def ingest_archive(
    archive: Path, target: Path, limits: Limits, progress: Progress, origin: str = "", identity: str = ""
) -> Ingested:
    """Unpack an archive into a folder.

    Args:
        archive: a .zip, or a .tar, as it is or compressed.
        target: a folder that is missing or empty, or holds the same already.
        limits: how much may come in.
        progress: is told how far it is.
        origin: where the archive came from; empty: its path.
        identity: what tells it from others; empty: its size and time of change.

    Raises:
        DataError: the archive cannot be read, is damaged or too large, or the target holds something else.
    """
    status = _status(archive)
    identity = identity or f"{status.st_size} {status.st_mtime_ns}"

    def fill(new: Path) -> Taken:
        progress.start(f"Unpacking {archive.name}")
        with opened_archive(archive) as members:
            return take(members, new, Quota(limits, new, status.st_size), progress)

    return _ingested(target, origin or str(archive), identity, fill, progress)


def ingest_folder(source: Path, target: Path, limits: Limits, progress: Progress) -> Ingested:
    """Copy the files of a folder into another; see `ingest_archive`. Links are left out."""
    progress.start(f"Looking at {source}")
    inner, outer = source.resolve(), Path(os.path.realpath(target))
    if inner == outer or inner in outer.parents or outer in inner.parents:
        raise DataError(f"{source} and {target} would lie one in the other: name another target")
    digest, count = hashlib.sha256(), 0
    for member in _local_files(source):
        digest.update(f"{member.name!r}\0{member.modified}\0".encode())
        count += 1
        progress.advance()

    def fill(new: Path) -> Taken:
        progress.start(f"Copying {source.name}", count)
        return take(_local_files(source), new, Quota(limits, new), progress)

    return _ingested(target, str(source), digest.hexdigest(), fill, progress)


def ingest_arrays(file: Path, labels: Path | None, target: Path, limits: Limits, progress: Progress) -> Ingested:
    """Write the images of arrays as PNG files in class folders; see `ingest_archive`.

    Args:
        file: an .npz, or an .npy.
        labels: an .npy of the labels of an .npy.
        target: see there.
        limits: see there.
        progress: see there.
    """
    progress.start(f"Looking at {file.name}")
    arrays = ArrayFile(file, labels)
    files = [file, *([labels] if labels else [])]
    identity = " ".join(f"{status.st_size} {status.st_mtime_ns}" for status in map(_status, files))

    def fill(new: Path) -> Taken:
        progress.start(f"Writing the images of {file.name}", arrays.images)
        return take(arrays.members(), new, Quota(limits, new), progress)

    return _ingested(target, str(file), identity, fill, progress)


def ingest_store(store: Store, target: Path, limits: Limits, progress: Progress, origin: str) -> Ingested:
    """Fetch the files of a store into a folder; see `ingest_archive`.

    What an earlier, interrupted run fetched is not fetched again where size and time are the same.
    """
    progress.start(f"Listing {origin}")
    quota, digest = Quota(limits, _existing(target)), hashlib.sha256()
    hidden, left_out, wanted = 0, list[BadFile](), dict[str, StoredFile]()
    for file in store.files():
        progress.advance()
        quota.count_file()
        digest.update(f"{file.name!r}\0{file.size}\0{file.modified}\0".encode())
        path = inside(file.name).as_posix()
        if is_hidden(file.name):
            hidden += 1
        elif problem := unsafe(file.name) or ("another file has its name already" if path in wanted else ""):
            left_out.append(BadFile(printable(file.name), problem))
        else:
            wanted[path] = file
            quota.count_bytes(file.size)
    if not wanted:
        raise DataError(f"{origin} holds no file: see `aws s3 ls {origin}`")
    taken = Taken(len(wanted), quota.bytes, hidden, len(left_out), tuple(left_out[:NAMED]))

    def fill(new: Path) -> Taken:
        fetched = fetching_folder(target)
        _fetch_all(store, wanted, fetched, progress, origin)
        new.rmdir()
        fetched.rename(new)
        return taken

    return _ingested(target, origin, digest.hexdigest(), fill, progress)


def already_ingested(target: Path, origin: str, identity: str) -> Ingested | None:
    """Return what was ingested into a folder, if it is this; None: it is something else, or nothing."""
    found = Ingested.read(target)
    is_same = found is not None and (found.origin, found.identity) == (origin, identity)
    return found.model_copy(update={"unchanged": True}) if found and is_same else None


def fetching_folder(target: Path) -> Path:
    """Return where files lie that are fetched for a target, until all are there."""
    target = Path(os.path.realpath(target))
    return target.with_name(f".{target.name}.being-fetched")


def _ingested(target: Path, origin: str, identity: str, fill: Callable[[Path], Taken], progress: Progress) -> Ingested:
    target = Path(os.path.realpath(target))
    with exclusive(target, lambda: progress.start("Waiting for another run to end")):
        if present := already_ingested(target, origin, identity):
            return present
        earlier = Ingested.read(target)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            held = f"what was ingested from {earlier.origin}" if earlier else "something else"
            raise DataError(f"{target} holds {held}: name another target, or remove it")
        with replacement(target) as new:
            taken = fill(new)
            if not taken.files:
                raise DataError(f"{origin} holds no file that can be taken out of it")
            _lift(new)
            record = Ingested(
                origin=origin,
                identity=identity,
                files=taken.files,
                bytes=taken.bytes,
                hidden=taken.hidden,
                left_out=taken.left_out,
                named=taken.named,
            )
            (new / RECORD).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return record


def _lift(new: Path) -> None:
    """Leave away folders that hold nothing but one folder with the class folders."""
    inner = new
    while len(found := list(inner.iterdir())) == 1 and found[0].is_dir() and _holds_folders_only(found[0]):
        inner = found[0]
    if inner == new:
        return
    # No file that came in has a name that begins with a dot.
    lifted = new / ".lifted"
    top = new / inner.relative_to(new).parts[0]
    inner.rename(lifted)
    shutil.rmtree(top, ignore_errors=True)
    for path in list(lifted.iterdir()):
        path.rename(new / path.name)
    lifted.rmdir()


def _holds_folders_only(folder: Path) -> bool:
    found = [path.is_dir() for path in folder.iterdir()]
    return bool(found) and all(found)


def _local_files(source: Path) -> Iterator[Member]:
    """Yield the files below a folder, by name."""
    with _explained(source):
        pending = [""]
        while pending:
            prefix = pending.pop()
            with os.scandir(source / prefix) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
            for entry in found:
                name = f"{prefix}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    pending.append(f"{name}/")
                    continue
                problem = LINK if entry.is_symlink() else "" if entry.is_file() else NO_FILE
                modified = entry.stat(follow_symlinks=False).st_mtime
                yield Member(name, modified, problem, partial(_open, source / name))


def _open(path: Path) -> IO[bytes]:
    with _explained(path):
        return path.open("rb")


def _fetch_all(store: Store, wanted: dict[str, StoredFile], folder: Path, progress: Progress, origin: str) -> None:
    progress.start(f"Fetching {origin}", len(wanted))

    def fetch(item: tuple[str, StoredFile]) -> None:
        path, file = folder / item[0], item[1]
        if not _is_same(path, file):
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(f".{hashlib.sha256(path.name.encode()).hexdigest()[:16]}")
            store.fetch(file, beside)
            os.utime(beside, (file.modified, file.modified))
            beside.rename(path)

    folder.mkdir(exist_ok=True)
    with ThreadPoolExecutor(FETCHED_AT_ONCE) as threads:
        try:
            for _ in threads.map(fetch, wanted.items()):
                progress.advance()
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise
    _remove_others(folder, set(wanted))


def _is_same(path: Path, file: StoredFile) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    return found.st_size == file.size and abs(found.st_mtime - file.modified) < 1e-3


def _remove_others(folder: Path, kept: set[str]) -> None:
    for parent, _, files in os.walk(folder):
        for file in files:
            path = Path(parent, file)
            if path.relative_to(folder).as_posix() not in kept:
                path.unlink()


def _existing(path: Path) -> Path:
    """Return the nearest folder around a path that exists."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())


def _status(archive: Path) -> os.stat_result:
    with _explained(archive):
        return archive.stat()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(f"{error.filename or str(path)!r} cannot be read: {error.strerror or error}") from None
