"""A directory of a host that S3 gets a copy of while the host's program runs, as of its checkpoints."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from moto.core.exceptions import ServiceException

from local_aws.channels import S3Uri
from local_aws.executors import Host
from local_aws.storage import Storage
from local_aws.training_requests import DirectoryInS3

# Between two looks at the files. What is new goes to S3 once it was seen twice, so within two of these.
_SYNC_SECONDS = 1.0


class SyncedDirectory:
    """The directory of one host. S3 gets every file that is new or changed, and keeps those that the program deletes.

    Args:
        what: the files are, for warnings.
    """

    def __init__(self, host: Host, config: DirectoryInS3, storage: Storage, what: str = "file") -> None:
        self._host = host.name
        self._root = host.directory
        self._inside = config.local_path
        self._directory = host.path(config.local_path)
        self._folder = config.uri
        self._storage = storage
        self._what = what
        # What S3 has of this host's files, and what there was at the last look.
        self._synced: dict[PurePosixPath, FileVersion] = {}
        self._seen: dict[PurePosixPath, FileVersion] = {}

    def create(self) -> None:
        """Makes the directory.

        Raises:
            OSError: it cannot be made.
        """
        self._directory.mkdir(parents=True, exist_ok=True)

    @property
    def synced(self) -> Collection[PurePosixPath]:
        """The files that S3 has of this host, by their paths inside the directory."""
        return self._synced.keys()

    def sync(self, *, is_last: bool = False) -> Sequence[str]:
        """Brings S3 to what lies in the directory; returns what could not be done, one sentence each.

        A file counts as it is once two looks in a row found it so, and as deleted once two did not find it: one that is
        being written, or just being renamed, is left for the next look.

        Args:
            is_last: the program has ended, so that nothing is being written any more.
        """
        found: dict[PurePosixPath, FileVersion] = {}
        problems: list[str] = []
        try:
            for file in self._files():
                found[file.relative] = file.version
                is_settled = is_last or self._seen.get(file.relative) == file.version
                if is_settled and self._synced.get(file.relative) != file.version:
                    problems += self._upload(file)
        except OSError as error:
            # What lies there is not known, so nothing of it counts as deleted.
            return [*problems, f"cannot read {self._inside}: {error.strerror}"]
        # Last, so that S3 has what is new before what is old goes.
        for relative in [*self._synced.keys() - found.keys()]:
            if is_last or relative not in self._seen:
                problems += self._delete(relative)
        self._seen = found
        return problems

    def _files(self) -> Iterator[_File]:
        # A program in a container may make links of directories at any time, and what these name outside the container
        # is not the program's: nothing is opened by a path, each directory and file is by its parent's descriptor.
        if self._directory.resolve() != self._root.resolve() / self._inside.relative_to("/"):
            raise OSError(0, "it is a link")
        if not self._directory.exists():
            return
        for parent, _, names, descriptor in os.fwalk(self._directory, onerror=_raise_unless_gone):
            for name in names:
                try:
                    status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(status.st_mode):
                    relative = PurePosixPath(Path(parent, name).relative_to(self._directory))
                    yield _File(relative, descriptor, FileVersion.of(status))

    def _upload(self, file: _File) -> Sequence[str]:
        target = self._target(file.relative)
        try:
            content = file.content()
            if content is not None:
                self._storage.write(target, content)
                self._synced[file.relative] = file.version
                self._note(file.relative)
        except (OSError, ServiceException) as error:
            return [f"the {self._what} {self._inside / file.relative} did not get to {target}: {error}"]
        return []

    def _note(self, relative: PurePosixPath) -> None:
        """Takes note that S3 has this host's file."""

    def _delete(self, relative: PurePosixPath) -> Sequence[str]:
        """Does what is to be done about a file that the program deleted; returns what could not be."""
        del self._synced[relative]
        return []

    def _target(self, relative: PurePosixPath) -> S3Uri:
        return self._folder.below(*relative.parts)


@contextmanager
def kept_in_s3(directories: Sequence[SyncedDirectory], warn: Callable[[str], None]) -> Iterator[None]:
    """Syncs while the block runs, and once more after it; `warn` gets what could not be done then."""
    ended = threading.Event()

    def sync_now_and_then() -> None:
        while not ended.wait(_SYNC_SECONDS):
            for directory in directories:
                # What cannot be done now may be possible later.
                directory.sync()

    thread = threading.Thread(target=sync_now_and_then, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        for directory in directories:
            for problem in directory.sync(is_last=True):
                warn(problem)


@dataclass(frozen=True)
class FileVersion:
    """What changes when a file's content does."""

    size: int
    modified_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileVersion:
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


@dataclass(frozen=True)
class _File:
    relative: PurePosixPath
    descriptor: int
    """Of the directory that it lies in."""
    version: FileVersion

    def content(self) -> bytes | None:
        """The whole content of this version; None where the file is another by now, or gone.

        Raises:
            OSError: it cannot be read.
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            file = os.fdopen(os.open(self.relative.name, flags, dir_fd=self.descriptor), "rb")
        except FileNotFoundError:
            return None
        with file:
            content = file.read()
            is_whole = FileVersion.of(os.fstat(file.fileno())) == self.version and len(content) == self.version.size
        return content if is_whole else None


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
