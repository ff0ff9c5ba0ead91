"""What a training job's hosts find in /opt/ml/input when their program starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from local_aws.channels import ChannelError, files_of_manifest, files_of_prefix, share_of_host
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
        bucket = channel.uri.bucket
        files: Mapping[str, PurePosixPath]
        if channel.is_manifest:
            bucket, files = files_of_manifest(self._content(channel.uri.bucket, channel.uri.key))
        else:
            files = files_of_prefix(self._storage.keys(bucket, channel.uri.key), channel.uri.key)
        keys: Sequence[str] = list(files)
        if channel.distribution == "ShardedByS3Key":
            keys = share_of_host(keys, host, hosts)
        target.mkdir(parents=True)
        for key in keys:
            if self._is_over():
                return
            path = target / files[key]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self._content(bucket, key))
        if channel.input_mode == "FastFile":
            make_read_only(target)

    def _content(self, bucket: str, key: str) -> bytes:
        content = self._storage.read(bucket, key)
        if content is None:
            raise ChannelError(f"there is no object s3://{bucket}/{key}")
        return content
