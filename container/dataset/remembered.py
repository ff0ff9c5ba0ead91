"""Remembers what decoding an image told, and which images were found alike, in a file beside the check's results.

An image is known again by its path, its size and its time of change. The file is an SQLite database: what was written
to it stays whole whenever a process dies.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from container.dataset.alike import MEMORY_FILE, VERSION, Alike, image_key, read_alike
from container.dataset.duplicates import Positions
from container.dataset.image_files import ImageFile
from container.dataset.looks import PICTURE_BYTES, Look
from container.dataset.source import ImageSource
from container.errors import DataError

SCHEMA = f"""
CREATE TABLE look (
    path BLOB PRIMARY KEY, size INTEGER, modified INTEGER, {", ".join(Look._fields)}, digest, is_compared INTEGER
) WITHOUT ROWID;
CREATE TABLE alike (part INTEGER, is_near INTEGER, path BLOB, size INTEGER, modified INTEGER);
CREATE INDEX alike_path ON alike (path);
PRAGMA user_version = {VERSION};
"""
FIELDS = ", ".join(Look._fields)
# What may change without the file's time: who may read it.
FORGOTTEN = "unreadable"
# https://www.sqlite.org/rescode.html: only then is there nothing to be kept.
DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class Memory:
    """What is remembered of the images of a source."""

    def __init__(self, file: Path) -> None:
        """Open the file; begin anew if it is missing, damaged, or of another version.

        Raises:
            sqlite3.Error: it cannot be used now, as while another process writes to it, or on a full disk.
        """
        self.file = file
        try:
            self.database = _opened(file)
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode not in DAMAGED:
                raise
            file.unlink(missing_ok=True)
            self.database = _opened(file)

    def look(self, path: str, file: ImageFile) -> Look | None:
        """Return what is remembered of an image; None: nothing, or it has changed since."""
        row = self.database.execute(
            f"SELECT {FIELDS} FROM look WHERE path = ? AND size = ? AND modified = ?", image_key(path, file)
        ).fetchone()
        return Look(*row) if row else None

    def is_known(self, path: str, file: ImageFile, most_pixels: int) -> bool:
        """Tell whether an image need not be decoded again to look for more than so many pixels."""
        row = self.database.execute(
            "SELECT trouble, width * height FROM look WHERE path = ? AND size = ? AND modified = ?",
            image_key(path, file),
        ).fetchone()
        if row is None or row[0] == FORGOTTEN:
            return False
        return row[0] != "too_many_pixels" or row[1] > most_pixels

    def remember(self, path: str, file: ImageFile, look: Look) -> None:
        """Remember an image; `keep` makes it last."""
        marks = ", ".join("?" * (len(look) + 3))
        self.database.execute(f"INSERT OR REPLACE INTO look VALUES ({marks}, NULL, 0)", (*image_key(path, file), *look))

    def keep(self) -> None:
        """Make what was remembered so far outlive this process."""
        self.database.commit()

    def pictures(self, images: Iterable[tuple[str, ImageFile]], count: int) -> tuple[NDArray[np.uint8], Positions]:
        """Return by what so many images are compared, and the positions of those that have pixels.

        The pictures are as in `duplicates.perceptual_hashes`; what has no pixels has zeros.
        """
        pictures = np.zeros((count, PICTURE_BYTES), np.uint8)
        has_pixels = np.zeros(count, bool)
        for position, (path, _) in enumerate(images):
            row = self.database.execute("SELECT picture FROM look WHERE path = ?", (os.fsencode(path),)).fetchone()
            if row and len(row[0]) == PICTURE_BYTES:
                pictures[position] = np.frombuffer(row[0], np.uint8)
                has_pixels[position] = True
        return pictures, np.flatnonzero(has_pixels)

    def digest(self, path: str) -> bytes | None:
        """Return the digest of an image's pixels; None: it was not needed before."""
        row = self.database.execute("SELECT digest FROM look WHERE path = ?", (os.fsencode(path),)).fetchone()
        return row[0] if row else None

    def remember_digest(self, path: str, digest: bytes) -> None:
        """Remember the digest of the pixels of an image that is remembered; `keep` makes it last."""
        self.database.execute("UPDATE look SET digest = ? WHERE path = ?", (digest, os.fsencode(path)))

    def alike(self, source: ImageSource) -> Alike:
        """Return which images of a source were found alike."""
        return read_alike(self.database, source)

    def conclude(
        self,
        images: Iterable[tuple[str, ImageFile]],
        same: Iterable[Sequence[tuple[str, ImageFile]]],
        near: Iterable[Sequence[tuple[str, ImageFile]]],
    ) -> None:
        """Remember that all images were compared, which are the same, and which nearly so; all at once, and to last.

        Images that there are no more are forgotten.
        """
        with self.database as database:
            database.execute("CREATE TEMP TABLE present (path BLOB PRIMARY KEY) WITHOUT ROWID")
            database.executemany("INSERT INTO present VALUES (?)", ((os.fsencode(path),) for path, _ in images))
            database.execute("DELETE FROM look WHERE path NOT IN (SELECT path FROM present)")
            # What could not be read may be readable when a split asks; of other troubles another check changes nothing.
            compared = "UPDATE look SET is_compared = 1 WHERE NOT is_compared AND trouble != ?"
            database.execute(compared, (FORGOTTEN,))
            database.execute("DELETE FROM alike")
            for is_near, groups in ((False, same), (True, near)):
                for part, group in enumerate(groups):
                    rows = ((part, is_near, *image_key(path, file)) for path, file in group)
                    database.executemany("INSERT INTO alike VALUES (?, ?, ?, ?, ?)", rows)
            database.execute("DROP TABLE present")

    def close(self) -> None:
        """Close the file; what was not kept is forgotten."""
        self.database.close()


@contextlib.contextmanager
def memory(folder: Path) -> Iterator[Memory]:
    """Open what is remembered in a folder, which must exist.

    Raises:
        DataError: it cannot be read or written.
    """
    try:
        opened = Memory(folder / MEMORY_FILE)
        try:
            yield opened
        finally:
            opened.close()
    except sqlite3.Error as error:
        is_damaged = error.sqlite_errorcode in DAMAGED
        remedy = "remove it" if is_damaged else "free the disk, or end the process that uses it"
        raise DataError(f"{folder / MEMORY_FILE} cannot be used: {error}; {remedy}, and run --check again") from error


def _opened(file: Path) -> sqlite3.Connection:
    database = sqlite3.connect(file)
    # Another process that reads, as a split does, is waited for.
    database.execute("PRAGMA busy_timeout = 10000")
    # A crash of the machine may cost the last images, which are then decoded again.
    database.execute("PRAGMA synchronous = OFF")
    if database.execute("PRAGMA user_version").fetchone()[0] != VERSION:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (name,) in tables:
            database.execute(f'DROP TABLE "{name}"')
        database.executescript(SCHEMA)
    return database
