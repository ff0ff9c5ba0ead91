"""Requests about processing jobs that are refused, with SageMaker's own error codes."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.processing import Processing


@pytest.fixture
def processing(aws: Any) -> Processing:
    return Processing(aws)


def refused(call: Any, **request: Any) -> tuple[str, str]:
    """Code and message of the error that a call ends with."""
    with pytest.raises(ClientError) as caught:
        call(**request)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


@pytest.mark.parametrize("operation", ["describe", "stop", "delete"])
def test_a_job_that_is_not_there(aws: Any, operation: str) -> None:
    code, message = refused(getattr(aws.sagemaker, f"{operation}_processing_job"), ProcessingJobName="none")
    assert (code, message) == ("ValidationException", "Could not find requested job with name: none")


def test_a_name_that_is_taken(aws: Any, processing: Processing) -> None:
    request = processing.request("true")
    arn = aws.sagemaker.create_processing_job(**request)["ProcessingJobArn"]
    code, message = refused(aws.sagemaker.create_processing_job, **request)
    assert code == "ResourceInUse"
    assert arn in message


def test_a_job_that_has_ended_cannot_be_stopped_nor_one_that_runs_be_deleted(aws: Any, processing: Processing) -> None:
    name = processing.start("while true; do sleep 0.02; done")
    assert refused(aws.sagemaker.delete_processing_job, ProcessingJobName=name)[0] == "ResourceInUse"
    aws.sagemaker.stop_processing_job(ProcessingJobName=name)
    processing.finish(name)
    code, message = refused(aws.sagemaker.stop_processing_job, ProcessingJobName=name)
    assert (code, message) == (
        "ValidationException",
        "The request was rejected because the processing job is in status Stopped.",
    )


@pytest.mark.parametrize("path", ["/opt/ml/processing", "/opt/ml/other", "/tmp/x", "/opt/ml/processing/../x", ""])
def test_paths_outside_the_processing_folder(aws: Any, processing: Processing, path: str) -> None:
    aws.put(in__a="x")
    for changes in (
        {"inputs": [processing.input(LocalPath=path)]},
        {"outputs": [processing.output(LocalPath=path)]},
    ):
        code, message = refused(aws.sagemaker.create_processing_job, **processing.request("true", **changes))
        assert code == "ValidationException"
        assert "must begin with /opt/ml/processing/" in message


def test_inputs_that_cannot_be_had(aws: Any, processing: Processing) -> None:
    aws.put(in__a="x")
    dataset = {"LocalPath": "/opt/ml/processing/x"}
    cases = [
        ([processing.input(prefix="nothing")], "No S3 objects found under S3 URL"),
        ([processing.input(S3InputMode="Pipe")], "no Pipe input mode"),
        ([processing.input(S3CompressionType="Gzip")], "can only be used with the S3InputMode Pipe"),
        ([{"InputName": "d", "DatasetDefinition": dataset}], "ProcessingInput d needs an S3Input"),
        ([processing.input(), processing.input()], "must be unique"),
    ]
    for inputs, expected in cases:
        code, message = refused(aws.sagemaker.create_processing_job, **processing.request("true", inputs=inputs))
        assert code == "ValidationException"
        assert expected in message


def test_outputs_that_cannot_be_written(aws: Any, processing: Processing) -> None:
    cases = [
        ([processing.output(S3Uri="s3://no.such.bucket/x")], 'Could not find S3 bucket "no.such.bucket"'),
        (
            [{"OutputName": "f", "FeatureStoreOutput": {"FeatureGroupName": "f"}}],
            "ProcessingOutput f needs an S3Output",
        ),
        ([processing.output(), processing.output()], "must be unique"),
    ]
    for outputs, expected in cases:
        code, message = refused(aws.sagemaker.create_processing_job, **processing.request("true", outputs=outputs))
        assert code == "ValidationException"
        assert expected in message


def test_a_role_and_an_image_that_are_not_there(aws: Any, processing: Processing) -> None:
    cases = [
        ({"RoleArn": aws.create_role(f"{aws.bucket}-other", "ec2.amazonaws.com")}, "Could not assume role"),
        ({"application": {"ImageUri": f"{aws.repository_uri}:none"}}, "Cannot find the requested image"),
    ]
    for changes, expected in cases:
        code, message = refused(aws.sagemaker.create_processing_job, **processing.request("true", **changes))
        assert code == "ValidationException"
        assert expected in message


def test_more_hosts_than_this_machine_can_stand_in_for(aws: Any, processing: Processing) -> None:
    request = processing.request("true", cluster={"InstanceCount": 9})
    code, message = refused(aws.sagemaker.create_processing_job, **request)
    assert code == "ValidationException"
    assert "8 hosts at most for a processing job: its InstanceCount must not be 9" in message


def test_a_directory_image_needs_an_entrypoint(aws: Any, processing: Processing) -> None:
    request = processing.request("true")
    del request["AppSpecification"]["ContainerEntrypoint"]
    code, message = refused(aws.sagemaker.create_processing_job, **request)
    assert code == "ValidationException"
    assert "must have a ContainerEntrypoint" in message


def test_what_an_application_manages_itself_is_left_alone(processing: Processing) -> None:
    inputs = [{**processing.input(prefix="nothing"), "AppManaged": True}]
    outputs = [{**processing.output(S3Uri="s3://no.such.bucket/x"), "AppManaged": True}]
    assert processing.run("true", inputs=inputs, outputs=outputs)["ProcessingJobStatus"] == "Completed"
