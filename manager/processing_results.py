"""What a processing job that prepares images left in the output bucket, and whether a training may use it."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import TypeVar

from botocore.exceptions import ClientError
from pydantic import BaseModel, ValidationError

from container.dataset import preparing_hosts as hosts
from container.dataset.prepared import INDEX, PREPARED_SETS, SetIndex
from container.dataset.preparing_hosts import Order, Part
from container.dataset.record import RECORD
from container.errors import DataError
from container.modeling.settings import Settings
from manager import manifest, names
from manager.aws import Aws, error_code
from manager.calls import ObjectPath
from manager.plan import ApiCall, Plan

MISSING = ("404", "NoSuchKey", "NoSuchBucket")

Model = TypeVar("Model", bound=BaseModel)


def read_indexes(aws: Aws, settings: Settings, job: str) -> dict[str, SetIndex]:
    """Return the index of each set that a processing job has prepared, from what its hosts tell.

    Raises:
        DataError: the job prepared nothing, or a host's part is missing or damaged.
        AwsError: AWS refuses to tell.
    """
    text = read_text(aws, job_file(settings, job, hosts.ORDER_FILE))
    if text is None:
        raise DataError(f"{names.prepared_uri(settings, job)} has no {hosts.ORDER_FILE}: {job} prepares no images")
    order = _parsed(Order, text, hosts.ORDER_FILE)
    parts = []
    for host in range(order.hosts):
        file = job_file(settings, job, f"{hosts.PARTS}/{hosts.part_file(host)}")
        part = read_text(aws, file)
        if part is not None:
            parts.append(_parsed(Part, part, str(file)))
    return hosts.merged(order, parts)


def plan_indexes(settings: Settings, job: str, indexes: Mapping[str, SetIndex]) -> Plan:
    """Plan what makes the shards of a processing job prepared sets: the index of each."""
    files = {name: job_file(settings, job, f"{name}/{INDEX}") for name in indexes}
    return Plan(
        tuple(
            ApiCall(
                "s3",
                "put_object",
                {"Bucket": file.bucket, "Key": file.key, "Body": indexes[name].model_dump_json(indent=1) + "\n"},
                f"write the index of the {name} set to {file}",
            )
            for name, file in files.items()
        )
    )


def check_prepared(aws: Aws, settings: Settings) -> None:
    """See that the processing job of data.prepared_by, if it is set, prepared the sets of the present split to the end.

    Raises:
        DataError: it did not.
        AwsError: AWS refuses to tell.
    """
    job, bucket = settings.data.prepared_by, names.data_bucket(settings)
    if not job:
        return
    record = read_text(aws, ObjectPath(bucket, RECORD)) or ""
    for index in _prepared_indexes(aws, settings, job):
        if shortage := index.recipe.shortage(settings.image):
            raise DataError(f"the images of data.prepared_by={job} {shortage}: prepare them again with these settings")
        # The evaluation images come from the bucket: in another split the model may have learned them.
        if index.split != hashlib.sha256(record.encode()).hexdigest():
            raise DataError(
                f"data.prepared_by={job} was prepared from another split than s3://{bucket} holds now, and may hold "
                "evaluation images of this one: prepare it by python data_handler.py --prepare --on_sagemaker with a "
                "number of instances"
            )


def fingerprint(aws: Aws, settings: Settings) -> str:
    """Return the fingerprint of what a training job reads; empty: the manifest of the data bucket tells none.

    It is that of the manifest, or where data.prepared_by is set SHA-256 of that and of those of the prepared sets.

    Raises:
        DataError: the sets were not prepared to the end.
        AwsError: AWS refuses to tell.
    """
    uploaded = manifest.read_fingerprint(aws, names.data_bucket(settings)) or ""
    if not (uploaded and settings.data.prepared_by):
        return uploaded
    prepared = (index.fingerprint for index in _prepared_indexes(aws, settings, settings.data.prepared_by))
    return hashlib.sha256(" ".join((uploaded, *prepared)).encode()).hexdigest()


def job_file(settings: Settings, job: str, file: str) -> ObjectPath:
    """Return where a file of a processing job lies."""
    return ObjectPath.parse(names.prepared_uri(settings, job) + file)


def read_text(aws: Aws, file: ObjectPath) -> str | None:
    """Return the content of an object; None: there is none.

    Raises:
        DataError: it is no text.
        AwsError: AWS refuses to tell.
    """
    with aws.explained(f"could not read {file}"):
        try:
            content = aws.client("s3").get_object(Bucket=file.bucket, Key=file.key)["Body"].read()
        except ClientError as error:
            if error_code(error) in MISSING:
                return None
            raise
    try:
        return str(content.decode())
    except UnicodeDecodeError:
        raise DataError(f"{file} is no text") from None


def _prepared_indexes(aws: Aws, settings: Settings, job: str) -> Iterator[SetIndex]:
    for name in PREPARED_SETS:
        file = job_file(settings, job, f"{name}/{INDEX}")
        text = read_text(aws, file)
        if text is None:
            raise DataError(
                f"{file} is missing, so data.prepared_by={job} did not prepare the {name} set to the end: python "
                f"data_handler.py --prepare --on_sagemaker {job} does what is left"
            )
        yield _parsed(SetIndex, text, str(file))


def _parsed(model: type[Model], text: str, where: str) -> Model:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise DataError(f"{where} cannot be understood: {error.errors()[0]['msg']}") from None
