"""The SHA-256 of files on this machine, remembered from one upload to the next."""

import contextlib
import hashlib
import sqlite3
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from container.errors import DataError

# A file that changes so shortly after it was read may keep its times: those of some file systems are that coarse.
UNSETTLED_NS = 2_000_000_000
# Rows that a run that is killed forgets, at most.
ROWS_OF_A_COMMIT = 1000


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file that is uploaded. Slots, because there are many."""

    folder: Path
    key: str
    """Its path inside the folder, with slashes; that is its key in the bucket."""
    size: int
    """Bytes."""
    modified: int
    """Nanoseconds since 1970."""
    changed: int
    """The same for the last change of anything about it, which no program can set."""

    @classmethod
    def of(cls, folder: Path, key: str) -> "LocalFile":
        """Return a file as it is now.

        Raises:
            DataError: it cannot be looked at.
        """
        try:
            status = (folder / key).stat()
        except OSError as error:
            raise unreadable(folder / key, error) from None
        return cls(folder, key, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.folder / self.key

    def sha256(self) -> bytes:
        """Read the file; return its SHA-256.

        Raises:
            DataError: it cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest()
        except OSError as error:
            raise unreadable(self.path, error) from None


class Checksums:
    """Remembers the SHA-256 of files by path, size and times. Used by one thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection, self._began = connection, time.time_ns()
        self._rows: list[tuple[str, int, int, int, bytes]] = []

    @classmethod
    @contextlib.contextmanager
    def open(cls, file: Path) -> Iterator["Checksums"]:
        """Open the memory that lies in a file; where it cannot be used, all is forgotten in the end."""
        with contextlib.closing(_connect(file)) as connection:
            memory = cls(connection)
            try:
                yield memory
            finally:
                memory._write()

    def known(self, files: Iterable[LocalFile]) -> Iterator[tuple[LocalFile, bytes | None]]:
        """Yield files with what is remembered of each: None where it is new or was changed."""
        query = "SELECT sha256 FROM checksums WHERE path = ? AND size = ? AND modified = ? AND changed = ?"
        for file in files:
            try:
                row = self._connection.execute(query, _row(file)).fetchone()
            except sqlite3.Error:
                row = None
            yield file, row[0] if row else None

    def remember(self, file: LocalFile, sha256: bytes) -> None:
        """Remember a file that was read in full after it was looked at."""
        if file.changed > self._began - UNSETTLED_NS:
            return
        self._rows.append((*_row(file), sha256))
        if len(self._rows) == ROWS_OF_A_COMMIT:
            self._write()

    def _write(self) -> None:
        with contextlib.suppress(sqlite3.Error), self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO checksums VALUES (?, ?, ?, ?, ?)", self._rows)
        self._rows.clear()


def unreadable(path: Path, error: OSError) -> DataError:
    """Return the error for a file that the system does not let us read."""
    return DataError(f"{path} cannot be read: {error.strerror or error}")


def _connect(file: Path) -> sqlite3.Connection:
    # A damaged memory is begun anew; where none can be written, as on a disk that is read only, there is none.
    for attempt in (file, file, None):
        try:
            connection = sqlite3.connect(attempt or ":memory:")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS checksums"
                " (path TEXT PRIMARY KEY, size INTEGER, modified INTEGER, changed INTEGER, sha256 BLOB) WITHOUT ROWID"
            )
            connection.execute("SELECT path, size, modified, changed, sha256 FROM checksums LIMIT 1")
            break
        except sqlite3.OperationalError:
            continue
        except sqlite3.DatabaseError:
            with contextlib.suppress(OSError):
                file.unlink()
    return connection


def _row(file: LocalFile) -> tuple[str, int, int, int]:
    # Sets and prepared sets have files of the same keys.
    return f"{file.folder.name}/{file.key}", file.size, file.modified, file.changed
