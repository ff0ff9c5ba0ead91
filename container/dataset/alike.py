"""What a check has found alike, as a split reads it. Imports little, since splitting is quick."""

import contextlib
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from container.dataset.image_files import ImageFile
from container.dataset.source import ImageSource
from container.errors import DataError

MEMORY_FILE = "images.sqlite"
# To be raised when an image's look would be another, or what is alike: what older versions remembered is forgotten.
VERSION = 4
# What a check calls those that no decoder takes.
DAMAGED = frozenset({"undecodable", "truncated"})


@dataclass(frozen=True, slots=True)
class Alike:
    """What an earlier check found."""

    same: tuple[tuple[str, ...], ...] = ()
    """Paths of images whose pixels are the same."""
    near: tuple[tuple[str, ...], ...] = ()
    """Paths of images that are nearly the same."""
    changed: int = 0
    """Images of the source that no check has compared with the others: they are new, or changed since."""
    damaged: tuple[str, ...] = ()
    """Paths of images that could not be decoded."""


def remembered_groups(folder: Path, source: ImageSource) -> Alike | None:
    """Return which images of a source a check has found alike; None: there was no check.

    Raises:
        DataError: its results cannot be read.
    """
    file = folder / MEMORY_FILE
    if not file.is_file():
        return None
    try:
        # For writing, where that is allowed: what a check that died began to write is undone first.
        with contextlib.closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=rw", uri=True)) as database:
            if database.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                return None
            return read_alike(database, source)
    except sqlite3.Error as error:
        raise DataError(
            f"{file} cannot be used: {error}; once no check runs, run --check again, or remove it"
        ) from None


def read_alike(database: sqlite3.Connection, source: ImageSource) -> Alike:
    """Return which images of a source a check has found alike, by what it remembers."""
    present = {}
    changed, damaged = 0, []
    for path, file in source.images():
        key = image_key(path, file)
        # A check that died has decoded images that it did not compare.
        compared = "SELECT trouble FROM look WHERE path = ? AND size = ? AND modified = ? AND is_compared"
        found = database.execute(compared, key).fetchone()
        changed += found is None
        if found and found[0] in DAMAGED:
            damaged.append(path)
        if database.execute("SELECT 1 FROM alike WHERE path = ?", key[:1]).fetchone():
            present[key] = path
    groups: dict[tuple[int, int], list[str]] = {}
    for part, is_near, *key in database.execute("SELECT part, is_near, path, size, modified FROM alike ORDER BY path"):
        if tuple(key) in present:
            groups.setdefault((is_near, part), []).append(present[*key])
    same, near = (
        tuple(tuple(group) for (is_near, _), group in groups.items() if is_near == kind and len(group) > 1)
        for kind in (False, True)
    )
    return Alike(same, near, changed, tuple(damaged))


def image_key(path: str, file: ImageFile) -> tuple[bytes, int, int]:
    """Return what an image is known again by."""
    return os.fsencode(path), file.size, file.modified
