"""Models, endpoint configurations and endpoints as they are described, listed, tagged and deleted."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.hosting import Hosting


def test_a_model_is_described_as_it_was_created(hosting: Hosting) -> None:
    network = {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]}
    request = hosting.model_request(
        hosting.image(),
        hosting.model_data(x="x"),
        Environment={"A": "1"},
        VpcConfig=network,
        EnableNetworkIsolation=True,
    )
    arn = hosting.sagemaker.create_model(**request)["ModelArn"]
    assert arn.endswith(f":model/{request['ModelName']}")
    model = hosting.sagemaker.describe_model(ModelName=request["ModelName"])
    created = model.pop("CreationTime")
    assert abs((datetime.now(UTC) - created).total_seconds()) < 60
    del model["ResponseMetadata"]
    assert model == {**request, "ModelArn": arn}


def test_a_single_container_in_a_list_and_an_image_with_its_own_model(hosting: Hosting) -> None:
    request = hosting.model_request(hosting.image())
    request["Containers"] = [request.pop("PrimaryContainer")]
    hosting.sagemaker.create_model(**request)
    assert hosting.sagemaker.describe_model(ModelName=request["ModelName"])["Containers"] == request["Containers"]
    name = hosting.create(hosting.config(hosting.variant(request["ModelName"])))
    assert hosting.settle(name)["EndpointStatus"] == "InService"


def test_a_configuration_is_described_as_it_was_created(hosting: Hosting) -> None:
    variant = hosting.variant(hosting.model(), InitialVariantWeight=0.5)
    capture = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 10,
        "DestinationS3Uri": "s3://bucket/captured",
        "CaptureOptions": [{"CaptureMode": "Input"}],
    }
    name = hosting.config(variant, KmsKeyId="key", DataCaptureConfig=capture)
    config = hosting.sagemaker.describe_endpoint_config(EndpointConfigName=name)
    assert config["ProductionVariants"] == [variant]
    assert config["KmsKeyId"] == "key"
    assert config["DataCaptureConfig"] == capture
    assert config["EndpointConfigArn"].endswith(f":endpoint-config/{name}")


def test_what_has_no_effect_is_warned_of(hosting: Hosting) -> None:
    network = {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]}
    model = hosting.model(EnableNetworkIsolation=True, VpcConfig=network)
    variant = hosting.variant(model, InitialInstanceCount=9, VolumeSizeInGB=30)
    name = hosting.create(hosting.config(variant, KmsKeyId="key"))
    endpoint = hosting.settle(name)
    assert endpoint["ProductionVariants"][0]["CurrentInstanceCount"] == 9
    warned = {line for line in hosting.log(name) if line.startswith("local_aws: warning: ")}
    kept = "is kept but has no effect here:"
    assert warned == {
        f"local_aws: warning: KmsKeyId {kept} nothing is encrypted",
        f"local_aws: warning: VpcConfig {kept} the programs run in this machine's own network",
        f"local_aws: warning: EnableNetworkIsolation {kept} a process keeps its network; it only gets no AWS endpoint",
        "local_aws: warning: InitialInstanceCount is 9, but there are 8 hosts here",
    }


def test_lists_have_filters_orders_and_pages(hosting: Hosting) -> None:
    image, prefix = hosting.image(), hosting.aws.repository.rpartition("/")[2]
    names = [f"{prefix}-{letter}" for letter in "bca"]
    for name in names:
        hosting.sagemaker.create_model(**{**hosting.model_request(image), "ModelName": name})
        variants = [hosting.variant(name)]
        hosting.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants)
        hosting.create(name, name)
    for operation, field, key in (
        ("list_models", "Models", "ModelName"),
        ("list_endpoint_configs", "EndpointConfigs", "EndpointConfigName"),
        ("list_endpoints", "Endpoints", "EndpointName"),
    ):
        call = getattr(hosting.sagemaker, operation)
        newest_first = [entry[key] for entry in call(NameContains=prefix)[field]]
        assert newest_first == names[::-1]
        page = call(NameContains=prefix, SortBy="Name", SortOrder="Ascending", MaxResults=2)
        assert [entry[key] for entry in page[field]] == sorted(names)[:2]
        rest = call(
            NameContains=prefix, SortBy="Name", SortOrder="Ascending", MaxResults=2, NextToken=page["NextToken"]
        )
        assert [entry[key] for entry in rest[field]] == sorted(names)[2:]
    for name in names:
        hosting.settle(name)
    listed = hosting.sagemaker.list_endpoints(NameContains=prefix, StatusEquals="InService")["Endpoints"]
    assert len(listed) == 3
    assert hosting.sagemaker.list_endpoints(NameContains=prefix, StatusEquals="Failed")["Endpoints"] == []


def test_tags_stay_with_what_they_were_given_to(hosting: Hosting) -> None:
    tags = [{"Key": "project", "Value": "cats"}]
    model = hosting.model(Tags=tags)
    config = hosting.config(hosting.variant(model), Tags=tags)
    endpoint = hosting.create(config, Tags=tags)
    arns = [
        hosting.sagemaker.describe_model(ModelName=model)["ModelArn"],
        hosting.sagemaker.describe_endpoint_config(EndpointConfigName=config)["EndpointConfigArn"],
        hosting.describe(endpoint)["EndpointArn"],
    ]
    for arn in arns:
        assert hosting.sagemaker.list_tags(ResourceArn=arn)["Tags"] == tags
        hosting.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "more", "Value": "1"}])
        hosting.sagemaker.delete_tags(ResourceArn=arn, TagKeys=["project"])
        assert hosting.sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "more", "Value": "1"}]
    resources = hosting.aws.server.client("resourcegroupstaggingapi").get_resources(
        TagFilters=[{"Key": "more", "Values": ["1"]}], ResourceTypeFilters=["sagemaker"]
    )
    assert {entry["ResourceARN"] for entry in resources["ResourceTagMappingList"]} >= set(arns)
    found = hosting.sagemaker.search(
        Resource="Endpoint",
        SearchExpression={"Filters": [{"Name": "Tags.more", "Operator": "Equals", "Value": "1"}]},
    )
    assert endpoint in [result["Endpoint"]["EndpointName"] for result in found["Results"]]


def test_an_endpoint_outlives_its_model_and_its_configuration(hosting: Hosting) -> None:
    model = hosting.model()
    config = hosting.config(hosting.variant(model))
    name = hosting.create(config)
    hosting.settle(name)
    hosting.sagemaker.delete_model(ModelName=model)
    hosting.sagemaker.delete_endpoint_config(EndpointConfigName=config)
    assert hosting.invoke(name, b"ab") == b"ba"
    with pytest.raises(hosting.sagemaker.exceptions.ClientError, match="Could not find model"):
        hosting.sagemaker.describe_model(ModelName=model)
    with pytest.raises(hosting.sagemaker.exceptions.ClientError, match="Could not find endpoint configuration"):
        hosting.sagemaker.describe_endpoint_config(EndpointConfigName=config)
