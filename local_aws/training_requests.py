"""A CreateTrainingJob request: its fields as types, and which of them have no effect here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from moto.sagemaker.exceptions import ValidationError

from local_aws.channels import S3Uri
from local_aws.executors import Executor
from local_aws.metrics import MetricDefinition

_DEFAULT_MAX_RUNTIME_SECONDS = 86_400

_OPT_ML = PurePosixPath("/opt/ml")

# A request's fields that have their effect here, a whole top-level field or `Parent.Child`.
_HONORED = frozenset(
    {
        "TrainingJobName",
        "HyperParameters",
        "AlgorithmSpecification.TrainingImage",
        "AlgorithmSpecification.TrainingInputMode",
        "AlgorithmSpecification.MetricDefinitions",
        "AlgorithmSpecification.ContainerEntrypoint",
        "AlgorithmSpecification.ContainerArguments",
        "RoleArn",
        "InputDataConfig",
        "OutputDataConfig.S3OutputPath",
        "ResourceConfig.InstanceType",
        "ResourceConfig.InstanceCount",
        "ResourceConfig.VolumeSizeInGB",
        "StoppingCondition",
        "Tags",
        "EnableNetworkIsolation",
        "Environment",
        # There is no InternalServerError to retry after, and no network between hosts to encrypt.
        "RetryStrategy",
        "EnableManagedSpotTraining",
        "CheckpointConfig",
        "TensorBoardOutputConfig",
        "EnableInterContainerTrafficEncryption",
    }
)

_INSTEAD = {
    "VpcConfig": "the program runs in this machine's own network",
    "OutputDataConfig.KmsKeyId": "nothing is encrypted",
    "OutputDataConfig.CompressionType": "artifacts are packed into model.tar.gz and output.tar.gz",
    "ResourceConfig.VolumeKmsKeyId": "nothing is encrypted",
    "ResourceConfig.KeepAlivePeriodInSeconds": "there is no instance to keep",
}

# Values that ask for nothing.
_NOTHING: tuple[object, ...] = (None, False, [], "", "None", "GZIP")


@dataclass(frozen=True)
class Channel:
    """One entry of InputDataConfig, with AlgorithmSpecification's input mode where it has none of its own."""

    name: str
    uri: S3Uri
    is_manifest: bool
    distribution: str
    input_mode: str
    content_type: str | None
    record_wrapper: str

    def as_input_data_config(self) -> Mapping[str, str]:
        """The channel's entry in inputdataconfig.json."""
        entry = {
            "TrainingInputMode": self.input_mode,
            "S3DistributionType": self.distribution,
            "RecordWrapperType": self.record_wrapper,
        }
        return {"ContentType": self.content_type, **entry} if self.content_type else entry


@dataclass(frozen=True)
class DirectoryInS3:
    """A directory of which S3 has a copy: the folder there, and the directory as the program knows it.

    Attributes:
        field: of the request, that asks for it.
    """

    field: str
    uri: S3Uri
    local_path: PurePosixPath

    @property
    def is_below_opt_ml(self) -> bool:
        return self.local_path.is_relative_to(_OPT_ML)


@dataclass(frozen=True)
class TrainingRequest:
    """What the engine needs to know of a request, and `document`, the request as it came."""

    document: Mapping[str, Any]
    name: str
    role_arn: str
    image_uri: str
    entrypoint: tuple[str, ...]
    arguments: tuple[str, ...]
    hyperparameters: Mapping[str, str]
    environment: Mapping[str, str]
    metric_definitions: tuple[MetricDefinition, ...]
    channels: tuple[Channel, ...]
    output_path: S3Uri
    instance_type: str
    instance_count: int
    max_runtime_seconds: int
    is_spot: bool
    max_wait_seconds: int | None
    """Of a spot job."""
    network_isolation: bool
    checkpoints: DirectoryInS3 | None
    tensorboard: DirectoryInS3 | None

    @property
    def directories_in_s3(self) -> tuple[DirectoryInS3, ...]:
        """Those directories of each host that S3 gets a copy of while the program runs."""
        return tuple(directory for directory in (self.checkpoints, self.tensorboard) if directory)

    @property
    def output(self) -> S3Uri:
        """The folder of the job's artifacts."""
        return self.output_path.below(self.name, "output")


def parse(document: Mapping[str, Any]) -> TrainingRequest:
    """A request as its type, from a document that `check_document` let pass.

    Raises:
        ValidationError: fields that do not go together, or that ask for what only SageMaker itself has.
    """
    algorithm = document.get("AlgorithmSpecification", {})
    resources = document.get("ResourceConfig", {})
    stopping = document.get("StoppingCondition", {})
    require(
        "TrainingImage" in algorithm,
        "local_aws runs an image: AlgorithmSpecification must have a TrainingImage",
    )
    count = resources.get("InstanceCount", 0)
    require(
        "InstanceType" in resources and count >= 1 and not resources.get("InstanceGroups"),
        "ResourceConfig must have one InstanceType and an InstanceCount of 1 or more",
    )
    max_runtime = stopping.get("MaxRuntimeInSeconds", _DEFAULT_MAX_RUNTIME_SECONDS)
    _check_spot(document, max_runtime)
    entrypoint = tuple(algorithm.get("ContainerEntrypoint", ()))
    return TrainingRequest(
        document=document,
        name=document["TrainingJobName"],
        role_arn=document["RoleArn"],
        image_uri=algorithm["TrainingImage"],
        entrypoint=entrypoint,
        arguments=tuple(algorithm.get("ContainerArguments", () if entrypoint else ("train",))),
        hyperparameters=document.get("HyperParameters", {}),
        environment=document.get("Environment", {}),
        metric_definitions=tuple(_metric_definition(entry) for entry in algorithm.get("MetricDefinitions", ())),
        channels=_channels(document.get("InputDataConfig", ()), algorithm["TrainingInputMode"]),
        output_path=_s3_uri(document["OutputDataConfig"]["S3OutputPath"]),
        instance_type=resources["InstanceType"],
        instance_count=count,
        max_runtime_seconds=max_runtime,
        is_spot=document.get("EnableManagedSpotTraining", False),
        max_wait_seconds=stopping.get("MaxWaitTimeInSeconds"),
        network_isolation=document.get("EnableNetworkIsolation", False),
        checkpoints=_checkpoints(document),
        tensorboard=_tensorboard(document),
    )


def warnings(request: TrainingRequest, executor: Executor) -> Iterator[str]:
    """One sentence for each field of the request that is kept but has no effect here."""
    instead = {**_INSTEAD, **executor.cannot_honor}
    for field, value in _fields(request.document):
        if _asks_nothing(value) or (field in _HONORED and field not in executor.cannot_honor):
            continue
        reason = f": {instead[field]}" if field in instead else ""
        yield f"{field} is kept with the job but has no effect here{reason}"
    if request.instance_count > executor.most_hosts:
        yield f"InstanceCount is {request.instance_count}, but the job has {_hosts(executor.most_hosts)} here"
    for entry in request.document.get("InputDataConfig", ()):
        for field in ("CompressionType", "RecordWrapperType", "ShuffleConfig"):
            if not _asks_nothing(entry.get(field)):
                yield f"{field} of channel {entry['ChannelName']} has no effect in this input mode"
    for definition in request.metric_definitions:
        if not definition.regex.groups:
            yield f"the regex of metric {definition.name} has no group (...), so it finds no value"


def require(condition: bool, message: str) -> None:
    """Raises ValidationError with the message where the condition does not hold."""
    if not condition:
        raise ValidationError(message=message)


def _hosts(count: int) -> str:
    return f"{count} host{'s' if count > 1 else ''}"


def _asks_nothing(value: object) -> bool:
    if isinstance(value, dict):
        return value == {"DisableProfiler": True} or all(_asks_nothing(child) for child in value.values())
    return value in _NOTHING


def _fields(document: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    partly = {field.partition(".")[0] for field in _HONORED if "." in field}
    for field, value in document.items():
        if field in partly:
            yield from ((f"{field}.{child}", child_value) for child, child_value in value.items())
        else:
            yield field, value


def _channels(entries: list[dict[str, Any]], default_mode: str) -> tuple[Channel, ...]:
    channels = tuple(_channel(entry, default_mode) for entry in entries)
    names = [channel.name for channel in channels]
    require(len(set(names)) == len(names), f"Channel names must be unique, and these are not: {', '.join(names)}")
    return channels


def _channel(entry: dict[str, Any], default_mode: str) -> Channel:
    name = entry["ChannelName"]
    require(name not in (".", ".."), f"{name!r} cannot be a channel's name")
    mode = entry.get("InputMode", default_mode)
    require(mode != "Pipe", f"local_aws has no Pipe input mode (channel {name}): use File or FastFile")
    source = entry["DataSource"].get("S3DataSource")
    require(bool(source), f"local_aws reads channels from S3 only: channel {name} needs an S3DataSource")
    kind = source["S3DataType"]
    require(
        kind in ("S3Prefix", "ManifestFile"),
        f"local_aws has no S3DataType {kind} (channel {name}): use S3Prefix or ManifestFile",
    )
    require(
        mode != "FastFile" or kind == "S3Prefix",
        f"FastFile input mode supports S3Prefix only (channel {name})",
    )
    return Channel(
        name=name,
        uri=_s3_uri(source["S3Uri"]),
        is_manifest=kind == "ManifestFile",
        distribution=source.get("S3DataDistributionType", "FullyReplicated"),
        input_mode=mode,
        content_type=entry.get("ContentType"),
        record_wrapper=entry.get("RecordWrapperType", "None"),
    )


def _checkpoints(document: Mapping[str, Any]) -> DirectoryInS3 | None:
    entry = document.get("CheckpointConfig")
    if entry is None:
        return None
    path = _local_path("CheckpointConfig", entry, _OPT_ML / "checkpoints")
    return DirectoryInS3("CheckpointConfig", _s3_uri(entry["S3Uri"]), path)


def _tensorboard(document: Mapping[str, Any]) -> DirectoryInS3 | None:
    """Where the events go to is what SageMaker's Python SDK calls `latest_job_tensorboard_artifacts_path`.

    https://github.com/aws/sagemaker-python-sdk/blob/v2.245.0/src/sagemaker/estimator.py
    """
    entry = document.get("TensorBoardOutputConfig")
    if entry is None:
        return None
    path = _local_path("TensorBoardOutputConfig", entry, _OPT_ML / "output" / "tensorboard")
    folder = _s3_uri(entry["S3OutputPath"]).below(document["TrainingJobName"], "tensorboard-output")
    return DirectoryInS3("TensorBoardOutputConfig", folder, path)


def _local_path(field: str, entry: Mapping[str, str], default: PurePosixPath) -> PurePosixPath:
    path = PurePosixPath(entry.get("LocalPath") or default)
    require(
        path.is_absolute() and ".." not in path.parts and path not in (_OPT_ML, *_OPT_ML.parents),
        f"LocalPath {str(path)!r} of {field} must be an absolute path that neither is nor holds {_OPT_ML}",
    )
    require(
        not path.is_relative_to(_OPT_ML / "input"),
        f"LocalPath {str(path)!r} of {field} must not lie in {_OPT_ML / 'input'}, which holds the job's input",
    )
    return path


def _metric_definition(entry: dict[str, str]) -> MetricDefinition:
    try:
        return MetricDefinition(entry["Name"], re.compile(entry["Regex"]))
    except re.error as error:
        raise ValidationError(
            message=f"The regex {entry['Regex']!r} of metric {entry['Name']} is not valid: {error}"
        ) from error


def _check_spot(document: Mapping[str, Any], max_runtime: int) -> None:
    max_wait = document.get("StoppingCondition", {}).get("MaxWaitTimeInSeconds")
    if document.get("EnableManagedSpotTraining"):
        require(
            max_wait is not None and max_wait >= max_runtime,
            "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to MaxRuntimeInSeconds",
        )
        require(
            not document.get("ResourceConfig", {}).get("KeepAlivePeriodInSeconds"),
            "Invalid KeepAlivePeriodInSeconds. It is not supported when EnableManagedSpotTraining is set to true",
        )
    else:
        require(
            max_wait is None,
            "Invalid MaxWaitTimeInSeconds. It is only supported when EnableManagedSpotTraining is set to true",
        )


def _s3_uri(text: str) -> S3Uri:
    try:
        return S3Uri.parse(text)
    except ValueError as error:
        raise ValidationError(message=str(error)) from error
