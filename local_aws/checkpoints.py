"""A host's checkpoints and their folder in S3: restored before its program starts, and kept alike while that runs.

What SageMaker's developer guide says of CheckpointConfig: what lies in S3 when a job starts is written to each of its
hosts; from then on only the hosts write, every file that is new or changed, and what a program deletes is deleted in S3
as well. All hosts have the same folder in S3, and must write files of different names. What one host wrote
no other host deletes; what was restored to all is deleted with any host's copy of it.
https://docs.aws.amazon.com/sagemaker/latest/dg/model-checkpoints.html
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from moto.core.exceptions import ServiceException

from local_aws.channels import files_of_prefix
from local_aws.executors import Host
from local_aws.storage import Storage
from local_aws.synced_directories import FileVersion, SyncedDirectory
from local_aws.training_requests import DirectoryInS3


class HostCheckpoints(SyncedDirectory):
    """The checkpoints of one host.

    Args:
        last_writers: the names of the hosts that last uploaded a file in this run of the job; shared by its hosts.
    """

    def __init__(
        self, host: Host, config: DirectoryInS3, storage: Storage, last_writers: dict[PurePosixPath, str]
    ) -> None:
        super().__init__(host, config, storage, "checkpoint")
        self._last_writers = last_writers

    @classmethod
    def of_job(cls, hosts: Sequence[Host], config: DirectoryInS3, storage: Storage) -> Sequence[HostCheckpoints]:
        """Those of all hosts of a job; to be synced in one thread."""
        last_writers: dict[PurePosixPath, str] = {}
        return [cls(host, config, storage, last_writers) for host in hosts]

    def restore(self) -> None:
        """Makes the directory, and writes into it what lies in S3.

        Raises:
            ChannelError: the names of the objects cannot become files.
            OSError: a file cannot be written.
        """
        self.create()
        prefix = f"{self._folder.key.rstrip('/')}/".lstrip("/")
        keys = self._storage.keys(self._folder.bucket, prefix)
        for key, relative in files_of_prefix(keys, prefix).items():
            content = self._storage.read(self._folder.bucket, key)
            # Somebody may just have deleted it.
            if content is not None:
                path = self._directory / relative
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                self._synced[relative] = FileVersion.of(path.stat())
        self._seen = dict(self._synced)

    def _note(self, relative: PurePosixPath) -> None:
        self._last_writers[relative] = self._host

    def _delete(self, relative: PurePosixPath) -> Sequence[str]:
        target = self._target(relative)
        if self._last_writers.get(relative, self._host) == self._host:
            try:
                self._storage.delete(target)
            except ServiceException as error:
                return [f"{target} could not be deleted: {error}"]
        return super()._delete(relative)
