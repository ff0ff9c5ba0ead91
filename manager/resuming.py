"""Launches a training job that goes on from the checkpoints of an earlier one (`--resume`).

The new job has a folder of checkpoints of its own, which begins as a copy of the earlier job's: two jobs that write
into one folder would delete each other's checkpoints.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from container.modeling import overrides
from container.modeling.job import OBJECTIVE, without_sagemakers_own
from container.modeling.settings import ContainerSettings, Settings
from manager.aws import Aws
from manager.calls import CopyCall, ObjectPath
from manager.errors import JobError
from manager.monitoring import ENDED, describe_job
from manager.plan import Plan
from manager.training import PRETRAINED


@dataclass(frozen=True)
class EarlierJob:
    """What an earlier training job leaves to one that goes on from it."""

    name: str
    hyperparameters: Mapping[str, str]
    folder: ObjectPath
    """Where its checkpoints lie."""
    checkpoints: tuple[str, ...]
    """Keys of their objects."""
    pretrained: str = ""
    """Where its channel `pretrained` read an earlier model; empty: it had no such channel."""


def read_earlier_job(aws: Aws, job: str) -> EarlierJob:
    """Ask AWS what a job left to go on from.

    Raises:
        JobError: there is no such job, it is not over yet, or it has no checkpoints.
        AwsError: AWS refuses to tell.
    """
    description = describe_job(aws, job)
    status = description["TrainingJobStatus"]
    if status not in ENDED:
        raise JobError(f"{job} is still {status}, and writes its checkpoints: end it first by --stop_training {job}")
    if "CheckpointConfig" not in description:
        raise JobError(
            f"{job} was launched without checkpoints (training_job.save_checkpoints), so nothing of it can be gone on "
            "from: launch a new job by --launch_training"
        )
    given: Mapping[str, str] = description.get("HyperParameters", {})
    folder = ObjectPath.parse(description["CheckpointConfig"]["S3Uri"]).as_folder()
    if OBJECTIVE in given:
        # The trials of a tuning job share a folder, in which each has one of its own.
        folder = ObjectPath(folder.bucket, f"{folder.key}{job}/")
    checkpoints = _keys(aws, folder)
    if not checkpoints:
        raise JobError(
            f"{job} left no checkpoints in {folder}, so nothing of it can be gone on from: launch a new job by "
            "--launch_training"
        )
    return EarlierJob(job, given, folder, checkpoints, pretrained_of(description))


def resumed_settings(settings: Settings, earlier: EarlierJob, assignments: Mapping[str, str]) -> Settings:
    """Return the settings of a job that goes on from an earlier one.

    Args:
        settings: of which those of the container and `data.pretrained` have no part in it: the earlier job's take
            their place.
        earlier: the earlier job.
        assignments: what the command line overrides, by name.

    Raises:
        SettingsError: the earlier job has a hyperparameter that is no setting any more, or one cannot be changed so.
    """
    return settings_of_job(settings, earlier.hyperparameters, earlier.pretrained, assignments)


def settings_of_job(
    settings: Settings, hyperparameters: Mapping[str, str], pretrained: str, assignments: Mapping[str, str]
) -> Settings:
    """Return the settings of a job that trains as an earlier one did.

    Args:
        settings: of which those of the container and `data.pretrained` have no part in it.
        hyperparameters: the earlier job's.
        pretrained: where its channel `pretrained` read an earlier model; empty: it had no such channel.
        assignments: what the command line overrides, by name.

    Raises:
        SettingsError: the earlier job has a hyperparameter that is no setting any more, or one cannot be changed so.
    """
    fresh = ContainerSettings()
    data = settings.data.model_copy(update={"pretrained": pretrained})
    own_sections = {name: getattr(fresh, name) for name in settings.container_sections}
    base = settings.model_copy(update={**own_sections, "data": data})
    own = without_sagemakers_own(hyperparameters)
    return overrides.override(base, own | dict(assignments))


def plan_copy(earlier: EarlierJob, request: Any) -> Plan:
    """Plan what makes the checkpoints of an earlier job those that the job of a CreateTrainingJob request begins with.

    Raises:
        JobError: the new job has no folder of checkpoints.
    """
    if "CheckpointConfig" not in request:
        raise JobError(
            "a job without checkpoints cannot go on from any: set training_job.save_checkpoints=true, and keep "
            "CheckpointConfig in the template"
        )
    target = ObjectPath.parse(request["CheckpointConfig"]["S3Uri"]).as_folder()
    return Plan(
        tuple(
            CopyCall(
                ObjectPath(earlier.folder.bucket, key),
                ObjectPath(target.bucket, target.key + key.removeprefix(earlier.folder.key)),
                f"copy s3://{earlier.folder.bucket}/{key} to {target}",
                f"copy the checkpoints of {earlier.name} to {target}",
            )
            for key in earlier.checkpoints
        )
    )


def pretrained_of(description: Any) -> str:
    """Return where the channel `pretrained` of a training job read an earlier model; empty: it has no such channel."""
    channels = {channel["ChannelName"]: channel for channel in description.get("InputDataConfig", [])}
    source = channels.get(PRETRAINED, {}).get("DataSource", {})
    return str(source.get("S3DataSource", {}).get("S3Uri", ""))


def _keys(aws: Aws, folder: ObjectPath) -> tuple[str, ...]:
    pages = aws.client("s3").get_paginator("list_objects_v2")
    with aws.explained(f"could not list the checkpoints in {folder}"):
        found = pages.paginate(Bucket=folder.bucket, Prefix=folder.key)
        return tuple(str(item["Key"]) for page in found for item in page.get("Contents", []))
