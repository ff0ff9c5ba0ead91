"""Brings images to where they are split: out of an archive, a folder, or a store such as S3; as a whole or not at all.

What comes in lies in a hidden folder beside its place until all of it is there; then that folder is renamed. From a
store it comes file by file, and a run that dies is gone on with; what is on this machine is read anew.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from container.dataset.archives import LINK, NO_FILE, Member, opened_archive
from container.dataset.arrays import ArrayFile
from container.dataset.fetching import Store, fetch_files, fetching_folder, held_bytes, list_files
from container.dataset.folders import exclusive, overlap
from container.dataset.image_files import IMAGE_EXTENSIONS
from container.dataset.index import INGESTED, BadFile
from container.dataset.progress import Progress
from container.dataset.taking import Limits, Quota, Taken, take
from container.errors import DataError


class Ingested(BaseModel):
    """What was ingested into a folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    origin: str
    """Where it came from: a URI, or a path from the root with no link in it."""
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
            return cls.model_validate_json((target / INGESTED).read_bytes())
        except (OSError, ValidationError):
            return None


def ingest_archive(
    archive: Path, target: Path, limits: Limits, progress: Progress, origin: str = "", identity: str = ""
) -> Ingested:
    """Unpack an archive into a folder.

    Args:
        archive: a .zip, or a .tar, as it is or compressed.
        target: a folder that is missing or empty, or holds the same already.
        limits: how much may come in.
        progress: is told how far it is.
        origin: URI of the archive, if it came from elsewhere; empty: its path.
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

    return _ingested(target, origin or os.path.realpath(archive), identity, fill, progress)


def ingest_folder(source: Path, target: Path, limits: Limits, progress: Progress) -> Ingested:
    """Copy the files of a folder into another; see `ingest_archive`. Links are left out."""
    progress.start(f"Looking at {source}")
    inner = Path(os.path.realpath(source))
    if overlap(inner, Path(os.path.realpath(target))):
        raise DataError(f"{source} and {target} would lie one in the other: name another target")
    digest, count = hashlib.sha256(), 0
    for member in _local_files(source):
        digest.update(f"{member.name!r}\0{member.modified}\0".encode())
        count += 1
        progress.advance()

    def fill(new: Path) -> Taken:
        progress.start(f"Copying {source.name}", count)
        return take(_local_files(source), new, Quota(limits, new), progress)

    return _ingested(target, str(inner), digest.hexdigest(), fill, progress)


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
    arrays = ArrayFile(file, limits, labels)
    found = [_status(path) for path in (file, labels) if path]
    identity = " ".join(f"{status.st_size} {status.st_mtime_ns}" for status in found)

    def fill(new: Path) -> Taken:
        progress.start(f"Writing the images of {file.name}", arrays.images)
        return take(arrays.members(), new, Quota(limits, new, sum(status.st_size for status in found)), progress)

    return _ingested(target, os.path.realpath(file), identity, fill, progress)


def ingest_store(store: Store, target: Path, limits: Limits, progress: Progress, origin: str) -> Ingested:
    """Fetch the files of a store into a folder; see `ingest_archive`.

    What an earlier, interrupted run fetched is not fetched again where size and time are the same.
    """
    progress.start(f"Listing {origin}")
    # What is there already needs no more room.
    held = held_bytes(fetching_folder(target))
    listing = list_files(store, Quota(limits, _existing(target), held=held), progress)
    if not listing.wanted:
        raise DataError(f"{origin} holds no file: see `aws s3 ls {origin}`")

    def fill(new: Path) -> Taken:
        progress.start(f"Fetching {origin}", len(listing.wanted))
        fetch_files(store, listing.wanted, new, progress)
        return listing.taken

    return _ingested(target, origin, listing.identity, fill, progress, is_fetched=True)


def already_ingested(target: Path, origin: str, identity: str) -> Ingested | None:
    """Return what was ingested into a folder, if it is this; None: it is something else, or nothing.

    Raises:
        DataError: files of it are gone.
    """
    found = Ingested.read(target)
    if found is None or (found.origin, found.identity) != (origin, identity):
        return None
    if (present := _count_files(target)) < found.files:
        raise DataError(
            f"{target} holds {present:,} of the {found.files:,} files of {origin}, which were all there once: remove "
            "it, or name another target, to get them again"
        )
    return found.model_copy(update={"unchanged": True})


def _count_files(folder: Path) -> int:
    """Return how many files lie below a folder; no hidden one was ingested."""
    return sum(not name.startswith(".") for _, _, names in os.walk(folder) for name in names)


def _ingested(
    target: Path,
    origin: str,
    identity: str,
    fill: Callable[[Path], Taken],
    progress: Progress,
    *,
    is_fetched: bool = False,
) -> Ingested:
    target = Path(os.path.realpath(target))
    with exclusive(target, lambda: progress.start("Waiting for another run to end")):
        if present := already_ingested(target, origin, identity):
            # A run that died right before it did so.
            shutil.rmtree(fetching_folder(target), ignore_errors=True)
            return present
        earlier = Ingested.read(target)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            held = f"what was ingested from {earlier.origin}" if earlier else "something else"
            raise DataError(f"{target} holds {held}: name another target, or remove it")
        with _folder_beside(target, is_fetched=is_fetched) as new:
            taken = fill(new)
            if not taken.files:
                raise DataError(f"{origin} holds no file that can be taken out of it")
            record = Ingested(
                origin=origin,
                identity=identity,
                files=taken.files,
                bytes=taken.bytes,
                hidden=taken.hidden,
                left_out=taken.left_out,
                named=taken.named,
            )
            inner = _innermost(new)
            (inner / INGESTED).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
            # In one step, whether the target is missing or empty: whoever dies before it has all in the old place.
            inner.rename(target)
    return record


@contextmanager
def _folder_beside(target: Path, *, is_fetched: bool) -> Iterator[Path]:
    """Yield a folder that is removed in the end; where files are fetched only if nothing is raised."""
    folder = fetching_folder(target) if is_fetched else target.with_name(f".{target.name}.being-ingested")
    if not is_fetched:
        # Of a run that died.
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(exist_ok=is_fetched)
    try:
        yield folder
    except BaseException:
        if not is_fetched:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _innermost(folder: Path) -> Path:
    """Return the folder that holds the class folders: what holds nothing but one folder around them is left away."""
    while (inner := _only_folder(folder)) and _is_around_classes(inner):
        folder = inner
    return folder


def _only_folder(folder: Path) -> Path | None:
    with os.scandir(folder) as entries:
        found = list(islice(entries, 2))
        return folder / found[0].name if len(found) == 1 and found[0].is_dir() else None


def _is_around_classes(folder: Path) -> bool:
    """Tell whether a folder holds folders, and no image, as a class would. A license or a table may lie there, too."""
    has_folder = False
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                has_folder = True
            elif entry.name.lower().endswith(IMAGE_EXTENSIONS):
                return False
    return has_folder


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
