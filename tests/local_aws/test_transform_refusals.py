"""Requests about transform jobs that are refused, with SageMaker's own error codes."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.transforms import Transforms


@pytest.fixture
def transforms(aws: Any) -> Transforms:
    return Transforms(aws)


@pytest.fixture
def model(transforms: Transforms) -> str:
    transforms.aws.put(in__a="x")
    return transforms.model()


def refused(transforms: Transforms, request: dict[str, Any], code: str = "ValidationException") -> str:
    """The message with which CreateTransformJob refuses the request."""
    with pytest.raises(ClientError) as caught:
        transforms.aws.sagemaker.create_transform_job(**request)
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return caught.value.response["Error"]["Message"]


def test_a_model_that_does_not_exist(transforms: Transforms) -> None:
    transforms.aws.put(in__a="x")
    assert refused(transforms, transforms.request("nobody")) == (
        'Could not find model "arn:aws:sagemaker:eu-central-1:123456789012:model/nobody".'
    )


def test_a_name_that_is_in_use(transforms: Transforms, model: str) -> None:
    request = transforms.request(model)
    arn = transforms.aws.sagemaker.create_transform_job(**request)["TransformJobArn"]
    assert refused(transforms, request, "ResourceInUse") == (
        f"Job name must be unique within an AWS account and region, and a job with this name already exists ({arn})"
    )
    transforms.finish(request["TransformJobName"])


@pytest.mark.parametrize("prefix", ["empty", "folder"])
def test_input_without_objects(transforms: Transforms, model: str, prefix: str) -> None:
    transforms.aws.put_key("folder/", "")
    message = refused(transforms, transforms.request(model, prefix))
    assert message.startswith(
        f'No S3 objects found under S3 URL "s3://{transforms.aws.bucket}/{prefix}" given in input'
    )
    assert f'that the role "{transforms.aws.role}" has "s3:ListBucket"' in message


@pytest.mark.parametrize(
    ("changes", "part_of_message"),
    [
        ({"TransformJobName": "under_score"}, "'transformJobName' failed to satisfy constraint"),
        ({"TransformOutput": {"S3OutputPath": "s3://no-such-bucket/out"}}, 'Could not find S3 bucket "no-such-bucket"'),
        ({"TransformOutput": {"S3OutputPath": "https://host/bucket"}}, "s3://BUCKET/KEY"),
        ({"TransformInput": {"SplitType": "RecordIO"}}, "local_aws cannot split RecordIO files. Use SplitType Line"),
        ({"TransformInput": {"SplitType": "TFRecord"}}, "local_aws cannot split TFRecord files"),
        ({"BatchStrategy": "Many"}, "Member must satisfy enum value set: [MultiRecord, SingleRecord]"),
        ({"MaxPayloadInMB": 101}, "MaxPayloadInMB is 101; it cannot be greater than 100"),
        (
            {"MaxPayloadInMB": 6, "MaxConcurrentTransforms": 17},
            "MaxConcurrentTransforms * MaxPayloadInMB is 17 * 6; the product cannot be greater than 100",
        ),
        ({"ModelClientConfig": {"InvocationsMaxRetries": 4}}, "less than or equal to 3"),
        ({"DataProcessing": {"JoinSource": "Input"}}, "DataProcessing.JoinSource is 'Input', but local_aws does not"),
        ({"DataProcessing": {"InputFilter": "$.image"}}, "DataProcessing.InputFilter is '$.image'"),
        ({"Environment": {f"V{number}": "" for number in range(17)}}, "less than or equal to 16"),
        ({"TransformResources": {"InstanceType": "ml.huge", "InstanceCount": 1}}, "enum value set"),
    ],
)
def test_a_request_against_the_rules(
    transforms: Transforms, model: str, changes: dict[str, Any], part_of_message: str
) -> None:
    assert part_of_message in refused(transforms, transforms.request(model, **changes))


def test_a_source_of_another_type(transforms: Transforms, model: str) -> None:
    source = {"S3DataType": "AugmentedManifestFile", "S3Uri": f"s3://{transforms.aws.bucket}/in"}
    request = transforms.request(model, TransformInput={"DataSource": {"S3DataSource": source}})
    assert "use S3Prefix or ManifestFile" in refused(transforms, request)


@pytest.mark.parametrize("operation", ["describe_transform_job", "stop_transform_job"])
def test_a_job_that_does_not_exist(aws: Any, operation: str) -> None:
    with pytest.raises(ClientError, match="Could not find requested job with name: nothing") as caught:
        getattr(aws.sagemaker, operation)(TransformJobName="nothing")
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_stopping_a_job_that_has_ended(transforms: Transforms, model: str) -> None:
    job = transforms.run(model)
    with pytest.raises(ClientError, match="the transform job is in status Completed"):
        transforms.aws.sagemaker.stop_transform_job(TransformJobName=job["TransformJobName"])
