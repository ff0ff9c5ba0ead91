"""The processing job that prepares the sets which lie in the data bucket already (`--prepare --on_sagemaker`).

All that is the job's lies in a folder of the output bucket: the order that tells its hosts what to do, the part that
each host tells of, and the folders of the prepared sets, which training reads as its channels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from botocore.exceptions import ClientError

from container.dataset import preparing_hosts as hosts
from container.dataset.image_files import IMAGE_EXTENSIONS
from container.dataset.prepared import INDEX, PREPARED_SETS, TRAINING, VALIDATION
from container.dataset.preparing_hosts import CLASSES_NAMED, Order, SetOrder
from container.dataset.recipe import Recipe
from container.dataset.record import RECORD
from container.dataset.shards import SUFFIX
from container.dataset.text import printable
from container.dataset.threads import in_parallel
from container.errors import DataError
from container.modeling.settings import Settings
from container.words import plural
from manager import manifest, names, preparing
from manager.aws import LARGE_PAGES, Aws, error_code
from manager.calls import ObjectPath
from manager.errors import JobError
from manager.plan import ApiCall, FileCall, Plan, is_gone
from manager.processing_results import job_file, raw_record, raw_split, read_text
from manager.training import ROLE_NOT_KNOWN, has_tags, is_just_made, is_own

PROGRAM = "prepare"
"""Of the image's folder."""

RENDERED = "processing-job-order.json"

# SageMaker's limit.
MOST_HOSTS = 100

_OPT_ML = PurePosixPath("/opt/ml") / hosts.PROCESSING


@dataclass(frozen=True)
class Source:
    """What the data bucket holds."""

    classes: Mapping[str, tuple[str, ...]]
    """Names of the class folders of each set, sorted."""
    record: str
    """The text of split.json; empty: there is none."""
    fingerprint: str | None = None
    """Of the sets, as the manifest tells it; None: it tells none, or they are not split yet."""


def read_source(aws: Aws, settings: Settings) -> Source:
    """Return what the sets in the data bucket are.

    Raises:
        DataError: a set has no class folders, or some without images to train on, or is prepared already.
        AwsError: AWS refuses to tell.
    """
    bucket = names.data_bucket(settings)
    if folder := settings.preparation.raw_folder:
        found = _classes(aws, bucket, folder)
        _check_images(aws, settings, folder, found)
        return Source(dict.fromkeys(PREPARED_SETS, found), raw_record(settings))
    # Before all else: what changes from here on gives another.
    fingerprint = manifest.read_fingerprint(aws, bucket)
    classes = {name: _classes(aws, bucket, name) for name in PREPARED_SETS}
    _check_images(aws, settings, TRAINING, classes[TRAINING])
    if unknown := sorted(set(classes[VALIDATION]) - set(classes[TRAINING])):
        raise DataError(f"s3://{bucket}/{VALIDATION}/ has a class {unknown[0]!r}, and {TRAINING}/ has not")
    return Source(classes, read_text(aws, ObjectPath(bucket, RECORD)) or "", fingerprint)


def make_order(settings: Settings, source: Source, count: int) -> Order:
    """Return what so many hosts are to do."""
    layout = preparing.layout(settings)
    return Order(
        hosts=count,
        recipe=Recipe.of(settings),
        shard_bytes=layout.shard_bytes,
        least_training_shards=layout.least_training_shards,
        processes=settings.preparation.processes,
        record=source.record,
        raw=raw_split(settings),
        fingerprint=source.fingerprint,
        sets=tuple(SetOrder(name=name, classes=classes) for name, classes in source.classes.items()),
    )


def processing_request(settings: Settings, place: names.Place, image: str, job: str, order: Order) -> Any:
    """Return the CreateProcessingJob request of a job.

    Args:
        settings: the settings.
        place: account and region of the role.
        image: the image as ECR names it, with its digest.
        job: its name.
        order: what it is to do.
    """
    own, network, key = settings.preparation, settings.training_job, settings.storage.kms_key
    folder, data = names.prepared_uri(settings, job), names.data_bucket(settings)
    vpc = {"Subnets": list(network.subnets), "SecurityGroupIds": list(network.security_group_ids)}
    return {
        "ProcessingJobName": job,
        "AppSpecification": {"ImageUri": image, "ContainerEntrypoint": [PROGRAM]},
        "RoleArn": names.role_arn(settings, place),
        "ProcessingInputs": [
            _input(hosts.ORDER, f"{folder}{hosts.ORDER_FILE}", _OPT_ML / hosts.ORDER, "FullyReplicated"),
            *(
                _input(name, f"s3://{data}/{prefix}/", _OPT_ML / hosts.INPUT / name, "ShardedByS3Key")
                for name, prefix in _inputs(settings, order)
            ),
        ],
        "ProcessingOutputConfig": {
            "Outputs": [
                {
                    "OutputName": hosts.OUTPUT,
                    "S3Output": {
                        "S3Uri": folder,
                        "LocalPath": str(_OPT_ML / hosts.OUTPUT),
                        "S3UploadMode": "EndOfJob",
                    },
                }
            ],
            **({"KmsKeyId": key} if key else {}),
        },
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceCount": order.hosts,
                "InstanceType": own.instance_type,
                "VolumeSizeInGB": own.volume_size_gb,
                **({"VolumeKmsKeyId": own.volume_kms_key} if own.volume_kms_key else {}),
            }
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": own.max_runtime_seconds},
        # The program reaches for nothing: SageMaker itself moves the images.
        "NetworkConfig": {"EnableNetworkIsolation": True, **({"VpcConfig": vpc} if network.subnets else {})},
        "Tags": names.tag_list(settings),
    }


def plan_processing(settings: Settings, request: Any, order: Order, rendered_file: Path) -> Plan:
    """Plan the launch of a processing job, after writing its order into a file and uploading that."""
    job = request["ProcessingJobName"]
    target = job_file(settings, job, hosts.ORDER_FILE)
    content = order.model_dump_json(indent=1) + "\n"
    write = FileCall(rendered_file, content, f"write the order of all instances to {rendered_file.name}")
    put = {"Bucket": target.bucket, "Key": target.key, "Body": rendered_file}
    upload = ApiCall("s3", "put_object", put, f"upload it to {target}")
    launch = ApiCall(
        "sagemaker",
        "create_processing_job",
        request,
        f"launch the processing job {job}",
        "created",
        retry_on=(ROLE_NOT_KNOWN,),
        is_done_by=partial(_is_launched, request),
    )
    return Plan((write, upload, launch))


def plan_stop(job: str) -> Plan:
    """Plan the end of a processing job; what it prepared so far is of no use."""
    request = {"ProcessingJobName": job}
    return Plan((ApiCall("sagemaker", "stop_processing_job", request, f"stop the processing job {job}"),))


def running_jobs(aws: Aws, settings: Settings) -> tuple[str, ...]:
    """Return the names of the project's processing jobs that prepare images at this moment.

    Raises:
        AwsError: AWS refuses to tell.
    """
    pages = aws.client("sagemaker").get_paginator("list_processing_jobs")
    wanted = {"NameContains": f"{names.processing_prefix(settings)}-prepare-", "StatusEquals": "InProgress"}
    with aws.explained("could not list the processing jobs"):
        return tuple(
            str(found["ProcessingJobName"])
            for page in pages.paginate(**wanted, PaginationConfig=LARGE_PAGES)
            for found in page["ProcessingJobSummaries"]
            if found["ProcessingJobName"].startswith(wanted["NameContains"])
            and is_own(aws, settings, found["ProcessingJobArn"])
        )


def describe_processing_job(aws: Aws, job: str) -> Any:
    """Return AWS's description of a processing job.

    Raises:
        JobError: there is no such job.
        AwsError: AWS refuses to tell.
    """
    with aws.explained(f"could not look at the processing job {job}"):
        try:
            return aws.client("sagemaker").describe_processing_job(ProcessingJobName=job)
        except ClientError as error:
            if is_gone(error):
                raise JobError(
                    f"there is no processing job {job!r} in this account and region: python data_handler.py --prepare "
                    "--on_sagemaker with a number of instances launches one"
                ) from None
            raise


def _classes(aws: Aws, bucket: str, name: str) -> tuple[str, ...]:
    prefix = f"{name}/"
    found: list[str] = []
    pages = aws.client("s3").get_paginator("list_objects_v2")
    with aws.explained(f"could not list s3://{bucket}/{prefix}"):
        try:
            for page in pages.paginate(Bucket=bucket, Prefix=prefix, Delimiter="/"):
                found += [entry["Prefix"].removeprefix(prefix).rstrip("/") for entry in page.get("CommonPrefixes", [])]
                for item in page.get("Contents", []):
                    if item["Key"] == prefix + INDEX or item["Key"].endswith(SUFFIX):
                        raise DataError(
                            f"s3://{bucket}/{prefix} holds prepared images already: train on them, or "
                            "remove the prepared sets here and bring the images back by python project_manager.py "
                            "--upload_data --prune"
                        )
        except ClientError as error:
            if error_code(error) not in manifest.NOT_THERE:
                raise
    # A folder whose name begins with a dot is no class on a disk either, nor is one without a name.
    if not (classes := tuple(sorted(name for name in found if name and not name.startswith(".")))):
        raise DataError(
            f"s3://{bucket}/{prefix} has no class folders: upload the sets by python project_manager.py "
            "--init_s3_buckets, bring them there as SET/CLASS/IMAGE, or name a folder of images that are not split yet "
            "by preparation.raw_folder"
        )
    return classes


def _check_images(aws: Aws, settings: Settings, folder: str, classes: Sequence[str]) -> None:
    """See that each class folder holds a file that is called like an image: the model would have a class of nothing."""
    bucket, client = names.data_bucket(settings), aws.client("s3")

    def holds_images(name: str) -> bool:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{folder}/{name}/")
        items = (item for page in pages for item in page.get("Contents", []))
        return any(item["Key"].lower().endswith(IMAGE_EXTENSIONS) for item in items)

    with aws.explained(f"could not list s3://{bucket}/{folder}/"):
        looked = in_parallel(lambda name: (name, holds_images(name)), classes, settings.storage.upload_threads)
        empty = sorted(repr(printable(name)) for name, holds in looked if not holds)
    if empty:
        more = f" and {len(empty) - CLASSES_NAMED} more" if len(empty) > CLASSES_NAMED else ""
        raise DataError(
            f"s3://{bucket}/{folder}/ has {plural(len(empty), 'class folder')} without images: "
            f"{', '.join(empty[:CLASSES_NAMED])}{more}; add images ({', '.join(IMAGE_EXTENSIONS)}), or move what has "
            f"none out of {folder}/"
        )


def _inputs(settings: Settings, order: Order) -> list[tuple[str, str]]:
    """Return name and folder in the data bucket of what the hosts are given a share of."""
    if order.raw:
        return [(hosts.RAW, settings.preparation.raw_folder)]
    return [(one.name, one.name) for one in order.sets]


def _input(name: str, uri: str, path: PurePosixPath, distribution: str) -> Any:
    source = {
        "S3Uri": uri,
        "LocalPath": str(path),
        "S3DataType": "S3Prefix",
        "S3InputMode": "File",
        "S3DataDistributionType": distribution,
    }
    return {"InputName": name, "S3Input": source}


def _is_launched(request: Any, aws: Aws, error: ClientError) -> bool:
    """Whether the job whose name AWS says to be taken is the one of this request, made some moments ago.

    Raises:
        ProjectError: AWS refuses to tell.
    """
    if error_code(error) != "ResourceInUse":
        return False
    job = describe_processing_job(aws, request["ProcessingJobName"])
    return (
        is_just_made(job, error)
        and job["AppSpecification"] == request["AppSpecification"]
        and job["ProcessingResources"] == request["ProcessingResources"]
        and has_tags(aws, job["ProcessingJobArn"], request["Tags"])
    )
