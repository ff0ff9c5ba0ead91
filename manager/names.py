"""The names of everything that the project has on AWS, derived from the settings. Pure: asks nobody."""

import re
from dataclasses import dataclass
from datetime import datetime

from container.modeling.settings import Settings

TRAINING_JOBS_LOG_GROUP = "/aws/sagemaker/TrainingJobs"


@dataclass(frozen=True)
class Place:
    """Where on AWS: an account (12 digits), a region, and the partition that the region belongs to."""

    account: str
    region: str
    partition: str = "aws"

    @property
    def dns_suffix(self) -> str:
        """The end of AWS's host names in this partition."""
        return "amazonaws.com.cn" if self.partition == "aws-cn" else "amazonaws.com"


def data_bucket(settings: Settings) -> str:
    """Bucket of the three sets of images."""
    return f"{settings.project_name}.data"


def output_bucket(settings: Settings) -> str:
    """Bucket of what training jobs produce."""
    return f"{settings.project_name}.output"


def log_bucket(settings: Settings) -> str:
    """Bucket of the record of who accessed the other two."""
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


def repository_uri(settings: Settings, place: Place) -> str:
    """The repository as image names begin with it."""
    return f"{place.account}.dkr.ecr.{place.region}.{place.dns_suffix}/{repository(settings)}"


def training_job(settings: Settings, when: datetime) -> str:
    """Name of the training job launched at that moment."""
    return f"{settings.algorithm_name}-{when:%Y-%m-%d-%H-%M-%S}"


def is_training_job(settings: Settings, name: str) -> bool:
    """Whether a training job's name is one that `training_job` makes for these settings."""
    return re.fullmatch(re.escape(settings.algorithm_name) + r"-\d{4}(-\d\d){5}", name) is not None


def tags(settings: Settings) -> dict[str, str]:
    """Tags of everything that the project creates; `Project` tells what is the project's own."""
    own = {"Project": settings.project_name, "Service": "sagemaker-image-classification"}
    customer = {"Customer": settings.aws.customer} if settings.aws.customer else {}
    return {**settings.aws.tags, **customer, **own}


def tag_list(settings: Settings) -> list[dict[str, str]]:
    """The same tags, as most services take them."""
    return [{"Key": key, "Value": value} for key, value in sorted(tags(settings).items())]


def console_url(place: Place, job: str) -> str:
    """Page of a training job in the AWS console."""
    domain = "console.amazonaws.cn" if place.partition == "aws-cn" else "console.aws.amazon.com"
    return f"https://{place.region}.{domain}/sagemaker/home?region={place.region}#/jobs/{job}"
