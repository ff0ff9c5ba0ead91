"""The request that launches a training job, rendered from its template (`--launch_training`)."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from container.modeling import overrides
from container.modeling.settings import Settings
from manager import names, template
from manager.aws import Aws
from manager.errors import JobError
from manager.plan import ApiCall, Plan

TEMPLATE = "training-job-config-template.json"
RENDERED = "training-job-config.json"


def render_request(settings: Settings, place: names.Place, image: str, job: str, template_file: Path) -> Any:
    """Return the CreateTrainingJob request of a job.

    Args:
        settings: all settings; those of the container go along as hyperparameters, where they are not the defaults.
        place: account and region of the role and the image.
        image: the training image as ECR names it, with its digest.
        job: name of the job.
        template_file: the template; fields that it has beside the usual ones go through as they are.

    Raises:
        TemplateError: the template is missing, is not JSON, or has a placeholder without a value.
        SettingsError: more settings differ from their defaults than SageMaker takes hyperparameters.
    """
    values = {
        "TRAINING_JOB_NAME": job,
        "TRAINING_IMAGE": image,
        "ROLE_ARN": names.role_arn(settings, place),
        "DATA_BUCKET": names.data_bucket(settings),
        "OUTPUT_BUCKET": names.output_bucket(settings),
        "INSTANCE_TYPE": settings.training_job.instance_type,
        "VOLUME_SIZE_GB": settings.training_job.volume_size_gb,
        "MAX_RUNTIME_SECONDS": settings.training_job.max_runtime_seconds,
        "HYPERPARAMETERS": overrides.hyperparameters(settings.container_settings()),
        "TAGS": [{"Key": key, "Value": value} for key, value in names.tags(settings).items()],
    }
    return template.render(template.read(template_file), values, template_file.name)


def plan_training(request: Any) -> Plan:
    """Plan the launch of a training job."""
    return Plan(
        (ApiCall("sagemaker", "create_training_job", request, f"launch the training job {request['TrainingJobName']}"),)
    )


def plan_stop(job: str) -> Plan:
    """Plan the end of a training job; it keeps what it wrote so far."""
    return Plan((ApiCall("sagemaker", "stop_training_job", {"TrainingJobName": job}, f"stop the training job {job}"),))


def write_request(request: Any, project_root: Path) -> Path:
    """Write the request as JSON beside the template, whole or not at all, and return the file's path."""
    path = project_root / RENDERED
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(request, indent=2) + "\n", encoding="utf-8")
    return partial.replace(path)


def last_job(aws: Aws, settings: Settings) -> str:
    """Return the name of the project's training job that was launched last.

    Raises:
        JobError: there is none.
    """
    pages = aws.client("sagemaker").get_paginator("list_training_jobs")
    with aws.explained("could not list the training jobs"):
        found = pages.paginate(NameContains=settings.algorithm_name, SortBy="CreationTime", SortOrder="Descending")
        for page in found:
            for summary in page["TrainingJobSummaries"]:
                if names.is_training_job(settings, summary["TrainingJobName"]):
                    return str(summary["TrainingJobName"])
    raise JobError(f"there is no training job of {settings.algorithm_name} yet: launch one by --launch_training")


def new_job_name(settings: Settings) -> str:
    """Return the name of a training job launched now."""
    return names.training_job(settings, datetime.now())
