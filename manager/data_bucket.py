"""What a launch looks at in the data bucket first: an upload that ended, of the sets that lie on this machine."""

from pathlib import Path

from botocore.exceptions import ClientError

from container.dataset.prepared import INDEX, TRAINING
from container.dataset.record import RECORD
from container.errors import DataError
from container.modeling.settings import Settings
from manager import manifest, names
from manager.aws import Aws, error_code
from manager.calls import ObjectPath


def check_uploaded(aws: Aws, settings: Settings, project_root: Path) -> None:
    """See that what the bucket holds is whole, and is the split that lies on this machine, where there is one.

    Raises:
        DataError: it is another one, or a part: a job would train on other images than one thinks.
        AwsError: AWS refuses to tell.
    """
    record, bucket = project_root / settings.data.sets_path / RECORD, names.data_bucket(settings)
    check_finished(aws, settings)
    if not record.is_file():
        return
    remote = read_content(aws, ObjectPath(bucket, RECORD))
    # SageMaker itself refuses a job without images.
    if remote is not None and remote != record.read_bytes():
        raise DataError(
            f"s3://{bucket} holds another split than {settings.data.sets_path}: upload this one by --upload_data "
            "--prune, or name the other by data.directory"
        )


def check_finished(aws: Aws, settings: Settings) -> None:
    """See that no upload was begun and not finished.

    Raises:
        DataError: one was.
        AwsError: AWS refuses to tell.
    """
    bucket = names.data_bucket(settings)
    if manifest.read_fingerprint(aws, bucket) == "":
        raise DataError(f"an upload to s3://{bucket} was begun and not finished: finish it by --upload_data --prune")


def check_shards(aws: Aws, settings: Settings, project_root: Path) -> None:
    """See that the data bucket holds the shards of the prepared sets on this machine, or none where there are none.

    Raises:
        DataError: it holds others: a job would train on other images than one thinks.
        AwsError: AWS refuses to tell.
    """
    if not (project_root / settings.data.sets_path / RECORD).is_file():
        return
    bucket, key = names.data_bucket(settings), f"{TRAINING}/{INDEX}"
    file = project_root / settings.data.prepared_path / key
    local, remote = file.read_bytes() if file.is_file() else None, read_content(aws, ObjectPath(bucket, key))
    if local == remote:
        return
    if remote is None and not _exists(aws, bucket):
        raise DataError(f"s3://{bucket} does not exist: --init_s3_buckets creates it, and uploads")
    there = "no shards" if remote is None else "shards" if local is None else "other shards"
    here = "there are none" if local is None else "this machine's are"
    raise DataError(
        f"s3://{bucket} holds {there}, and {here} in {settings.data.prepared_path}: upload what is here by "
        "--upload_data --prune"
    )


def _exists(aws: Aws, bucket: str) -> bool:
    with aws.explained(f"could not look at the bucket {bucket}"):
        try:
            aws.client("s3").head_bucket(Bucket=bucket)
        except ClientError as error:
            if error_code(error) in manifest.NOT_THERE:
                return False
            raise
    return True


def read_content(aws: Aws, file: ObjectPath) -> bytes | None:
    """Return the content of a small object; None: there is none.

    Raises:
        AwsError: AWS refuses to tell.
    """
    with aws.explained(f"could not read {file}"):
        try:
            return bytes(aws.client("s3").get_object(Bucket=file.bucket, Key=file.key)["Body"].read())
        except ClientError as error:
            if error_code(error) in manifest.NOT_THERE:
                return None
            raise
