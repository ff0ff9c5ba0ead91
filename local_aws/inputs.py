"""What of S3 the hosts of a job find when their program starts; of a training job all that is in /opt/ml/input."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from local_aws.channels import ChannelError, S3Uri, files_of_manifest, files_of_prefix, share_of_host
from local_aws.executors import Host
from local_aws.opt_ml import OptMl, make_read_only, resource_config
from local_aws.storage import Storage
from local_aws.training_requests import Channel, TrainingRequest


class DownloadError(Exception):
    """A channel cannot be downloaded; the message is the job's FailureReason."""


class Inputs:
    """The configuration and the channels of a job.

    Args:
        network_interface: by which the hosts reach each other.
        is_over: whether the job is to end, so that what is left of a channel is not worth its time.
    """

    def __init__(
        self, request: TrainingRequest, storage: Storage, network_interface: str, is_over: Callable[[], bool]
    ) -> None:
        self._request = request
        self._storage = storage
        self._network_interface = network_interface
        self._is_over = is_over

    def put(self, hosts: Sequence[Host], number: int) -> None:
        """Writes all that one of the hosts finds there; `number` counts from 0.

        Raises:
            DownloadError: see there.
        """
        opt_ml, channels = OptMl(hosts[number].opt_ml), self._request.channels
        opt_ml.write_config("hyperparameters", self._request.hyperparameters)
        addresses = [host.address for host in hosts]
        opt_ml.write_config("resourceconfig", resource_config(addresses[number], addresses, self._network_interface))
        opt_ml.write_config("inputdataconfig", {channel.name: channel.as_input_data_config() for channel in channels})
        for channel in channels:
            try:
                self._download(channel, opt_ml.channel(channel.name), number, len(hosts))
            except (ChannelError, OSError) as error:
                raise DownloadError(
                    f"ClientError: Data download failed: channel {channel.name} ({channel.uri}): {error}"
                ) from error

    def _download(self, channel: Channel, target: Path, host: int, hosts: int) -> None:
        is_sharded = channel.distribution == "ShardedByS3Key"
        source = ObjectsInS3(channel.uri, channel.is_manifest, is_sharded)
        source.download(self._storage, target, host, hosts, self._is_over)
        if channel.input_mode == "FastFile" and not self._is_over():
            make_read_only(target)


@dataclass(frozen=True)
class ObjectsInS3:
    """Objects that become files of each host.

    Attributes:
        uri: a prefix, or a manifest.
        is_sharded: whether each host gets its share only.
    """

    uri: S3Uri
    is_manifest: bool
    is_sharded: bool

    def download(self, storage: Storage, target: Path, host: int, hosts: int, is_over: Callable[[], bool]) -> None:
        """Writes the files of one of the hosts into a directory, which it makes.

        Args:
            host: counts from 0.
            is_over: whether what is left is not worth its time.

        Raises:
            ChannelError: the objects cannot become files, or one is missing.
            OSError: a file cannot be written.
        """
        bucket = self.uri.bucket
        files: Mapping[str, PurePosixPath]
        if self.is_manifest:
            bucket, files = files_of_manifest(_content(storage, bucket, self.uri.key))
        else:
            files = files_of_prefix(storage.keys(bucket, self.uri.key), self.uri.key)
        keys: Sequence[str] = share_of_host(list(files), host, hosts) if self.is_sharded else list(files)
        target.mkdir(parents=True, exist_ok=True)
        for key in keys:
            if is_over():
                return
            path = target / files[key]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_content(storage, bucket, key))


def _content(storage: Storage, bucket: str, key: str) -> bytes:
    content = storage.read(bucket, key)
    if content is None:
        raise ChannelError(f"there is no object s3://{bucket}/{key}")
    return content
