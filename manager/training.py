"""The request that launches a training job, rendered from its template (`--launch_training`)."""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any

from botocore import xform_name
from botocore.exceptions import ClientError

from container.modeling import overrides
from container.modeling.job import DATA_FINGERPRINT
from container.modeling.settings import Settings
from manager import names, template
from manager.aws import LARGE_PAGES, Aws, error_code
from manager.errors import JobError, TemplateError
from manager.monitoring import describe_job
from manager.plan import ApiCall, FileCall, Plan
from manager.template import ABSENT

TEMPLATE = "training-job-config-template.json"
RENDERED = "training-job-config.json"
PRETRAINED = "pretrained"
# What CreateTrainingJob answers while the role that was just created is not known everywhere.
ROLE_NOT_KNOWN = "Could not assume role"
# How long ago a request can have been sent whose answer was lost: all attempts of boto3 together take less.
LOST_ANSWER = timedelta(minutes=15)


def render_request(
    settings: Settings,
    place: names.Place,
    image: str,
    job: str,
    template_file: Path,
    pretrained_uri: str = "",
    data_fingerprint: str = "",
) -> Any:
    """Return the CreateTrainingJob request of a job.

    Args:
        settings: all settings; those of the container go along as hyperparameters, where they are not the defaults.
        place: account and region of the role and the image.
        image: the training image as ECR names it, with its digest.
        job: name of the job.
        template_file: the template; fields that it has beside the usual ones go through as they are.
        pretrained_uri: where the channel `pretrained` reads the earlier model; empty: there is no such channel.
        data_fingerprint: of what the data bucket holds, which the job's results name; empty: unknown.

    Raises:
        TemplateError: the template is missing, is no JSON object, has a placeholder without a value, or no place for
            the channel.
        SettingsError: more settings differ from their defaults than SageMaker takes hyperparameters.
    """
    settings_of_job, output = settings.training_job, names.output_bucket(settings)
    told = {DATA_FINGERPRINT: data_fingerprint} if data_fingerprint else {}
    values = {
        "TRAINING_JOB_NAME": job,
        "TRAINING_IMAGE": image,
        "ROLE_ARN": names.role_arn(settings, place),
        "DATA_BUCKET": names.data_bucket(settings),
        "PREPARED_FOLDER": prepared_folder(settings),
        "EVALUATION_FOLDER": evaluation_folder(settings),
        "OUTPUT_BUCKET": output,
        "OUTPUT_KMS_KEY": settings.storage.kms_key or ABSENT,
        "PRETRAINED_CHANNEL": _pretrained_channel(pretrained_uri) if pretrained_uri else ABSENT,
        "INPUT_MODE": settings_of_job.input_mode,
        "DATA_DISTRIBUTION": settings_of_job.data_distribution,
        "INSTANCE_TYPE": settings_of_job.instance_type,
        "INSTANCE_COUNT": settings_of_job.instance_count,
        "VOLUME_SIZE_GB": settings_of_job.volume_size_gb,
        "VOLUME_KMS_KEY": settings_of_job.volume_kms_key or ABSENT,
        "KEEP_ALIVE_SECONDS": settings_of_job.keep_alive_seconds or ABSENT,
        "MAX_RUNTIME_SECONDS": settings_of_job.max_runtime_seconds,
        "SPOT": settings_of_job.spot,
        "MAX_WAIT_SECONDS": settings_of_job.max_wait if settings_of_job.spot else ABSENT,
        "CHECKPOINTS": names.checkpoints_uri(settings, job) if settings_of_job.save_checkpoints else ABSENT,
        "TENSORBOARD": _tensorboard(output) if settings.tracking.tensorboard else ABSENT,
        "RETRY_ATTEMPTS": settings_of_job.retry_attempts or ABSENT,
        "NETWORK_ISOLATION": settings_of_job.network_isolation,
        "ENCRYPT_TRAFFIC": settings_of_job.encrypt_traffic,
        "SUBNETS": list(settings_of_job.subnets) or ABSENT,
        "SECURITY_GROUP_IDS": list(settings_of_job.security_group_ids) or ABSENT,
        "ENVIRONMENT": {**settings_of_job.environment, **told} or ABSENT,
        "HYPERPARAMETERS": overrides.hyperparameters(settings.container_settings()),
        "TAGS": names.tag_list(settings),
    }
    request = template.render(template.read(template_file), values, template_file.name)
    if not isinstance(request, dict) or not isinstance(request.get("TrainingJobName"), str):
        raise TemplateError(
            f"{template_file.name} must be a JSON object with a TrainingJobName, as CreateTrainingJob takes"
        )
    channels = [channel.get("ChannelName") for channel in request.get("InputDataConfig", [])]
    if pretrained_uri and PRETRAINED not in channels:
        raise TemplateError(
            f"{template_file.name} has no channel {PRETRAINED!r}: add "
            '"${PRETRAINED_CHANNEL}" to its InputDataConfig, or empty data.pretrained'
        )
    sources = json.dumps(request.get("InputDataConfig", []))
    if settings.data.prepared_by and prepared_folder(settings) not in sources:
        raise TemplateError(
            f"{template_file.name} has no channel of prepared images: let the S3Uri of its channels training and "
            'validation begin with "${PREPARED_FOLDER}", or empty data.prepared_by'
        )
    if is_split_by_job(settings) and f"{evaluation_folder(settings)}evaluation" not in sources:
        raise TemplateError(
            f"{template_file.name} has no channel of the evaluation images: let the S3Uri of its channel evaluation "
            'begin with "${EVALUATION_FOLDER}", or empty preparation.raw_folder'
        )
    return request


def prepared_folder(settings: Settings) -> str:
    """Return the folder in S3 that holds the training and validation sets that jobs read."""
    job = settings.data.prepared_by
    return names.prepared_uri(settings, job) if job else f"s3://{names.data_bucket(settings)}/"


def is_split_by_job(settings: Settings) -> bool:
    """Whether training reads sets that the processing job of data.prepared_by has split, the evaluation set too."""
    return bool(settings.data.prepared_by and settings.preparation.raw_folder)


def evaluation_folder(settings: Settings) -> str:
    """Return the folder in S3 that holds the evaluation set that jobs read.

    Images that a processing job split lie with what it prepared of them; else the evaluation set is that of the split.
    """
    return prepared_folder(settings) if is_split_by_job(settings) else f"s3://{names.data_bucket(settings)}/"


def _tensorboard(bucket: str) -> Any:
    # SageMaker adds JOB/tensorboard-output/.
    return {"LocalPath": "/opt/ml/output/tensorboard", "S3OutputPath": f"s3://{bucket}/{names.TENSORBOARD}/"}


def _pretrained_channel(uri: str) -> Any:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri}
    # Archives are read from end to end: no use in fetching their parts one by one.
    return {"ChannelName": PRETRAINED, "DataSource": {"S3DataSource": source}, "InputMode": "File"}


def plan_training(request: Any, rendered_file: Path) -> Plan:
    """Plan the launch of a training job, after writing its request as JSON into a file."""
    job = request["TrainingJobName"]
    write = FileCall(rendered_file, json.dumps(request, indent=2) + "\n", f"write the request to {rendered_file.name}")
    message = f"launch the training job {job}"
    launch = ApiCall(
        "sagemaker",
        "create_training_job",
        request,
        message,
        "created",
        retry_on=(ROLE_NOT_KNOWN,),
        is_done_by=partial(_is_launched, request),
    )
    return Plan((write, launch))


def _is_launched(request: Any, aws: Aws, error: ClientError) -> bool:
    """Whether the job whose name AWS says to be taken is the one of this request, made some moments ago.

    Raises:
        ProjectError: AWS refuses to tell.
    """
    if error_code(error) != "ResourceInUse":
        return False
    job = describe_job(aws, request["TrainingJobName"])
    return (
        is_just_made(job, error)
        and job["RoleArn"] == request["RoleArn"]
        and job["AlgorithmSpecification"].get("TrainingImage") == request["AlgorithmSpecification"].get("TrainingImage")
        and job.get("HyperParameters", {}) == request.get("HyperParameters", {})
        and has_tags(aws, job["TrainingJobArn"], request.get("Tags", []))
    )


def is_just_made(job: Any, error: ClientError) -> bool:
    """Whether a job can be the one that a request made whose answer was lost.

    Args:
        job: AWS's description of it.
        error: what AWS answered when the request was sent again; it has AWS's clock: that of this machine may be wrong.
    """
    date = error.response["ResponseMetadata"]["HTTPHeaders"].get("date")
    now = parsedate_to_datetime(date) if date else datetime.now(UTC)
    return now - job["CreationTime"] < LOST_ANSWER


def plan_stop(job: str) -> Plan:
    """Plan the end of a training job; it keeps what it wrote so far."""
    return Plan((ApiCall("sagemaker", "stop_training_job", {"TrainingJobName": job}, f"stop the training job {job}"),))


def last_job(aws: Aws, settings: Settings) -> str:
    """Return the name of the project's training job that was launched last.

    Raises:
        JobError: there is none.
    """
    last = next(job_names(aws, settings), None)
    if last is None:
        raise JobError(f"there is no training job of {settings.algorithm_name} yet: launch one by --launch_training")
    return last


def job_names(aws: Aws, settings: Settings) -> Iterator[str]:
    """Yield the names of the project's training jobs, the last one first.

    Raises:
        AwsError: AWS refuses to tell.
    """
    with aws.explained("could not list the training jobs"):
        for name, arn in listed_jobs(aws, "TrainingJob", settings.algorithm_name):
            if names.is_training_job(settings, name) and is_own(aws, settings, arn):
                yield name


def listed_jobs(aws: Aws, kind: str, name_contains: str) -> Iterator[tuple[str, str]]:
    """Yield names and ARNs of the account's jobs of a kind, the last one first.

    Args:
        aws: the account.
        kind: as SageMaker's operations name it: TrainingJob, HyperParameterTuningJob.
        name_contains: a part of the names.

    Raises:
        ClientError, BotoCoreError: AWS refuses to tell.
    """
    pages = aws.client("sagemaker").get_paginator(xform_name(f"List{kind}s"))
    found = pages.paginate(
        NameContains=name_contains, SortBy="CreationTime", SortOrder="Descending", PaginationConfig=LARGE_PAGES
    )
    for page in found:
        for summary in page[f"{kind}Summaries"]:
            yield str(summary[f"{kind}Name"]), str(summary[f"{kind}Arn"])


def is_own(aws: Aws, settings: Settings, arn: str) -> bool:
    """Whether a job carries the project's tag: another project of the account may have the same ALGORITHM_NAME.

    Raises:
        ClientError, BotoCoreError: AWS refuses to tell.
    """
    return has_tags(aws, arn, [{"Key": "Project", "Value": settings.project_name}])


def has_tags(aws: Aws, arn: str, wanted: Iterable[Any]) -> bool:
    """Whether something of SageMaker carries tags, and maybe others.

    Raises:
        ClientError, BotoCoreError: AWS refuses to tell.
    """
    found = {_pair(tag) for tag in aws.client("sagemaker").list_tags(ResourceArn=arn)["Tags"]}
    return {_pair(tag) for tag in wanted} <= found


def _pair(tag: Any) -> tuple[str, str]:
    return tag["Key"], tag["Value"]


def new_job_name(settings: Settings) -> str:
    """Return the name of a training job launched now."""
    return names.training_job(settings, datetime.now())
