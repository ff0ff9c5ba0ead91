"""Replaces a folder as a whole: written beside, then renamed.

At any moment there is the old folder or the new one, but for the instant between two renames; a process that dies
there leaves the old one under another name, and the next call puts it back.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from container.errors import DataError

# What systems leave in folders that somebody looks at, or copies.
OF_SYSTEMS = {".DS_Store", ".directory", "Thumbs.db", "desktop.ini"}
OF_SYSTEMS_START = "._"


def is_of_system(name: str) -> bool:
    """Tell by its name whether a file is one that nobody would miss."""
    return name in OF_SYSTEMS or name.startswith(OF_SYSTEMS_START)


def overlap(one: Path, other: Path) -> bool:
    """Tell whether two folders, whose paths are resolved, are the same, or one lies in the other."""
    return one == other or one in other.parents or other in one.parents


@contextlib.contextmanager
def exclusive(folder: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Keep other processes that call this for the same folder waiting; clear away what a dead one left behind.

    `folder` need not exist. `on_wait` is called before waiting.

    Raises:
        DataError: instead of any OSError, here or in the block.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_name(f".{folder.name}.lock"), on_wait):
            _recover(folder)
            yield
    except OSError as error:
        where = f" ({error.filename!r})" if error.filename else ""
        raise DataError(f"{folder} cannot be written: {error.strerror or error}{where}") from error


@contextlib.contextmanager
def replacement(folder: Path) -> Iterator[Path]:
    """Yield a new, empty folder that takes the place of `folder` when the block ends, and vanishes if it raises.

    To be called within `exclusive`.
    """
    new, old = _beside(folder)
    try:
        new.mkdir()
        yield new
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    finally:
        _recover(folder)


def _recover(folder: Path) -> None:
    new, old = _beside(folder)
    if old.exists() and not folder.exists():
        old.rename(folder)
    for leftover in (new, old):
        if leftover.exists():
            shutil.rmtree(leftover)


def _beside(folder: Path) -> tuple[Path, Path]:
    return folder.with_name(f".{folder.name}.being-written"), folder.with_name(f".{folder.name}.being-replaced")


@contextlib.contextmanager
def _locked(file: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    descriptor = _open_lock(file, on_wait)
    try:
        yield
    finally:
        # Before the lock goes: whoever waits for it sees that the file is gone, and makes a new one.
        file.unlink(missing_ok=True)
        os.close(descriptor)


def _open_lock(file: Path, on_wait: Callable[[], None]) -> int:
    """Return a locked descriptor of the file of this name; the system drops the lock when the process dies."""
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                on_wait()
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            except OSError:
                # Some network file systems lock nothing: two runs at once are then the user's to avoid.
                return descriptor
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), file.stat()):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
