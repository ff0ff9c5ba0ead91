"""The names of everything that the project has on AWS, derived from the settings. Pure: asks nobody."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from container.modeling.settings import Settings

CHECKPOINTS = "checkpoints"
"""Folder of the output bucket that has a folder for each training job's checkpoints."""

TENSORBOARD = "tensorboard"
"""Folder of the output bucket that has a folder for each training job's events."""

TRANSFORMS = "transforms"
"""Folder of the data bucket for the images, and of the output bucket for the results, of each transform job."""

PREPARED = "prepared"
"""Folder of the output bucket that has a folder for each processing job's prepared images."""

TRAINING_JOBS_LOG_GROUP = "/aws/sagemaker/TrainingJobs"
TRANSFORM_JOBS_LOG_GROUP = "/aws/sagemaker/TransformJobs"
PROCESSING_JOBS_LOG_GROUP = "/aws/sagemaker/ProcessingJobs"

# SageMaker's limit on the names of models, endpoint configurations and jobs.
MOST_CHARACTERS = 63

# The other partitions' consoles are reached from within their own networks only.
CONSOLES = {
    "aws": "console.aws.amazon.com",
    "aws-cn": "console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
}


@dataclass(frozen=True)
class Place:
    """Where on AWS: an account (12 digits), a region, and the partition that the region belongs to."""

    account: str
    region: str
    partition: str = "aws"


def data_bucket(settings: Settings) -> str:
    """Bucket of the three sets of images."""
    return f"{settings.project_name}.data"


def output_bucket(settings: Settings) -> str:
    """Bucket of what training jobs produce."""
    return f"{settings.project_name}.output"


def log_bucket(settings: Settings) -> str:
    """Bucket of the record of who accessed the others, and itself."""
    return f"{settings.project_name}.logs"


def buckets(settings: Settings) -> tuple[str, str, str]:
    """All buckets of the project; the one that the others' access logs go to comes first."""
    return log_bucket(settings), data_bucket(settings), output_bucket(settings)


def role(settings: Settings) -> str:
    """IAM role that SageMaker assumes to run the project's jobs."""
    return f"{settings.project_name}-sagemaker"


def role_arn(settings: Settings, place: Place) -> str:
    """ARN of that role."""
    return f"arn:{place.partition}:iam::{place.account}:role/{role(settings)}"


def repository(settings: Settings) -> str:
    """ECR repository of the project's images; ECR takes lower case only."""
    return f"{settings.project_name}/{settings.algorithm_name.lower()}"


def repository_arn(settings: Settings, place: Place) -> str:
    """ARN of that repository."""
    return f"arn:{place.partition}:ecr:{place.region}:{place.account}:repository/{repository(settings)}"


def secret_arn(secret: str, place: Place) -> str:
    """ARN of a secret of Secrets Manager by its name, to whose end six random characters belong; an ARN is as it is."""
    if secret.startswith("arn:"):
        return secret
    return f"arn:{place.partition}:secretsmanager:{place.region}:{place.account}:secret:{secret}-??????"


def training_job(settings: Settings, when: datetime) -> str:
    """Name of the training job launched at that moment."""
    return f"{settings.algorithm_name}-{when:%Y-%m-%d-%H-%M-%S}"


def checkpoints_uri(settings: Settings, job: str) -> str:
    """Folder in S3 of a training job's checkpoints."""
    return f"s3://{output_bucket(settings)}/{CHECKPOINTS}/{job}/"


def is_training_job(settings: Settings, name: str) -> bool:
    """Whether a training job's name is one that `training_job` makes for these settings."""
    return re.fullmatch(re.escape(settings.algorithm_name) + r"-\d{4}(-\d\d){5}", name) is not None


def algorithm_of(training_job: str) -> str:
    """Return the ALGORITHM_NAME under which a training job was launched; empty: its name does not tell."""
    found = re.fullmatch(r"(.+)-\d{4}(-\d\d){5}", training_job)
    return found[1] if found else ""


def tuning_prefix(settings: Settings) -> str:
    """Beginning of the names of tuning jobs, and so of their trials: with the time, SageMaker takes 32 characters."""
    return settings.algorithm_name[:18].rstrip("-")


def tuning_job(settings: Settings, when: datetime) -> str:
    """Name of the tuning job launched at that moment."""
    return f"{tuning_prefix(settings)}-{when:%y%m%d-%H%M%S}"


def is_tuning_job(settings: Settings, name: str) -> bool:
    """Whether a tuning job's name is one that `tuning_job` makes for these settings."""
    return re.fullmatch(re.escape(tuning_prefix(settings)) + r"-\d{6}-\d{6}", name) is not None


def endpoint(settings: Settings) -> str:
    """Endpoint that serves a model of the project's algorithm."""
    return settings.algorithm_name


def endpoint_log_group(name: str) -> str:
    """Log group of an endpoint."""
    return f"/aws/sagemaker/Endpoints/{name}"


def served(settings: Settings, job: str, content: str) -> str:
    """Name of a model or of an endpoint configuration by what it is made of: neither can be changed.

    Args:
        settings: the settings.
        job: the training job whose model it serves.
        content: all that it is made of.
    """
    own = job if job.startswith(f"{settings.algorithm_name}-") else f"{settings.algorithm_name}-{job}"
    digest = hashlib.sha256(content.encode()).hexdigest()[:8]
    return f"{own[: MOST_CHARACTERS - 9].rstrip('-')}-{digest}"


def transform_job(settings: Settings, when: datetime) -> str:
    """Name of the transform job launched at that moment."""
    return f"{settings.algorithm_name}-batch-{when:%y%m%d-%H%M%S}"


def is_transform_job(settings: Settings, name: str) -> bool:
    """Whether a transform job's name is one that `transform_job` makes for these settings."""
    return re.fullmatch(re.escape(settings.algorithm_name) + r"-batch-\d{6}-\d{6}", name) is not None


def processing_prefix(settings: Settings) -> str:
    """Beginning of the names of processing jobs: with `-prepare-` and the time, SageMaker takes 63 characters."""
    return settings.algorithm_name[:40].rstrip("-")


def processing_job(settings: Settings, when: datetime) -> str:
    """Name of the processing job launched at that moment."""
    return f"{processing_prefix(settings)}-prepare-{when:%y%m%d-%H%M%S}"


def prepared_uri(settings: Settings, job: str) -> str:
    """Folder in S3 of what a processing job prepares."""
    return f"s3://{output_bucket(settings)}/{PREPARED}/{job}/"


def tags(settings: Settings) -> dict[str, str]:
    """Tags of everything that the project creates; `Project` tells what is the project's own."""
    own = {"Project": settings.project_name, "Service": "sagemaker-image-classification"}
    customer = {"Customer": settings.aws.customer} if settings.aws.customer else {}
    return {**settings.aws.tags, **customer, **own}


def tag_list(settings: Settings) -> list[dict[str, str]]:
    """The same tags, as most services take them."""
    return _listed(tags(settings))


def serving_tags(settings: Settings) -> list[dict[str, str]]:
    """Tags of what serves a model: `Algorithm` tells which of the project's endpoints it belongs to."""
    return _listed({**tags(settings), "Algorithm": settings.algorithm_name})


def console_url(place: Place, job: str, kind: str = "jobs") -> str:
    """Page of a training job in the AWS console, or of another `kind`; empty: there is none that everybody can reach.

    Args:
        place: where the job runs.
        job: its name.
        kind: the console's word: `jobs` for training jobs, `hyper-tuning-jobs`, `endpoints`, `transform-jobs`,
            `processing-jobs`.
    """
    if place.partition not in CONSOLES:
        return ""
    return f"https://{place.region}.{CONSOLES[place.partition]}/sagemaker/home?region={place.region}#/{kind}/{job}"


def _listed(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
