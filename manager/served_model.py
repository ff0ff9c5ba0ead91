"""What SageMaker serves: the model of a training job, as a request that creates it (CreateModel)."""

import json
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from container.modeling.hosting_settings import Hosting
from container.modeling.own_parts.serving_functions import check_serving_functions, chosen_serving_functions
from container.modeling.serving_environment import to_environment
from container.modeling.settings import Settings
from manager import image, names, role, training
from manager.aws import Aws
from manager.errors import JobError
from manager.monitoring import describe_job
from manager.plan import ApiCall
from manager.session import Session

# What Create... answers where there is one of that name.
EXISTS = "already existing"


@dataclass(frozen=True)
class TrainedModel:
    """What a training job left to be served."""

    job: str
    data: str
    """Its model.tar.gz, s3://."""
    image: str
    """As ECR names it."""


def trained_model(session: Session, job: str, hosting: Hosting) -> TrainedModel:
    """Return the model of a training job, with the image that serves it, once it is known that the role can read it.

    Raises:
        ProjectError: there is no such job, it left no model, a function of the user's own does not exist, there is no
            such image, the role is not as it must be, or AWS refuses.
    """
    description = describe_job(session.aws, job)
    data = description.get("ModelArtifacts", {}).get("S3ModelArtifacts", "")
    status = description["TrainingJobStatus"]
    if status not in ("Completed", "Stopped") or not data:
        why = description.get("FailureReason") or "--monitor tells when it is done"
        raise JobError(f"{job} has no model to serve: its status is {status} ({why})")
    container = session.project_root / "container"
    check_serving_functions(session.settings.serving, container / "parts")
    role.check_role(session.aws, session.settings)
    if hosting.image == "trained" and chosen_serving_functions(session.settings.serving):
        session.terminal.warn(
            "your functions of serving are those of the image that trained the model: where they are newer, push the "
            "present code by --build_and_push_docker_image, and set endpoint.image or batch_transform.image to present"
        )
    uri = str(description["AlgorithmSpecification"].get("TrainingImage", ""))
    if hosting.image == "present":
        uri = image.pushed(session.aws, session.settings, container, session.flavor).uri
    return TrainedModel(job, data, uri)


def last_completed_job(aws: Aws, settings: Settings) -> str:
    """Return the name of the project's training job that was launched last of those that are completed.

    Raises:
        JobError: there is none.
        AwsError: AWS refuses to tell.
    """
    for job in training.job_names(aws, settings):
        if describe_job(aws, job)["TrainingJobStatus"] == "Completed":
            return job
    raise JobError(
        f"no training job of {settings.algorithm_name} is completed, so there is no model yet: --launch_training "
        "trains one, and --monitor tells when it is done"
    )


def model_request(settings: Settings, place: names.Place, model: TrainedModel, hosting: Hosting) -> Any:
    """Return the CreateModel request of a trained model; the same content has the same name.

    Raises:
        SettingsError: a setting of serving is longer than SageMaker takes.
    """
    variables = to_environment(settings.serving)
    content = {
        "PrimaryContainer": {
            "Image": model.image,
            "ModelDataUrl": model.data,
            **({"Environment": variables} if variables else {}),
        },
        "ExecutionRoleArn": names.role_arn(settings, place),
        "EnableNetworkIsolation": hosting.network_isolation,
    }
    if hosting.subnets:
        content["VpcConfig"] = {
            "Subnets": list(hosting.subnets),
            "SecurityGroupIds": list(hosting.security_group_ids),
        }
    name = names.served(settings, model.job, json.dumps(content, sort_keys=True))
    return {"ModelName": name, **content, "Tags": names.serving_tags(settings)}


def model_call(request: Any) -> ApiCall:
    """Return the call that creates a model."""
    return ApiCall(
        "sagemaker",
        "create_model",
        request,
        f"create the model {request['ModelName']}",
        "created",
        retry_on=(training.ROLE_NOT_KNOWN,),
        is_done_by=is_there,
    )


def is_there(aws: Aws, error: ClientError) -> bool:
    """Whether AWS refuses to create something since it is there: its name tells its content, so it is the same."""
    return EXISTS in str(error)
