"""What a check has found alike, as a split reads it. Imports little, since splitting is quick."""

import contextlib
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from container.dataset.index import ImageFile
from container.dataset.source import ImageSource
from container.errors import DataError

MEMORY_FILE = "images.sqlite"
# To be raised when an image's look would be another: what older versions remembered is then forgotten.
VERSION = 1


@dataclass(frozen=True, slots=True)
class Alike:
    """What an earlier check found."""

    groups: tuple[tuple[str, ...], ...]
    """Paths of images that are the same or nearly so."""
    changed: int
    """Images of the source that are new, or changed since."""


def remembered_groups(folder: Path, source: ImageSource) -> Alike | None:
    """Return which images of a source a check has found alike; None: there was no check.

    Raises:
        DataError: its results cannot be read.
    """
    file = folder / MEMORY_FILE
    if not file.is_file():
        return None
    try:
        with contextlib.closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as database:
            if database.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                return None
            return _alike(database, source)
    except sqlite3.Error as error:
        raise DataError(f"{file} cannot be used: {error}; remove it, and run --check again") from None


def _alike(database: sqlite3.Connection, source: ImageSource) -> Alike:
    known = {tuple(key): part for part, *key in database.execute("SELECT * FROM alike")}
    groups: dict[int, list[str]] = {}
    changed = 0
    for path, file in source.images():
        key = image_key(path, file)
        if key in known:
            groups.setdefault(known[key], []).append(path)
        elif not database.execute("SELECT 1 FROM look WHERE path = ? AND size = ? AND modified = ?", key).fetchone():
            changed += 1
    return Alike(tuple(tuple(group) for group in groups.values() if len(group) > 1), changed)


def image_key(path: str, file: ImageFile) -> tuple[bytes, int, int]:
    """Return what an image is known again by."""
    return os.fsencode(path), file.size, file.modified
