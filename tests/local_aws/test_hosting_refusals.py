"""What is refused before anything runs, in SageMaker's words where they are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.hosting import SERVE, Hosting


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ExecutionRoleArn": None}, "ExecutionRoleArn is required"),
        ({"ExecutionRoleArn": "arn:aws:iam::123456789012:role/none"}, "Could not assume role .*role/none"),
        ({"ModelName": "no_underscore"}, "at 'modelName' failed to satisfy constraint"),
        ({"PrimaryContainer": None}, "one container, and this request has 0"),
        ({"Containers": [{"Image": "a"}]}, "either a PrimaryContainer or Containers"),
        ({"PrimaryContainer": {"ModelPackageName": "p"}}, "local_aws has no ModelPackageName"),
        ({"PrimaryContainer": {}}, "the container must have an Image"),
        ({"PrimaryContainer": {"Image": "python:3.11"}}, "Requested image python:3.11 not found"),
        ({"PrimaryContainer": {"Image": "a", "Mode": "MultiModel"}}, "no multi-model containers"),
    ],
)
def test_models(hosting: Hosting, changes: dict[str, Any], reason: str) -> None:
    request = hosting.model_request(hosting.image(), **changes)
    with pytest.raises(hosting.sagemaker.exceptions.ClientError, match=reason):
        hosting.sagemaker.create_model(**request)
    assert request["ModelName"] not in [entry["ModelName"] for entry in hosting.sagemaker.list_models()["Models"]]


@pytest.mark.parametrize("key", ["none.tar.gz", "folder/"])
def test_a_model_without_data(hosting: Hosting, key: str) -> None:
    data = f"s3://{hosting.aws.bucket}/{key}"
    with pytest.raises(hosting.sagemaker.exceptions.ClientError, match=f"Could not find model data at {data}"):
        hosting.model(data=data)


def test_an_image_that_is_not_there_or_cannot_serve(hosting: Hosting) -> None:
    missing = f"{hosting.aws.repository_uri}:none"
    with pytest.raises(hosting.sagemaker.exceptions.ClientError, match=f"Requested image {missing} not found"):
        hosting.sagemaker.create_model(**hosting.model_request(missing))
    training = hosting.aws.push(hosting.aws.image_directory("true"))
    with pytest.raises(hosting.sagemaker.exceptions.ClientError, match="has no executable `serve`"):
        hosting.sagemaker.create_model(**hosting.model_request(training))


def test_an_image_may_serve_only(hosting: Hosting) -> None:
    directory = hosting.aws.image_directory("true", name="serving")
    (directory / "train").unlink()
    (directory / "serve").write_text(SERVE)
    (directory / "serve").chmod(0o755)
    hosting.sagemaker.create_model(**hosting.model_request(hosting.aws.push(directory)))


@pytest.mark.parametrize(
    ("variant", "changes", "reason"),
    [
        ({"ModelName": "none"}, {}, "Could not find model .*:model/none"),
        ({"InitialInstanceCount": None}, {}, "InitialInstanceCount of production variant AllTraffic is required"),
        ({"InstanceType": None}, {}, "InstanceType of production variant AllTraffic is required"),
        ({"InstanceType": "ml.huge"}, {}, "instanceType"),
        ({"ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}}, {}, "local_aws has no ServerlessConfig"),
        ({}, {"AsyncInferenceConfig": {"OutputConfig": {}}}, "local_aws has no AsyncInferenceConfig"),
    ],
)
def test_configurations(hosting: Hosting, variant: dict[str, Any], changes: dict[str, Any], reason: str) -> None:
    entry = {**hosting.variant(hosting.model()), **variant}
    entry = {name: value for name, value in entry.items() if value is not None}
    with pytest.raises(hosting.sagemaker.exceptions.ClientError, match=reason):
        hosting.config(entry, **changes)


def test_variants_of_one_name(hosting: Hosting) -> None:
    variant = hosting.variant(hosting.model())
    with pytest.raises(hosting.sagemaker.exceptions.ClientError, match="names of production variants must be unique"):
        hosting.config(variant, variant)


def test_names_are_taken_once(hosting: Hosting) -> None:
    model = hosting.model_request(hosting.image())
    hosting.sagemaker.create_model(**model)
    config = hosting.config(hosting.variant(model["ModelName"]))
    endpoint = hosting.create(config)
    variants = [hosting.variant(model["ModelName"])]
    again: dict[str, Callable[[], Any]] = {
        "model": lambda: hosting.sagemaker.create_model(**model),
        "endpoint configuration": lambda: hosting.sagemaker.create_endpoint_config(
            EndpointConfigName=config, ProductionVariants=variants
        ),
        "endpoint": lambda: hosting.sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName=config),
    }
    for what, create in again.items():
        with pytest.raises(hosting.sagemaker.exceptions.ClientError, match=f"Cannot create already existing {what} "):
            create()


def test_what_is_not_there(hosting: Hosting) -> None:
    client = hosting.sagemaker
    for call in (client.describe_model, client.delete_model):
        with pytest.raises(client.exceptions.ClientError, match=r"Could not find model \"arn:.*:model/none\""):
            call(ModelName="none")
    for call in (client.describe_endpoint_config, client.delete_endpoint_config):
        with pytest.raises(client.exceptions.ClientError, match="Could not find endpoint configuration"):
            call(EndpointConfigName="none")
    for call in (client.describe_endpoint, client.delete_endpoint):
        with pytest.raises(client.exceptions.ClientError, match=r"Could not find endpoint \"arn:.*:endpoint/none\""):
            call(EndpointName="none")
    with pytest.raises(client.exceptions.ClientError, match="Could not find endpoint configuration"):
        client.create_endpoint(EndpointName="none", EndpointConfigName="none")


def test_weights_are_changed_by_a_configuration_only(hosting: Hosting) -> None:
    name = hosting.deploy()
    desired = [{"VariantName": "AllTraffic", "DesiredWeight": 2}]
    with pytest.raises(hosting.sagemaker.exceptions.ClientError, match="not offered by this AWS"):
        hosting.sagemaker.update_endpoint_weights_and_capacities(EndpointName=name, DesiredWeightsAndCapacities=desired)
    config = hosting.describe(name)["EndpointConfigName"]
    with pytest.raises(hosting.sagemaker.exceptions.ClientError, match="no RetainAllVariantProperties"):
        hosting.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config, RetainAllVariantProperties=True)
