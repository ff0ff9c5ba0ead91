"""model.tar.gz as a directory that a serving program reads."""

from __future__ import annotations

import io
import tarfile
import zlib
from pathlib import Path

from local_aws.channels import S3Uri
from local_aws.opt_ml import make_read_only
from local_aws.serving_errors import ModelDataError
from local_aws.storage import Storage


def read_model_data(uri: S3Uri, storage: Storage) -> bytes:
    """The content of the object.

    Raises:
        ModelDataError: there is none.
    """
    content = storage.read(uri.bucket, uri.key)
    if content is None:
        raise ModelDataError(f"Could not find model data at {uri}.")
    return content


def unpack(archive: bytes, uri: S3Uri, target: Path) -> None:
    """Unpacks a gzipped tar into an empty directory and makes that read-only.

    SageMaker cannot unpack symbolic links: https://repost.aws/knowledge-center/sagemaker-endpoint-creation-fail

    Args:
        uri: where the archive is from.

    Raises:
        ModelDataError: it is none or is cut short, or has a symbolic link or what would lie outside the directory.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
            for member in tar:
                if member.issym():
                    raise tarfile.ExtractError(f"{member.name} is a symbolic link")
                tar.extract(member, target, filter="data")
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise ModelDataError(
            f'Failed to extract model data archive for container "container_1" from URL "{uri}". Please ensure that '
            f"the object located at the URL is a valid tar.gz archive. ({error})"
        ) from error
    make_read_only(target)
