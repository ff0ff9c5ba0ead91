"""A CreateTransformJob request: its fields as types, and which of them have no effect here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from moto.sagemaker.exceptions import ValidationError

from local_aws.channels import S3Uri
from local_aws.executors import Executor
from local_aws.training_requests import require

# The limits of MaxPayloadInMB, and of it times MaxConcurrentTransforms.
_MOST_MEGABYTES = 100

# The defaults of ModelClientConfig in the API reference.
_DEFAULT_TIMEOUT_SECONDS = 600
_DEFAULT_MAX_RETRIES = 3

# BatchStrategy as containers write it, in /execution-parameters and in their environment.
CONTAINER_STRATEGIES = {"SingleRecord": "SINGLE_RECORD", "MultiRecord": "MULTI_RECORD"}

_NO_EFFECT = {
    "TransformOutput.KmsKeyId": "nothing is encrypted",
    "TransformResources.VolumeKmsKeyId": "nothing is encrypted",
    "TransformResources.TransformAmiVersion": "this machine stands in for the instance",
    "DataCaptureConfig": "no data is captured",
    "ExperimentConfig": "there are no experiments",
}

# DataProcessing that changes nothing, which is also what SageMaker shows where a request has none.
NO_PROCESSING = {"InputFilter": "$", "OutputFilter": "$", "JoinSource": "None"}


@dataclass(frozen=True)
class TransformInput:
    """TransformInput; its objects are those with a prefix, or those that a manifest names."""

    uri: S3Uri
    is_manifest: bool
    content_type: str | None
    is_gzip: bool
    splits_lines: bool


@dataclass(frozen=True)
class TransformOutput:
    """TransformOutput: what the container is to answer with, and where the answers go."""

    path: S3Uri
    accept: str | None
    assembles_lines: bool


@dataclass(frozen=True)
class TransformRequest:
    """What the engine needs to know of a request, and `document`, the request as it came.

    What it leaves to the container's /execution-parameters is None.
    """

    document: Mapping[str, Any]
    name: str
    model_name: str
    input: TransformInput
    output: TransformOutput
    instance_type: str
    instance_count: int
    batch_strategy: str | None
    max_concurrent_transforms: int | None
    max_payload_mb: int | None
    """0 means any size."""
    timeout_seconds: int
    """Of one invocation."""
    max_retries: int
    """How often an invocation is sent again that failed."""
    environment: Mapping[str, str]

    @property
    def container_environment(self) -> Mapping[str, str]:
        """The variables that the container gets besides its model's; only what the request itself sets is told.

        https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-batch-code.html
        """
        told = {
            "SAGEMAKER_MAX_PAYLOAD_IN_MB": self.max_payload_mb,
            "SAGEMAKER_BATCH_STRATEGY": self.batch_strategy and CONTAINER_STRATEGIES[self.batch_strategy],
            "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": self.max_concurrent_transforms,
        }
        variables = {name: str(value) for name, value in told.items() if value is not None}
        return {**self.environment, "SAGEMAKER_BATCH": "true", **variables}


def parse(document: Mapping[str, Any]) -> TransformRequest:
    """A request as its type, from a document that `check_document` let pass.

    Raises:
        ValidationError: fields that do not go together, or that ask for what only SageMaker itself has.
    """
    _check_processing(document.get("DataProcessing", {}))
    _check_payload(document)
    client, resources = document.get("ModelClientConfig", {}), document["TransformResources"]
    return TransformRequest(
        document=document,
        name=document["TransformJobName"],
        model_name=document["ModelName"],
        input=_input(document["TransformInput"]),
        output=_output(document["TransformOutput"]),
        instance_type=resources["InstanceType"],
        instance_count=resources["InstanceCount"],
        batch_strategy=document.get("BatchStrategy"),
        # SageMaker takes 0 for none.
        max_concurrent_transforms=document.get("MaxConcurrentTransforms") or None,
        max_payload_mb=document.get("MaxPayloadInMB"),
        timeout_seconds=client.get("InvocationsTimeoutInSeconds", _DEFAULT_TIMEOUT_SECONDS),
        max_retries=client.get("InvocationsMaxRetries", _DEFAULT_MAX_RETRIES),
        environment=document.get("Environment", {}),
    )


def warnings(request: TransformRequest, is_isolated: bool, executor: Executor) -> Iterator[str]:
    """One sentence for each field that is kept but has no effect here.

    Args:
        is_isolated: whether the job's model has EnableNetworkIsolation.
    """
    isolation = executor.cannot_honor.get("EnableNetworkIsolation")
    if is_isolated and isolation:
        yield f"the model's EnableNetworkIsolation has no effect here: {isolation}"
    for field, reason in _NO_EFFECT.items():
        parent, _, child = field.partition(".")
        value = request.document.get(parent)
        if value and (not child or value.get(child)):
            yield f"{field} is kept with the job but has no effect here: {reason}"
    if request.instance_count > executor.most_hosts:
        yield f"InstanceCount is {request.instance_count}, but the job has {executor.most_hosts} hosts here"
    if request.batch_strategy == "MultiRecord" and not request.input.splits_lines:
        yield "BatchStrategy has no effect without SplitType: each object is sent whole"


def _input(entry: Mapping[str, Any]) -> TransformInput:
    source = entry["DataSource"]["S3DataSource"]
    require(
        source["S3DataType"] in ("S3Prefix", "ManifestFile"),
        f"S3DataType {source['S3DataType']} is not supported for transform jobs: use S3Prefix or ManifestFile",
    )
    split = entry.get("SplitType", "None")
    require(
        split in ("None", "Line"),
        f"local_aws cannot split {split} files. Use SplitType Line for lines of text, or None for whole objects",
    )
    return TransformInput(
        uri=_s3_uri(source["S3Uri"]),
        is_manifest=source["S3DataType"] == "ManifestFile",
        content_type=entry.get("ContentType"),
        is_gzip=entry.get("CompressionType") == "Gzip",
        splits_lines=split == "Line",
    )


def _output(entry: Mapping[str, str]) -> TransformOutput:
    return TransformOutput(
        path=_s3_uri(entry["S3OutputPath"]),
        accept=entry.get("Accept"),
        assembles_lines=entry.get("AssembleWith") == "Line",
    )


def _check_processing(entry: Mapping[str, str]) -> None:
    for field, nothing in NO_PROCESSING.items():
        require(
            entry.get(field, nothing) == nothing,
            f"DataProcessing.{field} is {entry.get(field)!r}, but local_aws does not process records: it must be "
            f"{nothing!r}. An output has its object's key, by which the two can be joined",
        )


def _check_payload(document: Mapping[str, Any]) -> None:
    megabytes, concurrent = document.get("MaxPayloadInMB"), document.get("MaxConcurrentTransforms")
    require(
        (megabytes or 0) <= _MOST_MEGABYTES,
        f"MaxPayloadInMB is {megabytes}; it cannot be greater than {_MOST_MEGABYTES}",
    )
    require(
        (megabytes or 0) * (concurrent or 0) <= _MOST_MEGABYTES,
        f"MaxConcurrentTransforms * MaxPayloadInMB is {concurrent} * {megabytes}; "
        f"the product cannot be greater than {_MOST_MEGABYTES}",
    )


def _s3_uri(text: str) -> S3Uri:
    try:
        return S3Uri.parse(text)
    except ValueError as error:
        raise ValidationError(message=str(error)) from error
