"""The execution role, assumed where permissions are enforced: a job's traffic passes, everything else is denied."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import requests
from botocore.exceptions import ClientError

from tests.conftest import png
from tests.project import REGION, Project

pytestmark = pytest.mark.slow

DATA, OUTPUT = "shades-project.data", "shades-project.output"
ELSEWHERE = ("--set", "model.initial_weights=pretrained", "--set", "data.pretrained=s3://elsewhere/models/old.tar.gz")
ROLE = "arn:aws:iam::123456789012:role/shades-project-sagemaker"


@pytest.fixture(scope="module")
def as_role(split_project: Project) -> Iterator[Any]:
    """Makes clients with the credentials of the execution role, while permissions are enforced."""
    owner = split_project.client("s3")
    owner.create_bucket(Bucket="elsewhere")
    split_project.manage_local("--init_s3_buckets", "--build_and_push_docker_image", *ELSEWHERE)
    for bucket, key in (
        (DATA, "pretrained/0123/old.keras"),
        (OUTPUT, "earlier/output/model.tar.gz"),
        ("elsewhere", "models/old.tar.gz"),
        ("elsewhere", "secrets/x"),
    ):
        owner.put_object(Bucket=bucket, Key=key, Body=b"an earlier model")
    credentials = split_project.client("sts").assume_role(RoleArn=ROLE, RoleSessionName="job")["Credentials"]
    endpoint_url = split_project.endpoint_url
    session = boto3.Session(
        credentials["AccessKeyId"], credentials["SecretAccessKey"], credentials["SessionToken"], region_name=REGION
    )
    # moto's own switch: the number of requests that pass before permissions are enforced.
    requests.post(f"{endpoint_url}/moto-api/reset-auth", data="0", timeout=10).raise_for_status()
    yield lambda service: session.client(service, endpoint_url=endpoint_url)
    requests.post(f"{endpoint_url}/moto-api/reset-auth", data="inf", timeout=10).raise_for_status()


def test_what_sagemaker_does_for_a_job_is_allowed(as_role: Any) -> None:
    s3, logs = as_role("s3"), as_role("logs")
    for channel in ("training/", "validation/", "evaluation/"):
        keys = [item["Key"] for item in s3.list_objects_v2(Bucket=DATA, Prefix=channel)["Contents"]]
        assert keys
        assert all(s3.get_object(Bucket=DATA, Key=key)["Body"].read() for key in keys)
    for model in (
        {"Bucket": DATA, "Key": "pretrained/0123/old.keras"},
        {"Bucket": OUTPUT, "Key": "earlier/output/model.tar.gz"},
        {"Bucket": "elsewhere", "Key": "models/old.tar.gz"},
    ):
        assert s3.list_objects_v2(Bucket=model["Bucket"], Prefix=model["Key"])["KeyCount"] == 1
        assert s3.get_object(**model)["Body"].read() == b"an earlier model"
    checkpoint = {"Bucket": OUTPUT, "Key": "checkpoints/job/1"}
    s3.put_object(**checkpoint, Body=b"weights")
    assert s3.list_objects_v2(Bucket=OUTPUT, Prefix="checkpoints/job/")["KeyCount"] == 1
    assert s3.get_object(**checkpoint)["Body"].read() == b"weights"
    s3.delete_object(**checkpoint)
    s3.put_object(Bucket=OUTPUT, Key="job/output/model.tar.gz", Body=b"model")
    assert s3.get_object(Bucket=OUTPUT, Key="job/output/model.tar.gz")["Body"].read() == b"model"
    group, stream = "/aws/sagemaker/TrainingJobs", "job/algo-1"
    for call in (
        lambda: logs.create_log_group(logGroupName=group),
        lambda: logs.create_log_stream(logGroupName=group, logStreamName=stream),
        lambda: logs.put_log_events(
            logGroupName=group, logStreamName=stream, logEvents=[{"timestamp": 1_700_000_000_000, "message": "x"}]
        ),
    ):
        assert code_of(call) not in ("AccessDenied", "AccessDeniedException")


def test_everything_else_is_denied(as_role: Any) -> None:
    s3, iam, ecr = as_role("s3"), as_role("iam"), as_role("ecr")
    sagemaker = as_role("sagemaker")
    for call in (
        lambda: s3.put_object(Bucket=DATA, Key="training/dark/new.png", Body=png(1)),
        lambda: s3.delete_object(Bucket=DATA, Key="training/dark/0.png"),
        lambda: s3.delete_object(Bucket=OUTPUT, Key="job/output/model.tar.gz"),
        lambda: s3.delete_object(Bucket=OUTPUT, Key="job/checkpoints/1"),
        lambda: s3.list_objects_v2(Bucket="shades-project.logs"),
        lambda: s3.get_object(Bucket="elsewhere", Key="secrets/x"),
        lambda: s3.put_object(Bucket="elsewhere", Key="models/old.tar.gz", Body=b"x"),
        lambda: s3.list_buckets(),
        lambda: s3.delete_bucket_policy(Bucket=DATA),
        lambda: s3.create_bucket(Bucket="one-more"),
        lambda: iam.list_roles(),
        lambda: iam.put_role_policy(
            RoleName="shades-project-sagemaker", PolicyName="more", PolicyDocument=json.dumps({"Version": "2012-10-17"})
        ),
        lambda: ecr.delete_repository(repositoryName="shades-project/shades", force=True),
        lambda: sagemaker.list_training_jobs(),
    ):
        assert code_of(call) in ("AccessDenied", "AccessDeniedException", "403")


def code_of(call: Any) -> str:
    """AWS's error code of a call; empty: it succeeded."""
    try:
        call()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""
