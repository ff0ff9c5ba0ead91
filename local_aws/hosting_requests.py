"""The requests CreateModel and CreateEndpointConfig: their fields as types, and which of them have no effect here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from moto.sagemaker.exceptions import ValidationError

from local_aws.channels import S3Uri
from local_aws.executors import Executor
from local_aws.training_requests import require

# Fields with a value that only SageMaker itself can serve.
_NEEDED_OF_CONTAINER = {
    "ModelDataSource": "use ModelDataUrl, the S3 URI of a model.tar.gz",
    "AdditionalModelDataSources": "put everything into model.tar.gz",
    "ModelPackageName": "there is no model registry: name the Image and the ModelDataUrl",
    "InferenceSpecificationName": "there is no model registry: name the Image and the ModelDataUrl",
    "MultiModelConfig": "a container serves one model",
}
_NEEDED_OF_CONFIG = {
    "AsyncInferenceConfig": "an endpoint answers at once",
    "ExplainerConfig": "there is no explainer",
    "ShadowProductionVariants": "every variant answers requests",
}
_NEEDED_OF_VARIANT = {
    "ServerlessConfig": "name an InstanceType and an InitialInstanceCount",
    "InstancePools": "name an InstanceType and an InitialInstanceCount",
    "CapacityReservationConfig": "this machine stands in for all instances",
}

_INSTEAD_OF_CONFIG = {
    "DataCaptureConfig": "nothing is captured",
    "KmsKeyId": "nothing is encrypted",
    "VpcConfig": "the programs run in this machine's own network",
    "MetricsConfig": "there are no metrics",
    "CrossRegionTrafficConfig": "one machine stands in for all regions",
}
_INSTEAD_OF_VARIANT = {
    "AcceleratorType": "the programs have this machine's hardware",
    "CoreDumpConfig": "no memory is dumped",
    "ModelDataDownloadTimeoutInSeconds": "the model is on this machine already",
    "VariantInstanceProvisionTimeoutInSeconds": "this machine is there already",
    "EnableSSMAccess": "this machine stands in for the instances",
    "ManagedInstanceScaling": "the number of hosts stays as it is",
    "RoutingConfig": "a request goes to the host with the fewest under way",
    "InferenceAmiVersion": "this machine stands in for the instances",
    "AcceleratorPartitionLayouts": "the programs have this machine's hardware",
}


@dataclass(frozen=True)
class ModelRequest:
    """What the engine needs to know of a CreateModel request, and `document`, the request as it came."""

    document: Mapping[str, Any]
    name: str
    role_arn: str
    image_uri: str
    data: S3Uri | None
    """Where model.tar.gz is; None where the image holds its model."""
    environment: Mapping[str, str]
    network_isolation: bool


@dataclass(frozen=True)
class Variant:
    """One entry of ProductionVariants."""

    document: Mapping[str, Any]
    name: str
    model_name: str
    instance_type: str
    instance_count: int
    weight: float
    ping_seconds: float | None
    """ContainerStartupHealthCheckTimeoutInSeconds."""

    def hosts(self, executor: Executor) -> int:
        """How many hosts it has on this machine."""
        return min(self.instance_count, executor.most_hosts)


@dataclass(frozen=True)
class EndpointConfigRequest:
    """What the engine needs to know of a CreateEndpointConfig request, and `document`, the request as it came."""

    document: Mapping[str, Any]
    name: str
    variants: tuple[Variant, ...]
    network_isolation: bool


def parse_model(document: Mapping[str, Any]) -> ModelRequest:
    """A request as its type, from a document that `check_document` let pass.

    Raises:
        ValidationError: fields that do not go together, or that ask for what only SageMaker itself has.
    """
    require("ExecutionRoleArn" in document, "ExecutionRoleArn is required to create a model")
    container = _container(document)
    _refuse("the container", container, _NEEDED_OF_CONTAINER)
    require("Image" in container, "local_aws runs an image: the container must have an Image")
    require(container.get("Mode", "SingleModel") == "SingleModel", "local_aws has no multi-model containers")
    access = container.get("ImageConfig", {}).get("RepositoryAccessMode", "Platform")
    require(access == "Platform", "local_aws has no other registry than its ECR: RepositoryAccessMode must be Platform")
    return ModelRequest(
        document=document,
        name=document["ModelName"],
        role_arn=document["ExecutionRoleArn"],
        image_uri=container["Image"],
        data=_s3_uri(container["ModelDataUrl"]) if container.get("ModelDataUrl") else None,
        environment=container.get("Environment", {}),
        network_isolation=document.get("EnableNetworkIsolation", False),
    )


def parse_endpoint_config(document: Mapping[str, Any]) -> EndpointConfigRequest:
    """A request as its type, from a document that `check_document` let pass.

    Raises:
        ValidationError: fields that do not go together, or that ask for what only SageMaker itself has.
    """
    _refuse("the endpoint configuration", document, _NEEDED_OF_CONFIG)
    variants = tuple(_variant(entry) for entry in document["ProductionVariants"])
    names = [variant.name for variant in variants]
    require(
        len(set(names)) == len(names), f"The names of production variants must be unique, and are: {', '.join(names)}"
    )
    return EndpointConfigRequest(
        document=document,
        name=document["EndpointConfigName"],
        variants=variants,
        network_isolation=document.get("EnableNetworkIsolation", False),
    )


def warnings(config: EndpointConfigRequest, variant: Variant, model: ModelRequest, executor: Executor) -> Iterator[str]:
    """One sentence for each field of an endpoint's variant that is kept but has no effect here."""
    fields = [(field, config.document.get(field), reason) for field, reason in _INSTEAD_OF_CONFIG.items()]
    fields += [(field, variant.document.get(field), reason) for field, reason in _INSTEAD_OF_VARIANT.items()]
    fields.append(("VpcConfig", model.document.get("VpcConfig"), _INSTEAD_OF_CONFIG["VpcConfig"]))
    if config.network_isolation or model.network_isolation:
        reason = executor.cannot_honor.get("EnableNetworkIsolation")
        fields.append(("EnableNetworkIsolation", reason, reason or ""))
    for field, reason in dict.fromkeys((field, reason) for field, value, reason in fields if not _asks_nothing(value)):
        yield f"{field} is kept but has no effect here: {reason}"
    if variant.instance_count > executor.most_hosts:
        yield f"InitialInstanceCount is {variant.instance_count}, but there are {executor.most_hosts} hosts here"


def _container(document: Mapping[str, Any]) -> Mapping[str, Any]:
    containers = document.get("Containers", [])
    given = [document["PrimaryContainer"]] if "PrimaryContainer" in document else []
    require(
        not (given and containers),
        "A model has either a PrimaryContainer or Containers, and this request has both",
    )
    given += containers
    require(
        len(given) == 1,
        f"local_aws serves models of one container, and this request has {len(given)}: name it as PrimaryContainer",
    )
    container: Mapping[str, Any] = given[0]
    return container


def _variant(entry: Mapping[str, Any]) -> Variant:
    name = entry["VariantName"]
    _refuse(f"variant {name}", entry, _NEEDED_OF_VARIANT)
    for field in ("ModelName", "InstanceType", "InitialInstanceCount"):
        require(field in entry, f"{field} of production variant {name} is required")
    return Variant(
        document=entry,
        name=name,
        model_name=entry["ModelName"],
        instance_type=entry["InstanceType"],
        instance_count=entry["InitialInstanceCount"],
        weight=entry.get("InitialVariantWeight", 1.0),
        ping_seconds=entry.get("ContainerStartupHealthCheckTimeoutInSeconds"),
    )


def _refuse(what: str, document: Mapping[str, Any], needed: Mapping[str, str]) -> None:
    for field, instead in needed.items():
        require(not document.get(field), f"local_aws has no {field} ({what}): {instead}")


def _asks_nothing(value: object) -> bool:
    if isinstance(value, dict):
        return value.get("EnableCapture") is False
    return not value


def _s3_uri(text: str) -> S3Uri:
    try:
        return S3Uri.parse(text)
    except ValueError as error:
        raise ValidationError(message=str(error)) from error
