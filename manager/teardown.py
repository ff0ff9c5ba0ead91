"""Removes from AWS all that the project made and nothing else (`--delete`).

What is the project's is told by its name and, where a resource can carry tags, by the tag `Project`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from botocore.exceptions import ClientError

from container.modeling.settings import Settings
from manager import names
from manager.aws import LARGE_PAGES, Aws, error_code
from manager.errors import JobError
from manager.job_logs import JobLogs, log_removals, read_job_logs
from manager.plan import ApiCall, Plan
from manager.processing_teardown import ProcessingHoldings, processing_removals, read_processing_holdings
from manager.role import RoleState, plan_policies_removal, read_role
from manager.serving_teardown import ServingHoldings, read_serving_holdings, serving_removals
from manager.training import is_own

MOST_OBJECTS_IN_A_CALL = 1000
# How often a bucket is emptied into which S3 goes on to deliver records of accesses.
ATTEMPTS = 6
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
    tuning_jobs: tuple[str, ...] = ()
    logs: JobLogs = field(default_factory=lambda: JobLogs(names.TRAINING_JOBS_LOG_GROUP))
    serving: ServingHoldings = field(default_factory=ServingHoldings)
    processing: ProcessingHoldings = field(default_factory=ProcessingHoldings)
    repositories: tuple[str, ...] = ()
    role: RoleState | None = None
    unseen: tuple[str, ...] = ()
    """Buckets of the project's names that exist, and do not let themselves be seen as this account's."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was found."""
        jobs = (self.training_jobs, self.tuning_jobs, self.logs.streams)
        nothing = not any((self.versions, *jobs, self.repositories, self.role, self.unseen))
        return nothing and self.serving.is_empty and self.processing.is_empty


def read_holdings(aws: Aws, settings: Settings) -> Holdings:
    """Ask AWS what there is of the project, of whatever ALGORITHM_NAME.

    Raises:
        JobError: a training job, a tuning job, a transform job or a processing job is running.
        EndpointError: an endpoint is being changed.
        AwsError: AWS refuses to tell.
    """
    found = read_role(aws, names.role(settings))
    is_own = found is not None and found.tags.get("Project") == settings.project_name
    # Before the training jobs: a trial that runs is ended with its tuning job.
    tuning_jobs = _tuning_jobs(aws, settings)
    jobs = _training_jobs(aws, settings)
    serving = read_serving_holdings(aws, settings, jobs)
    processing = read_processing_holdings(aws, settings)
    ownership = {bucket: _ownership(aws, settings, bucket) for bucket in names.buckets(settings)}
    return Holdings(
        versions={bucket: _versions(aws, bucket) for bucket, whose in ownership.items() if whose == "own"},
        training_jobs=jobs,
        tuning_jobs=tuning_jobs,
        logs=read_job_logs(aws, names.TRAINING_JOBS_LOG_GROUP, jobs),
        serving=serving,
        processing=processing,
        repositories=_repositories(aws, settings),
        role=found if is_own else None,
        unseen=tuple(bucket for bucket, whose in ownership.items() if whose == "unseen"),
    )


def plan_silence(settings: Settings, holdings: Holdings) -> Plan:
    """Plan the end of the access logs, which would otherwise fill their bucket again while it is emptied.

    S3 delivers records for some hours after it was told to end; without the bucket's policy it may not.
    """
    log_bucket = names.log_bucket(settings)
    message = f"end the delivery of access logs to the bucket {log_bucket}"
    delivery = ApiCall("s3", "delete_bucket_policy", {"Bucket": log_bucket}, message, "changed")
    ends = [
        ApiCall(
            "s3",
            "put_bucket_logging",
            {"Bucket": bucket, "BucketLoggingStatus": {}},
            f"end the access log of the bucket {bucket}",
            "changed",
        )
        for bucket in holdings.versions
    ]
    return Plan((*ends, *([delivery] if log_bucket in holdings.versions else [])))


def plan_teardown(settings: Settings, holdings: Holdings, *, with_data: bool) -> Plan:
    """Plan the removal; buckets that hold objects stay, and so does their log, unless the data are to go as well."""
    # The records of the jobs go last of what belongs to them: they tell which logs are the project's.
    calls = serving_removals(holdings.serving) + processing_removals(holdings.processing)
    calls += [*log_removals(holdings.logs, "training jobs"), *_plan_jobs(holdings)]
    for name in holdings.repositories:
        forced: dict[str, Any] = {"repositoryName": name, "force": True}
        message = f"delete the repository {name} with its images"
        calls.append(ApiCall("ecr", "delete_repository", forced, message, "deleted"))
    calls += _plan_role(settings, holdings.role)
    kept = [
        f"bucket {bucket}, since it cannot be seen: it is another account's, or your permissions hide it"
        for bucket in holdings.unseen
    ]
    # The bucket of the access logs goes last: until then the others write into it.
    for bucket, versions in sorted(holdings.versions.items(), key=lambda item: item[0] == names.log_bucket(settings)):
        if versions and not with_data:
            kept.append(f"bucket {bucket}, since it holds objects: --with_data deletes them too")
            continue
        if len(kept) > len(holdings.unseen) and bucket == names.log_bucket(settings):
            kept.append(f"bucket {bucket}, since who accesses the others is recorded there")
            continue
        calls += _plan_objects(bucket, versions)
        calls.append(ApiCall("s3", "delete_bucket", {"Bucket": bucket}, f"delete the bucket {bucket}", "deleted"))
    return Plan(tuple(calls), tuple(kept))


def _plan_jobs(holdings: Holdings) -> list[ApiCall]:
    tuning = [
        ApiCall(
            "sagemaker",
            "delete_hyper_parameter_tuning_job",
            {"HyperParameterTuningJobName": job},
            f"delete the record of the tuning job {job}",
            "deleted",
            "delete the records of tuning jobs",
        )
        for job in holdings.tuning_jobs
    ]
    return tuning + [
        ApiCall(
            "sagemaker",
            "delete_training_job",
            {"TrainingJobName": job},
            f"delete the record of the training job {job}",
            "deleted",
            "delete the records of training jobs",
        )
        for job in holdings.training_jobs
    ]


def _plan_role(settings: Settings, found: RoleState | None) -> list[ApiCall]:
    if found is None:
        return []
    name = names.role(settings)
    delete = ApiCall("iam", "delete_role", {"RoleName": name}, f"delete the role {name}", "deleted")
    return [*plan_policies_removal(name, found.inline, found.attached), delete]


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


def _ownership(aws: Aws, settings: Settings, bucket: str) -> Literal["own", "other", "unseen"]:
    """Tell whose a bucket of a name of the project's is; one that does not exist is nobody's, so another's."""
    s3 = aws.client("s3")
    with aws.explained(f"could not look at the bucket {bucket}"):
        try:
            s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=aws.place.account)
            tags = s3.get_bucket_tagging(Bucket=bucket, ExpectedBucketOwner=aws.place.account)["TagSet"]
        except ClientError as error:
            if error_code(error) in ("NoSuchBucket", "NoSuchTagSet", "404"):
                return "other"
            # HEAD has no body, and so no code but its status.
            if error_code(error) == "403":
                return "unseen"
            raise
    return "own" if {"Key": "Project", "Value": settings.project_name} in tags else "other"


def _repositories(aws: Aws, settings: Settings) -> tuple[str, ...]:
    ecr = aws.client("ecr")
    with aws.explained("could not list the repositories"):
        named = [
            found
            for page in ecr.get_paginator("describe_repositories").paginate()
            for found in page["repositories"]
            if found["repositoryName"].startswith(f"{settings.project_name}/")
        ]
        own = {"Key": "Project", "Value": settings.project_name}
        return tuple(
            str(found["repositoryName"])
            for found in named
            if own in ecr.list_tags_for_resource(resourceArn=found["repositoryArn"])["tags"]
        )


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
    _check_nothing_runs(aws, settings)
    own = []
    tagged = {"Filters": [{"Name": "Tags.Project", "Operator": "Equals", "Value": settings.project_name}]}
    pages = aws.client("sagemaker").get_paginator("search")
    with aws.explained("could not list the training jobs"):
        for page in pages.paginate(Resource="TrainingJob", SearchExpression=tagged):
            for job in (result["TrainingJob"] for result in page["Results"]):
                if job["TrainingJobStatus"] in RUNNING:
                    raise _still_running(job["TrainingJobName"])
                own.append(str(job["TrainingJobName"]))
    return tuple(own)


def _tuning_jobs(aws: Aws, settings: Settings) -> tuple[str, ...]:
    pages = aws.client("sagemaker").get_paginator("list_hyper_parameter_tuning_jobs")
    own = []
    with aws.explained("could not list the tuning jobs"):
        for job in (
            job
            for page in pages.paginate(PaginationConfig=LARGE_PAGES)
            for job in page["HyperParameterTuningJobSummaries"]
        ):
            if is_own(aws, settings, job["HyperParameterTuningJobArn"]):
                name = str(job["HyperParameterTuningJobName"])
                if job["HyperParameterTuningJobStatus"] in RUNNING:
                    raise JobError(f"{name} is still running: end it first by --stop_tuning {name}, then delete")
                own.append(name)
    return tuple(own)


def _check_nothing_runs(aws: Aws, settings: Settings) -> None:
    """See that no job of the project is running; Search tells of a job that was launched just now a little later."""
    pages = aws.client("sagemaker").get_paginator("list_training_jobs")
    with aws.explained("could not list the training jobs"):
        for page in (
            page for status in RUNNING for page in pages.paginate(StatusEquals=status, PaginationConfig=LARGE_PAGES)
        ):
            for job in page["TrainingJobSummaries"]:
                if is_own(aws, settings, job["TrainingJobArn"]):
                    raise _still_running(job["TrainingJobName"])


def _still_running(job: str) -> JobError:
    return JobError(f"{job} is still running: end it first by --stop_training {job}, then delete")
