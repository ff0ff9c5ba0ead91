"""Removes from AWS all that the project made and nothing else (`--delete`).

What is the project's is told by its name and, where a resource can carry tags, by the tag `Project`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from container.modeling.settings import Settings
from manager import names, repository, role
from manager.aws import Aws, error_code
from manager.bucket_aspects import Aspect, aspects
from manager.buckets import read_bucket
from manager.errors import AwsError
from manager.plan import ApiCall, Plan

MOST_OBJECTS_IN_A_CALL = 1000
RUNNING = ("InProgress", "Stopping")


@dataclass(frozen=True)
class ObjectVersion:
    """A version of an object, or the marker of its deletion."""

    key: str
    version: str


@dataclass(frozen=True)
class Holdings:
    """What of the project was found on AWS."""

    versions: dict[str, tuple[ObjectVersion, ...]] = field(default_factory=dict)
    """What each of the project's buckets holds."""
    training_jobs: tuple[str, ...] = ()
    log_streams: tuple[str, ...] = ()
    is_log_group_shared: bool = True
    """Whether the log group holds other jobs' logs as well."""
    has_role: bool = False
    has_role_policy: bool = False
    has_repository: bool = False


def read_holdings(aws: Aws, settings: Settings) -> Holdings:
    """Ask AWS what there is of the project.

    Raises:
        AwsError: a training job is running, or AWS refuses to tell.
    """
    found_role = role.read_role(aws, names.role(settings))
    is_own_role = found_role is not None and found_role.tags.get("Project") == settings.project_name
    jobs = _training_jobs(aws, settings)
    streams, is_shared = _log_streams(aws, jobs)
    return Holdings(
        versions={
            bucket: _versions(aws, bucket)
            for bucket in names.buckets(settings)
            if _is_own_bucket(aws, settings, bucket)
        },
        training_jobs=jobs,
        log_streams=streams,
        is_log_group_shared=is_shared,
        has_role=is_own_role,
        has_role_policy=is_own_role and found_role is not None and found_role.policy is not None,
        has_repository=repository.read_repository(aws, settings).is_own(settings),
    )


def plan_silence(holdings: Holdings) -> Plan:
    """Plan the end of the buckets' access logs, so that what is removed afterwards writes no new ones."""
    return Plan(
        tuple(
            ApiCall(
                "s3",
                "put_bucket_logging",
                {"Bucket": bucket, "BucketLoggingStatus": {}},
                f"end the access log of the bucket {bucket}",
                "changed",
            )
            for bucket in holdings.versions
        )
    )


def plan_teardown(settings: Settings, holdings: Holdings, *, with_data: bool) -> Plan:
    """Plan the removal; buckets that hold objects stay, unless the data are to go as well."""
    calls: list[ApiCall] = []
    kept: list[str] = []
    for job in holdings.training_jobs:
        group = "delete the records of training jobs"
        request = {"TrainingJobName": job}
        calls.append(ApiCall("sagemaker", "delete_training_job", request, f"delete the job {job}", "deleted", group))
    calls += _plan_logs(holdings)
    if holdings.has_repository:
        name = names.repository(settings)
        forced: dict[str, Any] = {"repositoryName": name, "force": True}
        message = f"delete the repository {name} with its images"
        calls.append(ApiCall("ecr", "delete_repository", forced, message, "deleted"))
    calls += _plan_role(settings, holdings)
    # The bucket of the access logs goes last: until then the others write into it.
    for bucket, versions in sorted(holdings.versions.items(), key=lambda item: item[0] == names.log_bucket(settings)):
        if versions and not with_data:
            kept.append(f"bucket {bucket}, since it holds objects: --with_data deletes them too")
            continue
        calls += _plan_objects(bucket, versions)
        calls.append(ApiCall("s3", "delete_bucket", {"Bucket": bucket}, f"delete the bucket {bucket}", "deleted"))
    return Plan(tuple(calls), tuple(kept))


def _plan_logs(holdings: Holdings) -> list[ApiCall]:
    group_name = names.TRAINING_JOBS_LOG_GROUP
    if holdings.log_streams and not holdings.is_log_group_shared:
        request = {"logGroupName": group_name}
        return [ApiCall("logs", "delete_log_group", request, f"delete the log group {group_name}", "deleted")]
    return [
        ApiCall(
            "logs",
            "delete_log_stream",
            {"logGroupName": group_name, "logStreamName": stream},
            f"delete the log {stream}",
            "deleted",
            "delete the logs of training jobs",
        )
        for stream in holdings.log_streams
    ]


def _plan_role(settings: Settings, holdings: Holdings) -> list[ApiCall]:
    name = names.role(settings)
    calls = []
    if holdings.has_role_policy:
        request = {"RoleName": name, "PolicyName": role.POLICY_NAME}
        calls.append(ApiCall("iam", "delete_role_policy", request, f"take the role {name} its permissions", "deleted"))
    if holdings.has_role:
        calls.append(ApiCall("iam", "delete_role", {"RoleName": name}, f"delete the role {name}", "deleted"))
    return calls


def _plan_objects(bucket: str, versions: Sequence[ObjectVersion]) -> list[ApiCall]:
    starts = range(0, len(versions), MOST_OBJECTS_IN_A_CALL)
    batches = [versions[start : start + MOST_OBJECTS_IN_A_CALL] for start in starts]
    return [
        ApiCall(
            "s3",
            "delete_objects",
            {
                "Bucket": bucket,
                "Delete": {
                    "Objects": [{"Key": version.key, "VersionId": version.version} for version in batch],
                    "Quiet": True,
                },
            },
            f"delete {len(batch):,} object versions from s3://{bucket}",
            "deleted",
        )
        for batch in batches
    ]


def _is_own_bucket(aws: Aws, settings: Settings, bucket: str) -> bool:
    tags: tuple[Aspect, ...] = tuple(
        aspect for aspect in aspects(settings, bucket, aws.place) if aspect.parameter == "Tagging"
    )
    try:
        state = read_bucket(aws, bucket, tags)
    except AwsError:
        # Another account's bucket of that name is none of the project's.
        return False
    return state.exists and (state.project == settings.project_name or (not state.project and not state.has_objects))


def _versions(aws: Aws, bucket: str) -> tuple[ObjectVersion, ...]:
    pages = aws.client("s3").get_paginator("list_object_versions")
    with aws.explained(f"could not list the bucket {bucket}"):
        return tuple(
            ObjectVersion(item["Key"], item["VersionId"])
            for page in pages.paginate(Bucket=bucket)
            for kind in ("Versions", "DeleteMarkers")
            for item in page.get(kind, [])
        )


def _training_jobs(aws: Aws, settings: Settings) -> tuple[str, ...]:
    sagemaker = aws.client("sagemaker")
    own = []
    with aws.explained("could not list the training jobs"):
        pages = sagemaker.get_paginator("list_training_jobs").paginate(NameContains=settings.algorithm_name)
        for summary in (summary for page in pages for summary in page["TrainingJobSummaries"]):
            tags = sagemaker.list_tags(ResourceArn=summary["TrainingJobArn"])["Tags"]
            if {"Key": "Project", "Value": settings.project_name} not in tags:
                continue
            if summary["TrainingJobStatus"] in RUNNING:
                job = summary["TrainingJobName"]
                raise AwsError(f"{job} is still running: end it first by --stop_training {job}, then delete")
            own.append(str(summary["TrainingJobName"]))
    return tuple(own)


def _log_streams(aws: Aws, jobs: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """Return the log streams of the jobs, and whether their log group holds others too."""
    pages = aws.client("logs").get_paginator("describe_log_streams")
    with aws.explained("could not list the logs of training jobs"):
        try:
            found = [
                str(stream["logStreamName"])
                for page in pages.paginate(logGroupName=names.TRAINING_JOBS_LOG_GROUP)
                for stream in page["logStreams"]
            ]
        except ClientError as error:
            if error_code(error) == "ResourceNotFoundException":
                return (), True
            raise
    own = tuple(stream for stream in found if stream.partition("/")[0] in jobs)
    return own, len(own) < len(found)
