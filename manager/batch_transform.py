"""The transform job that predicts a folder of images, on S3 or of this machine (`--batch_transform`).

A folder of this machine is uploaded into the data bucket, for this job alone, and deleted there when the job is over.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from container.dataset.image_files import IMAGE_EXTENSIONS
from container.dataset.index import find_images
from container.errors import DataError
from container.modeling.settings import Settings
from manager import names, training
from manager.aws import Aws, error_code
from manager.calls import ObjectPath
from manager.console import Terminal
from manager.errors import JobError
from manager.plan import ApiCall, Plan
from manager.predictor import ENCODED, URL, VERBOSE
from manager.serving_monitoring import describe_transform_job
from manager.training import has_tags, is_just_made

S3 = "s3://"


@dataclass(frozen=True)
class Batch:
    """The images that a transform job predicts."""

    folder: ObjectPath
    """Where they lie on S3 when it begins."""
    images: int
    files: Mapping[str, Path] = field(default_factory=dict)
    """The files of this machine that are to lie there, by their names inside the folder."""


def read_batch(aws: Aws, settings: Settings, named: str, job: str, terminal: Terminal) -> Batch:
    """Return the images that a user names by a folder.

    Args:
        aws: where S3 is asked.
        settings: the settings.
        named: a folder of this machine, or an s3:// URI of one in a bucket of the project's.
        job: the transform job that is to predict them.
        terminal: where it is told what is left out.

    Raises:
        DataError: there is no such folder, it holds no images, or something that the job would fail at.
        AwsError: AWS refuses to tell.
    """
    if named.startswith(S3):
        return _batch_on_s3(aws, settings, named)
    if URL.match(named):
        raise DataError(f"{named} is not taken: name a folder with images, or s3://BUCKET/FOLDER")
    directory = Path(named).expanduser()
    if not directory.is_dir():
        raise DataError(f"{directory} is no folder: name a folder with images, or s3://BUCKET/FOLDER")
    images, left_out = find_images(directory)
    for bad in left_out.bad_files:
        terminal.warn(f"{directory / bad.path} is left out: {bad.reason}")
    if not images:
        raise DataError(f"{directory} holds no image ({', '.join(IMAGE_EXTENSIONS)})")
    files = {name: directory / name for name in images}
    for name, file in files.items():
        _check_size(settings, str(directory / name), file.stat().st_size)
    # The name of the folder goes with the images: it can be that of their class.
    uploads = _uploads(settings, job)
    folder = replace(uploads, key=uploads.key + directory.resolve().name).as_folder()
    return Batch(folder, len(files), files)


def transform_request(settings: Settings, job: str, model: str, batch: Batch) -> Any:
    """Return the CreateTransformJob request of a job.

    Args:
        settings: the settings.
        job: the transform job.
        model: the ModelName of what predicts.
        batch: the images.
    """
    own, key = settings.batch_transform, settings.storage.kms_key
    return {
        "TransformJobName": job,
        "ModelName": model,
        "MaxPayloadInMB": own.max_payload_mb,
        **({"MaxConcurrentTransforms": own.max_concurrent} if own.max_concurrent else {}),
        "BatchStrategy": "SingleRecord",
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": str(batch.folder)}},
            "ContentType": ENCODED,
            "SplitType": "None",
            "CompressionType": "None",
        },
        "TransformOutput": {
            "S3OutputPath": f"s3://{names.output_bucket(settings)}/{names.TRANSFORMS}/{job}/",
            "Accept": VERBOSE,
            **({"KmsKeyId": key} if key else {}),
        },
        "TransformResources": {
            "InstanceType": own.instance_type,
            "InstanceCount": own.instance_count,
            **({"VolumeKmsKeyId": own.volume_kms_key} if own.volume_kms_key else {}),
        },
        "Tags": names.serving_tags(settings),
    }


def plan_transform(request: Any, batch: Batch) -> Plan:
    """Plan the upload of the images that are on this machine, and the launch of the job."""
    job = request["TransformJobName"]
    uploads = [
        ApiCall(
            "s3",
            "put_object",
            {"Bucket": batch.folder.bucket, "Key": batch.folder.key + name, "Body": file},
            f"upload {name}",
            group=f"upload images to {batch.folder}",
        )
        for name, file in batch.files.items()
    ]
    launch = ApiCall(
        "sagemaker",
        "create_transform_job",
        request,
        f"launch the transform job {job}",
        "created",
        is_done_by=partial(_is_launched, request),
    )
    return Plan((*uploads, launch))


def plan_stop(job: str) -> Plan:
    """Plan the end of a transform job; SageMaker stores nothing of it."""
    request = {"TransformJobName": job}
    return Plan((ApiCall("sagemaker", "stop_transform_job", request, f"stop the transform job {job}"),))


def plan_input_removal(aws: Aws, settings: Settings, job: str) -> Plan:
    """Plan the removal of the images that were uploaded for a transform job alone.

    Raises:
        AwsError: AWS refuses to tell what there is.
    """
    folder = _uploads(settings, job)
    return Plan(
        tuple(
            ApiCall(
                "s3",
                "delete_object",
                {"Bucket": folder.bucket, "Key": key},
                f"delete {key}",
                "deleted",
                group=f"delete the images that were uploaded to {folder}",
            )
            for key, _ in objects(aws, folder)
        )
    )


def last_transform_job(aws: Aws, settings: Settings) -> str:
    """Return the name of the project's transform job that was launched last.

    Raises:
        JobError: there is none.
        AwsError: AWS refuses to tell.
    """
    with aws.explained("could not list the transform jobs"):
        for name, arn in training.listed_jobs(aws, "TransformJob", settings.algorithm_name):
            if names.is_transform_job(settings, name) and training.is_own(aws, settings, arn):
                return name
    raise JobError(
        f"there is no transform job of {settings.algorithm_name} yet: launch one by --batch_transform FOLDER"
    )


def objects(aws: Aws, folder: ObjectPath) -> Iterator[tuple[str, int]]:
    """Yield key and size, in bytes, of each object of a folder.

    Raises:
        AwsError: AWS refuses to tell.
    """
    pages = aws.client("s3").get_paginator("list_objects_v2")
    with aws.explained(f"could not list {folder}"):
        for page in pages.paginate(Bucket=folder.bucket, Prefix=folder.key):
            for item in page.get("Contents", []):
                yield str(item["Key"]), int(item["Size"])


def _uploads(settings: Settings, job: str) -> ObjectPath:
    return ObjectPath(names.data_bucket(settings), f"{names.TRANSFORMS}/{job}/")


def _batch_on_s3(aws: Aws, settings: Settings, uri: str) -> Batch:
    folder = ObjectPath.parse(uri).as_folder()
    readable = (names.data_bucket(settings), names.output_bucket(settings))
    if folder.bucket not in readable:
        raise DataError(
            f"{uri} is in neither of {' and '.join(readable)}, and the job's role may read no other bucket: copy it by "
            f"`aws s3 sync {uri} s3://{readable[0]}/batches/`, or download it and name the folder"
        )
    images = 0
    for key, size in objects(aws, folder):
        if key.endswith("/") and not size:
            # What some tools make of an empty folder.
            continue
        if not key.lower().endswith(IMAGE_EXTENSIONS):
            raise DataError(
                f"s3://{folder.bucket}/{key} is no image, but SageMaker would send it all the same, and the job fail: "
                "name a folder with images only, or download it and name the folder, of which only images are sent"
            )
        _check_size(settings, f"s3://{folder.bucket}/{key}", size)
        images += 1
    if not images:
        raise DataError(f"{folder} holds no image ({', '.join(IMAGE_EXTENSIONS)})")
    return Batch(folder, images)


def _check_size(settings: Settings, name: str, size: int) -> None:
    most = settings.batch_transform.max_payload_mb
    # SageMaker's megabyte is 1,048,576 bytes.
    if size > most << 20:
        raise DataError(
            f"{name} has {size / (1 << 20):.1f} MB, more than batch_transform.max_payload_mb={most}: raise that, or "
            "leave the image out"
        )


def _is_launched(request: Any, aws: Aws, error: ClientError) -> bool:
    """Whether the job whose name AWS says to be taken is the one of this request, made some moments ago.

    Raises:
        ProjectError: AWS refuses to tell.
    """
    if error_code(error) != "ResourceInUse":
        return False
    job = describe_transform_job(aws, request["TransformJobName"])
    return (
        is_just_made(job, error)
        and job["ModelName"] == request["ModelName"]
        and job["TransformInput"]["DataSource"] == request["TransformInput"]["DataSource"]
        and has_tags(aws, job["TransformJobArn"], request["Tags"])
    )
