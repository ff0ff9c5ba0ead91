"""A host's checkpoints and their folder in S3: restored before its program starts, and kept alike while that runs.

What SageMaker's developer guide says of CheckpointConfig: what lies in S3 when a job starts is written to each of its
hosts; from then on only the hosts write, every file that is new or changed, and what a program deletes is deleted in S3
as well. All hosts have the same folder in S3, and must write files of different names. What one host wrote
no other host deletes; what was restored to all is deleted with any host's copy of it.
https://docs.aws.amazon.com/sagemaker/latest/dg/model-checkpoints.html
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from moto.core.exceptions import ServiceException

from local_aws.channels import S3Uri, files_of_prefix
from local_aws.executors import Host
from local_aws.storage import Storage
from local_aws.training_requests import CheckpointConfig

# Between two looks at the files. What is new goes to S3 once it was seen twice, so within two of these.
_SYNC_SECONDS = 1.0


class HostCheckpoints:
    """The checkpoints of one host.

    Args:
        last_writers: the names of the hosts that last uploaded a file in this run of the job; shared by its hosts.
    """

    def __init__(
        self, host: Host, config: CheckpointConfig, storage: Storage, last_writers: dict[PurePosixPath, str]
    ) -> None:
        self._host = host.name
        self._last_writers = last_writers
        self._root = host.directory
        self._inside = config.local_path
        self._directory = host.path(config.local_path)
        self._folder = config.uri
        self._storage = storage
        # What S3 has of this host's files, and what there was at the last look.
        self._synced: dict[PurePosixPath, _Version] = {}
        self._seen: dict[PurePosixPath, _Version] = {}

    @classmethod
    def of_job(cls, hosts: Sequence[Host], config: CheckpointConfig, storage: Storage) -> Sequence[HostCheckpoints]:
        """Those of all hosts of a job; to be synced in one thread."""
        last_writers: dict[PurePosixPath, str] = {}
        return [cls(host, config, storage, last_writers) for host in hosts]

    def restore(self) -> None:
        """Makes the directory, and writes into it what lies in S3.

        Raises:
            ChannelError: the names of the objects cannot become files.
            OSError: a file cannot be written.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        prefix = f"{self._folder.key.rstrip('/')}/".lstrip("/")
        keys = self._storage.keys(self._folder.bucket, prefix)
        for key, relative in files_of_prefix(keys, prefix).items():
            content = self._storage.read(self._folder.bucket, key)
            # Somebody may just have deleted it.
            if content is not None:
                path = self._directory / relative
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                self._synced[relative] = _Version.of(path.stat())
        self._seen = dict(self._synced)

    def sync(self, *, is_last: bool = False) -> Sequence[str]:
        """Brings S3 to what lies in the directory; returns what could not be done, one sentence each.

        A file counts as it is once two looks in a row found it so, and as deleted once two did not find it: one that is
        being written, or just being renamed, is left for the next look.

        Args:
            is_last: the program has ended, so that nothing is being written any more.
        """
        found: dict[PurePosixPath, _Version] = {}
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
        # Last, so that S3 has the new checkpoint before the old one goes.
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
                    yield _File(relative, descriptor, _Version.of(status))

    def _upload(self, file: _File) -> Sequence[str]:
        target = self._target(file.relative)
        try:
            content = file.content()
            if content is not None:
                self._storage.write(target, content)
                self._synced[file.relative] = file.version
                self._last_writers[file.relative] = self._host
        except (OSError, ServiceException) as error:
            return [f"the checkpoint {self._inside / file.relative} did not get to {target}: {error}"]
        return []

    def _delete(self, relative: PurePosixPath) -> Sequence[str]:
        target = self._target(relative)
        if self._last_writers.get(relative, self._host) == self._host:
            try:
                self._storage.delete(target)
            except ServiceException as error:
                return [f"{target} could not be deleted: {error}"]
        del self._synced[relative]
        return []

    def _target(self, relative: PurePosixPath) -> S3Uri:
        return self._folder.below(*relative.parts)


@contextmanager
def kept_in_s3(hosts: Sequence[HostCheckpoints], warn: Callable[[str], None]) -> Iterator[None]:
    """Syncs while the block runs, and once more after it; `warn` gets what could not be done then."""
    ended = threading.Event()

    def sync_now_and_then() -> None:
        while not ended.wait(_SYNC_SECONDS):
            for host in hosts:
                # What cannot be done now may be possible later.
                host.sync()

    thread = threading.Thread(target=sync_now_and_then, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        for host in hosts:
            for problem in host.sync(is_last=True):
                warn(problem)


@dataclass(frozen=True)
class _Version:
    """What changes when a file's content does."""

    size: int
    modified_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> _Version:
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


@dataclass(frozen=True)
class _File:
    relative: PurePosixPath
    descriptor: int
    """Of the directory that it lies in."""
    version: _Version

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
            is_whole = _Version.of(os.fstat(file.fileno())) == self.version and len(content) == self.version.size
        return content if is_whole else None


def _raise_unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
