"""The earlier model that becomes the channel `pretrained` (`data.pretrained`): where it lies, how it gets there."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import ClientError

from container.errors import DataError, SettingsError
from container.modeling.data_settings import MODEL_SUFFIXES
from container.modeling.settings import Settings
from manager import names
from manager.aws import Aws, error_code
from manager.calls import ObjectPath
from manager.errors import JobError
from manager.plan import ApiCall, Plan

FOLDER = "pretrained"


@dataclass(frozen=True)
class Pretrained:
    """An earlier model."""

    path: ObjectPath
    """Where it lies in S3, or the beginning of the keys where it is several objects."""
    file: Path | None = None
    """The file of this machine that is to lie there; None: it is there already."""


def of_settings(settings: Settings, project_root: Path) -> Pretrained | None:
    """Return the earlier model that the settings name; None: they name none.

    Raises:
        DataError: it is a file of this machine that cannot be read.
        SettingsError: it is in the bucket of the access logs.
    """
    named = settings.data.pretrained
    if not named:
        return None
    if named.startswith("s3://"):
        return Pretrained(_named_path(settings))
    if not named.endswith(MODEL_SUFFIXES):
        return Pretrained(ObjectPath(names.output_bucket(settings), f"{named}/output/model.tar.gz"))
    file = project_root / Path(named).expanduser()
    try:
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"data.pretrained: {file} cannot be read: {error.strerror}; name a model's file") from None
    # Named by its content, it is uploaded once, and never changes under a job that reads it.
    return Pretrained(ObjectPath(names.data_bucket(settings), f"{FOLDER}/{digest[:16]}/{file.name}"), file)


def foreign_path(settings: Settings) -> ObjectPath | None:
    """Return where the earlier model lies if that is no bucket of the project's; None: it is, or there is no model.

    Raises:
        SettingsError: it is in the bucket of the access logs.
    """
    if not settings.data.pretrained.startswith("s3://"):
        return None
    path = _named_path(settings)
    return None if path.bucket in names.buckets(settings) else path


def is_in_place(aws: Aws, settings: Settings, pretrained: Pretrained) -> bool:
    """Whether the model lies in S3; a bucket that is not the project's is not looked into.

    Raises:
        AwsError: AWS refuses to tell.
    """
    path = pretrained.path
    if path.bucket not in names.buckets(settings):
        return True
    with aws.explained(f"could not look for the earlier model {path}"):
        try:
            return bool(aws.client("s3").list_objects_v2(Bucket=path.bucket, Prefix=path.key, MaxKeys=1)["KeyCount"])
        except ClientError as error:
            if error_code(error) != "NoSuchBucket":
                raise
            return False


def plan_pretrained(settings: Settings, pretrained: Pretrained, *, in_place: bool) -> Plan:
    """Plan what brings the earlier model to where the channel reads it.

    Raises:
        JobError: it is no file of this machine, and not in S3.
    """
    path = pretrained.path
    if in_place:
        return Plan(unchanged=(f"earlier model {path}",))
    if pretrained.file is None:
        raise JobError(
            f"data.pretrained={settings.data.pretrained}: there is no {path}; --status shows the training jobs: those "
            "that completed have a model"
        )
    request = {"Bucket": path.bucket, "Key": path.key, "Body": pretrained.file}
    return Plan((ApiCall("s3", "put_object", request, f"upload the earlier model to {path}"),))


def _named_path(settings: Settings) -> ObjectPath:
    path = ObjectPath.parse(settings.data.pretrained)
    if path.bucket == names.log_bucket(settings):
        raise SettingsError(
            f"data.pretrained={settings.data.pretrained}: no job may read the bucket of the access logs; name a model "
            "in another bucket, an earlier training job, or a model's file"
        )
    return path
