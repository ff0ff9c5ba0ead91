"""Transform jobs: objects go through a model's program, and its answers become objects."""

from __future__ import annotations

import gzip
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.transforms import Transforms

pytestmark = pytest.mark.slow


@pytest.fixture
def transforms(aws: Any) -> Transforms:
    return Transforms(aws)


def test_each_object_becomes_an_output(aws: Any, transforms: Transforms) -> None:
    aws.put(in__a="one", in__deep__b="two")
    aws.put_key("in/folder/", "")
    request = transforms.request(transforms.model(), Tags=[{"Key": "project", "Value": "p"}])
    arn = aws.sagemaker.create_transform_job(**request)["TransformJobArn"]
    assert arn == f"arn:aws:sagemaker:eu-central-1:123456789012:transform-job/{request['TransformJobName']}"
    job = transforms.finish(request["TransformJobName"])
    assert job["TransformJobStatus"] == "Completed"
    assert transforms.outputs() == {"a.out": "ONE", "deep/b.out": "TWO"}
    assert job["TransformJobArn"] == arn
    assert job["CreationTime"] <= job["TransformStartTime"] <= job["TransformEndTime"] <= datetime.now(UTC)
    assert {name: job[name] for name in ("ModelName", "TransformResources")} == {
        name: request[name] for name in ("ModelName", "TransformResources")
    }
    assert job["TransformInput"] == {**request["TransformInput"], "CompressionType": "None", "SplitType": "None"}
    assert job["TransformOutput"]["AssembleWith"] == "None"
    assert job["DataProcessing"] == {"InputFilter": "$", "OutputFilter": "$", "JoinSource": "None"}
    assert aws.sagemaker.list_tags(ResourceArn=arn)["Tags"] == request["Tags"]
    assert list((aws.server.home / "jobs").iterdir()) == []


@pytest.mark.parametrize(
    ("prefix", "outputs"),
    [
        ("in/", ["a.csv.out", "b/c.csv.out"]),
        ("in", ["a.csv.out", "b/c.csv.out", "in-other/d.csv.out"]),
        ("in/a.csv", ["a.csv.out"]),
        ("in/b/c", ["c.csv.out"]),
    ],
)
def test_an_output_is_named_by_what_follows_the_prefix(
    aws: Any, transforms: Transforms, prefix: str, outputs: list[str]
) -> None:
    for key in ("in/a.csv", "in/b/c.csv", "in-other/d.csv"):
        aws.put_key(key)
    assert transforms.run(transforms.model(), prefix)["TransformJobStatus"] == "Completed"
    assert sorted(transforms.outputs()) == outputs


def test_a_manifest_names_the_objects(aws: Any, transforms: Transforms) -> None:
    aws.put(in__a="a", in__b="b", in__deep__c="c")
    aws.put_key("list.manifest", json.dumps([{"prefix": f"s3://{aws.bucket}/in/"}, "a", "deep/c"]))
    source = {"S3DataType": "ManifestFile", "S3Uri": f"s3://{aws.bucket}/list.manifest"}
    job = transforms.run(transforms.model(), TransformInput={"DataSource": {"S3DataSource": source}})
    assert job["TransformJobStatus"] == "Completed"
    assert transforms.outputs() == {"a.out": "A", "deep/c.out": "C"}


def test_a_manifest_that_is_none_fails_the_job(aws: Any, transforms: Transforms) -> None:
    aws.put_key("list.manifest", "a\nb\n")
    source = {"S3DataType": "ManifestFile", "S3Uri": f"s3://{aws.bucket}/list.manifest"}
    job = transforms.run(transforms.model(), TransformInput={"DataSource": {"S3DataSource": source}})
    assert job["TransformJobStatus"] == "Failed"
    assert job["FailureReason"].startswith(f"ClientError: s3://{aws.bucket}/list.manifest: the manifest is no JSON")


def test_what_the_program_finds(aws: Any, transforms: Transforms) -> None:
    aws.put(in__x="describe")
    name = transforms.start(
        transforms.model(MODE="model", SHARED="model"),
        TransformInput={"ContentType": "image/jpeg"},
        TransformOutput={"Accept": "application/json"},
        Environment={"SHARED": "job"},
        BatchStrategy="SingleRecord",
        MaxPayloadInMB=3,
        MaxConcurrentTransforms=2,
    )
    transforms.finish(name)
    facts = json.loads(transforms.outputs()["x.out"])
    assert (facts["Content-Type"], facts["Accept"]) == ("image/jpeg", "application/json")
    assert facts["files"] == {"weights": "1 2"}
    environment = facts["environment"]
    assert (environment["MODE"], environment["SHARED"]) == ("model", "job")
    told = {name: value for name, value in environment.items() if name.startswith(("SAGEMAKER_BATCH", "SAGEMAKER_MAX"))}
    assert told == {
        "SAGEMAKER_BATCH": "true",
        "SAGEMAKER_BATCH_STRATEGY": "SINGLE_RECORD",
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": "3",
        "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": "2",
    }
    assert transforms.data_log(name) == ["MaxConcurrentTransforms=2, MaxPayloadInMB=3, BatchStrategy=SINGLE_RECORD"]


def test_what_a_request_leaves_out_the_program_is_not_told(aws: Any, transforms: Transforms) -> None:
    aws.put(in__x="describe")
    name = transforms.start(transforms.model())
    transforms.finish(name)
    facts = json.loads(transforms.outputs()["x.out"])
    assert (facts["Content-Type"], facts["Accept"]) == (None, None)
    assert [variable for variable in facts["environment"] if variable.startswith("SAGEMAKER_MAX")] == []
    assert facts["environment"]["SAGEMAKER_BATCH"] == "true"
    assert transforms.data_log(name) == ["MaxConcurrentTransforms=1, MaxPayloadInMB=6, BatchStrategy=MULTI_RECORD"]


@pytest.mark.parametrize(
    ("strategy", "assemble", "output", "requests"),
    [
        ("SingleRecord", "None", "A\nB\nC", ["'a\\n'", "'b\\n'", "'c'"]),
        ("SingleRecord", "Line", "A\nB\nC\n", ["'a\\n'", "'b\\n'", "'c'"]),
        ("MultiRecord", "Line", "A\nB\nC\n", ["'a\\nb\\nc'"]),
        (None, "None", "A\nB\nC", ["'a\\nb\\nc'"]),
    ],
)
def test_lines_as_records(
    aws: Any, transforms: Transforms, strategy: str | None, assemble: str, output: str, requests: list[str]
) -> None:
    aws.put(in__x="a\nb\nc")
    name = transforms.start(
        transforms.model(),
        BatchStrategy=strategy,
        TransformInput={"SplitType": "Line"},
        TransformOutput={"AssembleWith": assemble},
    )
    transforms.finish(name)
    assert transforms.outputs() == {"x.out": output}
    assert [line for line in transforms.log(name) if line.startswith("got")] == [f"got {text}" for text in requests]


def test_compressed_objects_are_unpacked(aws: Any, transforms: Transforms) -> None:
    aws.s3.put_object(Bucket=aws.bucket, Key="in/x.gz", Body=gzip.compress(b"one\ntwo\n"))
    transforms.run(transforms.model(), TransformInput={"CompressionType": "Gzip"})
    assert transforms.outputs() == {"x.gz.out": "ONE\nTWO\n"}


def test_several_instances_share_the_objects(aws: Any, transforms: Transforms) -> None:
    for number in range(5):
        aws.put_key(f"in/{number}", f"text {number}")
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 2}
    name = transforms.start(transforms.model(), TransformResources=resources)
    transforms.finish(name)
    assert transforms.outputs() == {f"{number}.out": f"TEXT {number}" for number in range(5)}
    streams = transforms.streams(name)
    programs = [stream for stream in streams if not stream.endswith("/data-log")]
    assert sorted(streams) == sorted([*programs, *(f"{stream}/data-log" for stream in programs)])
    assert len(programs) == 2
    assert all(re.fullmatch(r"i-[0-9a-f]{17}-\d+", stream) for stream in programs)
    got = [
        [event["message"] for event in log["events"] if event["message"].startswith("got")]
        for log in (
            aws.logs.get_log_events(logGroupName="/aws/sagemaker/TransformJobs", logStreamName=f"{name}/{stream}")
            for stream in programs
        )
    ]
    assert sorted(got, key=len) == [[f"got 'text {n}'" for n in (1, 3)], [f"got 'text {n}'" for n in (0, 2, 4)]]


def test_requests_side_by_side(aws: Any, transforms: Transforms) -> None:
    aws.put(in__a="pair", in__b="pair")
    assert transforms.run(transforms.model(), MaxConcurrentTransforms=2)["TransformJobStatus"] == "Completed"
    assert transforms.outputs() == {"a.out": "paired", "b.out": "paired"}


def test_payloads_of_one_object_side_by_side(aws: Any, transforms: Transforms) -> None:
    aws.put(in__a="pair\npair\n")
    split = {"SplitType": "Line"}
    model = transforms.model()
    transforms.run(model, MaxConcurrentTransforms=2, BatchStrategy="SingleRecord", TransformInput=split)
    assert transforms.outputs() == {"a.out": "pairedpaired"}


def test_the_program_may_say_how_it_wants_to_be_asked(aws: Any, transforms: Transforms) -> None:
    aws.put(in__a="pair\n", in__b="pair\n")
    wish = {"MaxConcurrentTransforms": 2, "BatchStrategy": "SINGLE_RECORD", "MaxPayloadInMB": 1}
    name = transforms.start(transforms.model(PARAMETERS=json.dumps(wish)), MaxPayloadInMB=2)
    assert transforms.finish(name)["TransformJobStatus"] == "Completed"
    assert transforms.data_log(name) == ["MaxConcurrentTransforms=2, MaxPayloadInMB=2, BatchStrategy=SINGLE_RECORD"]


def test_a_wish_that_cannot_be_is_told(aws: Any, transforms: Transforms) -> None:
    aws.put(in__a="x")
    name = transforms.start(transforms.model(PARAMETERS='{"MaxConcurrentTransforms": "many"}'))
    assert transforms.finish(name)["TransformJobStatus"] == "Completed"
    assert "/execution-parameters says MaxConcurrentTransforms 'many'" in transforms.warnings(name)


def test_fields_without_effect_are_told(aws: Any, transforms: Transforms) -> None:
    aws.put(in__a="x")
    name = transforms.start(
        transforms.model(is_isolated=True),
        TransformOutput={"KmsKeyId": "alias/key"},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 9, "VolumeKmsKeyId": "alias/key"},
        DataCaptureConfig={"DestinationS3Uri": f"s3://{aws.bucket}/captured"},
    )
    job = transforms.finish(name)
    assert job["TransformOutput"]["KmsKeyId"] == "alias/key"
    warnings = transforms.warnings(name)
    for part in (
        "TransformOutput.KmsKeyId",
        "VolumeKmsKeyId",
        "DataCaptureConfig",
        "InstanceCount is 9",
        "EnableNetworkIsolation",
    ):
        assert part in warnings


def test_listing(aws: Any, transforms: Transforms) -> None:
    aws.put(in__a="x", bad__a="status 400")
    model = transforms.model()
    prefix = f"list-{model}"
    for number, source in enumerate(["in", "bad", "in"]):
        transforms.run(model, source, TransformJobName=f"{prefix}-{number}")

    def names(**filters: Any) -> list[str]:
        found = aws.sagemaker.list_transform_jobs(NameContains=prefix, **filters)["TransformJobSummaries"]
        return [job["TransformJobName"].removeprefix(f"{prefix}-") for job in found]

    assert names() == ["2", "1", "0"]
    assert names(SortBy="Name", SortOrder="Ascending") == ["0", "1", "2"]
    assert names(StatusEquals="Failed") == ["1"]
    assert names(CreationTimeAfter=datetime.now(UTC)) == []
    first = aws.sagemaker.list_transform_jobs(NameContains=prefix, MaxResults=2)
    second = aws.sagemaker.list_transform_jobs(NameContains=prefix, MaxResults=2, NextToken=first["NextToken"])
    assert [len(page["TransformJobSummaries"]) for page in (first, second)] == [2, 1]
    assert "NextToken" not in second
    (failed,) = aws.sagemaker.list_transform_jobs(NameContains=prefix, StatusEquals="Failed")["TransformJobSummaries"]
    assert failed["FailureReason"] == "ClientError: See job logs for more information"
    assert {"TransformJobArn", "CreationTime", "TransformEndTime", "LastModifiedTime"} < set(failed)
