"""Requests that are refused before there is a job, with SageMaker's own error codes."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from botocore.exceptions import ClientError


@pytest.fixture
def image(aws: Any) -> str:
    return aws.push(aws.image_directory("true"))


def refused(aws: Any, request: dict[str, Any], code: str = "ValidationException") -> str:
    """The message with which CreateTrainingJob refuses the request; there is no such job then."""
    with pytest.raises(ClientError) as caught:
        aws.sagemaker.create_training_job(**request)
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return caught.value.response["Error"]["Message"]


def test_a_name_that_is_in_use(aws: Any, image: str) -> None:
    request = aws.request(image)
    arn = aws.sagemaker.create_training_job(**request)["TrainingJobArn"]
    message = refused(aws, request, "ResourceInUse")
    assert message == (
        "Training job names must be unique within an AWS account and region, and a training job with this name "
        f"already exists ({arn})"
    )
    aws.finish(request["TrainingJobName"])


def test_a_repository_that_does_not_exist(aws: Any) -> None:
    message = refused(aws, aws.request("123456789012.dkr.ecr.eu-central-1.amazonaws.com/nowhere:1"))
    assert message.startswith("Cannot find repository: nowhere in registry ID: 123456789012 Please check")


@pytest.mark.parametrize("suffix", [":2", "", "@sha256:" + "0" * 64])
def test_an_image_that_does_not_exist(aws: Any, image: str, suffix: str) -> None:
    uri = f"{aws.repository_uri}{suffix}"
    assert refused(aws, aws.request(uri)).startswith(f"Cannot find the requested image: {uri}.")


@pytest.mark.parametrize("uri", ["python:3.12", "registry.example/team/image:1", "123.dkr.ecr.x.amazonaws.com/a"])
def test_an_image_of_another_registry(aws: Any, uri: str) -> None:
    assert uri in refused(aws, aws.request(uri))


def test_an_image_that_is_no_directory(aws: Any) -> None:
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": []}
    aws.ecr.put_image(repositoryName=aws.repository, imageTag="real", imageManifest=json.dumps(manifest))
    message = refused(aws, aws.request(f"{aws.repository_uri}:real"))
    assert "local-aws.image-directory" in message


def test_a_role_that_does_not_exist(aws: Any, image: str) -> None:
    arn = "arn:aws:iam::123456789012:role/nobody"
    assert refused(aws, aws.request(image, RoleArn=arn)).startswith(f"Could not assume role {arn}.")


def test_a_role_that_does_not_trust_sagemaker(aws: Any, image: str) -> None:
    arn = aws.create_role(f"lambda-{aws.bucket}", "lambda.amazonaws.com")
    assert "allows principal 'sagemaker.amazonaws.com'" in refused(aws, aws.request(image, RoleArn=arn))


def test_an_output_bucket_that_does_not_exist(aws: Any, image: str) -> None:
    request = aws.request(image, OutputDataConfig={"S3OutputPath": "s3://no-such-bucket/out"})
    assert 'Could not find S3 bucket "no-such-bucket"' in refused(aws, request)


@pytest.mark.parametrize("prefix", ["empty", "folder"])
def test_a_channel_without_objects(aws: Any, image: str, prefix: str) -> None:
    aws.put_key("folder/", "")
    request = aws.request(image, InputDataConfig=[aws.channel("training", prefix)])
    message = refused(aws, request)
    assert message.startswith(f'No S3 objects found under S3 URL "s3://{aws.bucket}/{prefix}" given in input data')
    assert f'has "s3:ListBucket" permissions on bucket "{aws.bucket}".' in message


def test_an_input_bucket_that_does_not_exist(aws: Any, image: str) -> None:
    source = {"S3DataType": "S3Prefix", "S3Uri": "s3://no-such-bucket/data"}
    request = aws.request(image, InputDataConfig=[{"ChannelName": "a", "DataSource": {"S3DataSource": source}}])
    assert "No S3 objects found" in refused(aws, request)


@pytest.mark.parametrize(
    ("changes", "part_of_message"),
    [
        ({"TrainingJobName": "under_score"}, "'trainingJobName' failed to satisfy constraint: Member must satisfy reg"),
        ({"TrainingJobName": "n" * 64}, "Member must have length less than or equal to 63"),
        ({"RoleArn": "arn:aws:iam::1:role/too-short-account"}, "'roleArn'"),
        ({"HyperParameters": {"name": "v" * 2501}}, "less than or equal to 2500"),
        ({"HyperParameters": {f"p{number}": "v" for number in range(101)}}, "less than or equal to 100"),
        ({"Environment": {"1A": "v"}}, "environment"),
        ({"ResourceConfig": {"InstanceType": "ml.huge", "InstanceCount": 1}}, "Member must satisfy enum value set"),
        ({"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 0}}, "InstanceCount of 1 or more"),
        ({"ResourceConfig": None}, "ResourceConfig"),
        ({"AlgorithmSpecification": {"TrainingInputMode": "File"}}, "TrainingImage"),
        ({"OutputDataConfig": {"S3OutputPath": "https://host/bucket"}}, "s3://BUCKET/KEY"),
        ({"EnableManagedSpotTraining": True}, "Invalid MaxWaitTimeInSeconds. It must be present"),
        (
            {"StoppingCondition": {"MaxRuntimeInSeconds": 1, "MaxWaitTimeInSeconds": 2}},
            "It is only supported when EnableManagedSpotTraining is set to true",
        ),
    ],
)
def test_a_request_against_the_rules(aws: Any, image: str, changes: dict[str, Any], part_of_message: str) -> None:
    assert part_of_message in refused(aws, aws.request(image, **changes))


@pytest.mark.parametrize(
    ("changes", "part_of_message"),
    [
        ({"InputMode": "Pipe"}, "no Pipe input mode"),
        ({"ChannelName": ".."}, "cannot be a channel's name"),
        ({"DataSource": {}}, "needs an S3DataSource"),
    ],
)
def test_a_channel_that_cannot_be(aws: Any, image: str, changes: dict[str, Any], part_of_message: str) -> None:
    aws.put(data__1="x")
    channel = {**aws.channel("training", "data"), **changes}
    assert part_of_message in refused(aws, aws.request(image, InputDataConfig=[channel]))


def test_two_channels_of_one_name(aws: Any, image: str) -> None:
    aws.put(data__1="x")
    channels = [aws.channel("training", "data")] * 2
    assert "must be unique" in refused(aws, aws.request(image, InputDataConfig=channels))


def test_a_metric_whose_regex_is_broken(aws: Any, image: str) -> None:
    algorithm = {
        "TrainingImage": image,
        "TrainingInputMode": "File",
        "MetricDefinitions": [{"Name": "loss", "Regex": "loss=("}],
    }
    assert "The regex 'loss=(' of metric loss" in refused(aws, aws.request(image, AlgorithmSpecification=algorithm))


@pytest.mark.parametrize(
    ("operation", "code"),
    [("describe", "ValidationException"), ("stop", "ResourceNotFound"), ("delete", "ResourceNotFound")],
)
def test_a_job_that_does_not_exist(aws: Any, operation: str, code: str) -> None:
    with pytest.raises(ClientError, match="Requested resource not found") as caught:
        getattr(aws.sagemaker, f"{operation}_training_job")(TrainingJobName="nothing")
    assert caught.value.response["Error"]["Code"] == code


@pytest.mark.parametrize("body", ["{", "[]", '{"TrainingJobName": 5}', '{"StoppingCondition": []}'])
def test_a_body_that_no_sdk_would_send(server: Any, body: str) -> None:
    headers = {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": "SageMaker.CreateTrainingJob",
        "Authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/eu-central-1/sagemaker/aws4_request",
    }
    request = urllib.request.Request(server.endpoint_url, body.encode(), headers)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert caught.value.code == 400
    assert json.loads(caught.value.read())["__type"].endswith("SerializationException")
