"""A CreateProcessingJob request: its fields as types, and which of them have no effect here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from moto.sagemaker.exceptions import ValidationError

from local_aws.channels import S3Uri
from local_aws.executors import Executor
from local_aws.inputs import ObjectsInS3
from local_aws.training_requests import DirectoryInS3, require

# Where all inputs and outputs lie.
# https://docs.aws.amazon.com/sagemaker/latest/dg/byoc-input-and-output.html
_PROCESSING = PurePosixPath("/opt/ml/processing")

# SageMaker's own.
_DEFAULT_MAX_RUNTIME_SECONDS = 86_400

_NO_EFFECT = {
    "ProcessingOutputConfig.KmsKeyId": "nothing is encrypted",
    "ProcessingResources.ClusterConfig.VolumeKmsKeyId": "nothing is encrypted",
    "NetworkConfig.VpcConfig": "the program runs in this machine's own network",
    "ExperimentConfig": "there are no experiments",
}


@dataclass(frozen=True)
class ProcessingInput:
    """One entry of ProcessingInputs that is to be downloaded."""

    name: str
    objects: ObjectsInS3
    local_path: PurePosixPath


@dataclass(frozen=True)
class ProcessingOutput:
    """One entry of Outputs that is to be uploaded."""

    name: str
    directory: DirectoryInS3
    is_continuous: bool


@dataclass(frozen=True)
class ProcessingRequest:
    """What the engine needs to know of a request, and `document`, the request as it came."""

    document: Mapping[str, Any]
    name: str
    role_arn: str
    image_uri: str
    entrypoint: tuple[str, ...]
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    inputs: tuple[ProcessingInput, ...]
    outputs: tuple[ProcessingOutput, ...]
    instance_type: str
    instance_count: int
    max_runtime_seconds: int
    network_isolation: bool


def parse(document: Mapping[str, Any]) -> ProcessingRequest:
    """A request as its type, from a document that `check_document` let pass.

    Raises:
        ValidationError: fields that do not go together, or that ask for what only SageMaker itself has.
    """
    application, cluster = document["AppSpecification"], document["ProcessingResources"]["ClusterConfig"]
    require(
        "InstanceType" in cluster and "InstanceCount" in cluster,
        "local_aws takes no InstancePreferences: ClusterConfig must have an InstanceType and an InstanceCount",
    )
    return ProcessingRequest(
        document=document,
        name=document["ProcessingJobName"],
        role_arn=document["RoleArn"],
        image_uri=application["ImageUri"],
        entrypoint=tuple(application.get("ContainerEntrypoint", ())),
        arguments=tuple(application.get("ContainerArguments", ())),
        environment=document.get("Environment", {}),
        inputs=_inputs(document.get("ProcessingInputs", ())),
        outputs=_outputs(document.get("ProcessingOutputConfig", {}).get("Outputs", ())),
        instance_type=cluster["InstanceType"],
        instance_count=cluster["InstanceCount"],
        max_runtime_seconds=document.get("StoppingCondition", {}).get(
            "MaxRuntimeInSeconds", _DEFAULT_MAX_RUNTIME_SECONDS
        ),
        network_isolation=document.get("NetworkConfig", {}).get("EnableNetworkIsolation", False),
    )


def warnings(request: ProcessingRequest, executor: Executor) -> Iterator[str]:
    """One sentence for each field of the request that is kept but has no effect here."""
    isolation = executor.cannot_honor.get("EnableNetworkIsolation")
    if request.network_isolation and isolation:
        yield f"NetworkConfig.EnableNetworkIsolation is kept with the job but has no effect here: {isolation}"
    for field, reason in _NO_EFFECT.items():
        value: Any = request.document
        for name in field.split("."):
            value = value.get(name) or {}
        if value:
            yield f"{field} is kept with the job but has no effect here: {reason}"


def _inputs(entries: Sequence[Mapping[str, Any]]) -> tuple[ProcessingInput, ...]:
    _check_unique("ProcessingInputs", [entry["InputName"] for entry in entries])
    # What an application manages itself SageMaker does not touch.
    return tuple(_input(entry) for entry in entries if not entry.get("AppManaged"))


def _input(entry: Mapping[str, Any]) -> ProcessingInput:
    name, source = entry["InputName"], entry.get("S3Input")
    if source is None:
        raise ValidationError(message=f"local_aws reads inputs from S3 only: ProcessingInput {name} needs an S3Input")
    require(
        source.get("S3InputMode", "File") == "File",
        f"local_aws has no Pipe input mode (ProcessingInput {name}): use File",
    )
    require(
        source.get("S3CompressionType", "None") == "None",
        f"S3CompressionType Gzip of ProcessingInput {name} can only be used with the S3InputMode Pipe",
    )
    objects = ObjectsInS3(
        uri=_s3_uri(source["S3Uri"]),
        is_manifest=source["S3DataType"] == "ManifestFile",
        is_sharded=source.get("S3DataDistributionType") == "ShardedByS3Key",
    )
    return ProcessingInput(name, objects, _local_path(f"ProcessingInput {name}", source))


def _outputs(entries: Sequence[Mapping[str, Any]]) -> tuple[ProcessingOutput, ...]:
    _check_unique("ProcessingOutputs", [entry["OutputName"] for entry in entries])
    return tuple(_output(entry) for entry in entries if not entry.get("AppManaged"))


def _output(entry: Mapping[str, Any]) -> ProcessingOutput:
    name, target = entry["OutputName"], entry.get("S3Output")
    if target is None:
        raise ValidationError(message=f"local_aws writes outputs to S3 only: ProcessingOutput {name} needs an S3Output")
    field = f"ProcessingOutput {name}"
    directory = DirectoryInS3(field, _s3_uri(target["S3Uri"]), _local_path(field, target))
    return ProcessingOutput(name, directory, is_continuous=target["S3UploadMode"] == "Continuous")


def _check_unique(field: str, names: Sequence[str]) -> None:
    require(len(set(names)) == len(names), f"Names of {field} must be unique, and these are not: {', '.join(names)}")


def _local_path(field: str, entry: Mapping[str, str]) -> PurePosixPath:
    path = PurePosixPath(entry.get("LocalPath", ""))
    require(
        _PROCESSING in path.parents and ".." not in path.parts,
        f"LocalPath {str(path)!r} of {field} must begin with {_PROCESSING}/",
    )
    return path


def _s3_uri(text: str) -> S3Uri:
    try:
        return S3Uri.parse(text)
    except ValueError as error:
        raise ValidationError(message=str(error)) from error
