"""model.tar.gz as a directory that a serving program reads."""

from __future__ import annotations

import io
import shutil
import tarfile
import zlib
from pathlib import Path

from local_aws.channels import S3Uri
from local_aws.opt_ml import make_read_only
from local_aws.serving_errors import ModelDataError
from local_aws.storage import Storage

# The part of the free disk that one model may fill: a small archive may unpack to any size.
_SHARE_OF_DISK = 0.9


def missing_data(uri: S3Uri) -> str:
    """SageMaker's words for a model whose data is not there."""
    return f"Could not find model data at {uri}."


def read_model_data(uri: S3Uri, storage: Storage) -> bytes:
    """The content of the object.

    Raises:
        ModelDataError: there is none.
    """
    content = storage.read(uri.bucket, uri.key)
    if content is None:
        raise ModelDataError(missing_data(uri))
    return content


def unpack(archive: bytes, uri: S3Uri, target: Path) -> None:
    """Unpacks a gzipped tar into an empty directory and makes that read-only.

    SageMaker cannot unpack symbolic links: https://repost.aws/knowledge-center/sagemaker-endpoint-creation-fail

    Args:
        uri: where the archive is from.

    Raises:
        ModelDataError: it is none or is cut short, has a symbolic link or what would lie outside the directory, or the
            disk has no room for it.
    """
    room = int(shutil.disk_usage(target).free * _SHARE_OF_DISK)
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
            for member in tar:
                if member.issym():
                    raise tarfile.ExtractError(f"{member.name} is a symbolic link")
                room -= member.size
                if room < 0:
                    raise tarfile.ExtractError(f"this machine's disk has no room for {member.name}")
                tar.extract(member, target, filter="data")
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise ModelDataError(
            f'Failed to extract model data archive for container "container_1" from URL "{uri}". Please ensure that '
            f"the object located at the URL is a valid tar.gz archive. ({error})"
        ) from error
    make_read_only(target)
