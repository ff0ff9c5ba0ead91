"""What a processing job that prepares images left in the output bucket, and whether a training may use it."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from container.dataset import preparing_hosts as hosts
from container.dataset.left_out import LeftOutCounts
from container.dataset.prepared import INDEX, PREPARED_SETS, TRAINING, SetIndex
from container.dataset.preparing_hosts import Order, Part
from container.dataset.raw_images import RawSplit
from container.dataset.record import RECORD, Fractions
from container.errors import DataError
from container.modeling.settings import Settings
from manager import manifest, names
from manager.aws import Aws
from manager.calls import ObjectPath
from manager.data_bucket import read_content
from manager.plan import ApiCall, Plan
from manager.training import is_split_by_job

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Prepared:
    """What a processing job has prepared, from what its hosts tell."""

    order: Order
    indexes: Mapping[str, SetIndex]
    """By the names of the sets."""
    left_out: LeftOutCounts


def read_prepared(aws: Aws, settings: Settings, job: str) -> Prepared:
    """Return what a processing job has prepared.

    Raises:
        DataError: the job prepared nothing, a host's part is missing or damaged, a set or a class has no images, or an
            upload changed the images since the launch.
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
    indexes = hosts.merged(order, parts)
    _check_unchanged(aws, settings, job, order)
    return Prepared(order, indexes, LeftOutCounts.together(part.left_out for part in parts))


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


def raw_split(settings: Settings) -> RawSplit | None:
    """Return how the hosts of a processing job split images; None: the settings name none that are not split yet."""
    data, folder = settings.data, settings.preparation.raw_folder
    if not folder:
        return None
    source = f"s3://{names.data_bucket(settings)}/{folder}/"
    return RawSplit(source=source, fractions=Fractions.of(data), seed=data.seed, group_by=data.group_by)


def raw_record(settings: Settings) -> str:
    """Return what stands for the split.json of images that a processing job's hosts split; empty: they do not."""
    split = raw_split(settings)
    return split.model_dump_json() if split else ""


def check_prepared(aws: Aws, settings: Settings) -> None:
    """See that the processing job of data.prepared_by, if it is set, prepared the sets of the present split to the end.

    Raises:
        DataError: it did not.
        AwsError: AWS refuses to tell.
    """
    job, bucket = settings.data.prepared_by, names.data_bucket(settings)
    if not job:
        return
    record = raw_record(settings) or read_text(aws, ObjectPath(bucket, RECORD)) or ""
    for index in _prepared_indexes(aws, settings, job):
        if shortage := index.recipe.shortage(settings.image):
            raise DataError(f"the images of data.prepared_by={job} {shortage}: prepare them again with these settings")
        # The evaluation images come from the bucket: in another split the model may have learned them.
        if index.split != hashlib.sha256(record.encode()).hexdigest():
            if settings.preparation.raw_folder:
                raise DataError(
                    f"data.prepared_by={job} was not split as the settings say (preparation.raw_folder, data.group_by, "
                    "data.seed, the fractions): set these as they were, or prepare it again"
                )
            raise DataError(
                f"data.prepared_by={job} was prepared from another split than s3://{bucket} holds now, and may hold "
                "evaluation images of this one: prepare it by python data_handler.py --prepare --on_sagemaker with a "
                "number of instances"
            )


def check_shards(aws: Aws, settings: Settings) -> None:
    """See that shards in the data bucket, if it holds any, were prepared for images of the settings' size.

    Raises:
        DataError: they are smaller.
        AwsError: AWS refuses to tell.
    """
    file = ObjectPath(names.data_bucket(settings), f"{TRAINING}/{INDEX}")
    text = read_text(aws, file)
    if text and (shortage := _parsed(SetIndex, text, str(file)).recipe.shortage(settings.image)):
        raise DataError(
            f"the images in s3://{file.bucket} {shortage}: prepare them again by python data_handler.py --prepare, and "
            "upload them by python project_manager.py --upload_data --prune"
        )


def fingerprint(aws: Aws, settings: Settings) -> str:
    """Return the fingerprint of what a training job reads; empty: the manifest of the data bucket tells none.

    It is that of the manifest, or where data.prepared_by is set SHA-256 of that and of those of the prepared sets.

    Raises:
        DataError: the sets were not prepared to the end.
        AwsError: AWS refuses to tell.
    """
    is_raw = is_split_by_job(settings)
    # A manifest tells of sets, from which these images do not come.
    uploaded = "" if is_raw else manifest.read_fingerprint(aws, names.data_bucket(settings)) or ""
    if not is_raw and not (uploaded and settings.data.prepared_by):
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
    content = read_content(aws, file)
    try:
        return None if content is None else content.decode()
    except UnicodeDecodeError:
        raise DataError(f"{file} is no text") from None


def _check_unchanged(aws: Aws, settings: Settings, job: str, order: Order) -> None:
    """See that the data bucket holds what it held when a job was launched, minutes before its instances read that."""
    bucket = names.data_bucket(settings)
    # The manifest tells nothing of images that are not split yet.
    now = order.fingerprint if order.raw else manifest.read_fingerprint(aws, bucket)
    if now == "" or now != order.fingerprint:
        what = "an upload has begun" if now == "" else "other images were uploaded" if now else "the manifest is gone"
        raise DataError(
            f"since {job} was launched, {what} in s3://{bucket}: it may have read images of before and of after that. "
            "Finish the upload by python project_manager.py --upload_data --prune, and prepare again by python "
            "data_handler.py --prepare --on_sagemaker with a number of instances"
        )


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
