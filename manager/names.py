"""The names of everything that the project has on AWS, derived from the settings. Pure: asks nobody."""

import re
from dataclasses import dataclass
from datetime import datetime

from container.modeling.settings import Settings

CHECKPOINTS = "checkpoints"
"""Folder of the output bucket that has a folder for each training job's checkpoints."""

TENSORBOARD = "tensorboard"
"""Folder of the output bucket that has a folder for each training job's events."""

TRAINING_JOBS_LOG_GROUP = "/aws/sagemaker/TrainingJobs"

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


def tuning_prefix(settings: Settings) -> str:
    """Beginning of the names of tuning jobs, and so of their trials: with the time, SageMaker takes 32 characters."""
    return settings.algorithm_name[:18].rstrip("-")


def tuning_job(settings: Settings, when: datetime) -> str:
    """Name of the tuning job launched at that moment."""
    return f"{tuning_prefix(settings)}-{when:%y%m%d-%H%M%S}"


def is_tuning_job(settings: Settings, name: str) -> bool:
    """Whether a tuning job's name is one that `tuning_job` makes for these settings."""
    return re.fullmatch(re.escape(tuning_prefix(settings)) + r"-\d{6}-\d{6}", name) is not None


def tags(settings: Settings) -> dict[str, str]:
    """Tags of everything that the project creates; `Project` tells what is the project's own."""
    own = {"Project": settings.project_name, "Service": "sagemaker-image-classification"}
    customer = {"Customer": settings.aws.customer} if settings.aws.customer else {}
    return {**settings.aws.tags, **customer, **own}


def tag_list(settings: Settings) -> list[dict[str, str]]:
    """The same tags, as most services take them."""
    return [{"Key": key, "Value": value} for key, value in sorted(tags(settings).items())]


def console_url(place: Place, job: str, kind: str = "jobs") -> str:
    """Page of a training job in the AWS console, or of another `kind`; empty: there is none that everybody can reach.

    Args:
        place: where the job runs.
        job: its name.
        kind: the console's word: `jobs` for training jobs, `hyper-tuning-jobs`.
    """
    if place.partition not in CONSOLES:
        return ""
    return f"https://{place.region}.{CONSOLES[place.partition]}/sagemaker/home?region={place.region}#/{kind}/{job}"
