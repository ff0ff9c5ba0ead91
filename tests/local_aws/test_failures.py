"""Jobs that fail: with a reason that tells why, and with nothing in the output bucket."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("train", "reason"),
    [
        ("exit 3", "AlgorithmError: , exit code: 3"),
        (
            'echo "Channel training has no images." > "$SAGEMAKER_BASE_DIR/output/failure"; exit 1',
            "AlgorithmError: Channel training has no images., exit code: 1",
        ),
        (
            '#!/usr/bin/env python3\nraise OSError("an error without errno")',
            "AlgorithmError: , exit code: 1",
        ),
        ("kill -SEGV $$", f"AlgorithmError: , exit code: {128 + signal.SIGSEGV}"),
        ("kill -KILL $$", "AlgorithmError: , exit code: 137"),
        ("#!/no/such/interpreter", "AlgorithmError: , exit code: 127"),
        ('mkdir "$SAGEMAKER_BASE_DIR/output/failure"; exit 2', "AlgorithmError: , exit code: 2"),
        ('mkfifo "$SAGEMAKER_BASE_DIR/output/failure"; exit 2', "AlgorithmError: , exit code: 2"),
        ('ln -s /etc/hostname "$SAGEMAKER_BASE_DIR/output/failure"; exit 2', "AlgorithmError: , exit code: 2"),
    ],
    ids=["no file", "file", "OSError", "crash", "killed", "no interpreter", "a directory", "a pipe", "a link"],
)
def test_the_failure_reason(aws: Any, train: str, reason: str) -> None:
    job = aws.run(train)
    assert job["TrainingJobStatus"] == job["SecondaryStatus"] == "Failed"
    assert job["FailureReason"] == reason
    assert job["SecondaryStatusTransitions"][-1]["StatusMessage"] == "Training job failed"


def test_a_long_failure_file_is_cut_to_what_the_service_allows(aws: Any) -> None:
    job = aws.run(
        "#!/usr/bin/env python3\n"
        "import os, sys\n"
        'open(os.environ["SAGEMAKER_BASE_DIR"] + "/output/failure", "w").write("ä" * 5000)\n'
        "sys.exit(1)"
    )
    reason = job["FailureReason"]
    assert len(reason) == 1024
    assert reason.startswith("AlgorithmError: äää")
    assert reason.endswith("ä, exit code: 1")


def test_a_failed_job_uploads_nothing_but_keeps_log_and_metrics(aws: Any) -> None:
    image = aws.push(aws.image_directory('echo loss=7; echo x > "$SAGEMAKER_BASE_DIR/model/weights"; exit 1'))
    algorithm = {
        "TrainingImage": image,
        "TrainingInputMode": "File",
        "MetricDefinitions": [{"Name": "loss", "Regex": "loss=(.*)"}],
    }
    request = aws.request(image, AlgorithmSpecification=algorithm)
    aws.sagemaker.create_training_job(**request)
    job = aws.finish(request["TrainingJobName"])
    assert aws.keys() == []
    assert aws.lines(request["TrainingJobName"]) == ["loss=7"]
    assert job["FinalMetricDataList"][0]["Value"] == 7


def test_a_program_that_is_not_in_the_image_is_named_in_the_log(aws: Any) -> None:
    image = aws.push(aws.image_directory("true"))
    algorithm = {"TrainingImage": image, "TrainingInputMode": "File", "ContainerEntrypoint": ["no-such-program"]}
    request = aws.request(image, AlgorithmSpecification=algorithm)
    aws.sagemaker.create_training_job(**request)
    job = aws.finish(request["TrainingJobName"])
    assert job["FailureReason"] == "AlgorithmError: , exit code: 127"
    assert aws.lines(request["TrainingJobName"]) == ['exec: "no-such-program": executable file not found in $PATH']


@pytest.mark.parametrize("key", ["data/../../../escaped", "data/a/../b", "data/./a", "data/.."])
def test_a_key_that_would_leave_the_channel_fails_the_job(aws: Any, key: str) -> None:
    aws.put_key("data/good")
    aws.put_key(key)
    job = aws.run("true", InputDataConfig=[aws.channel("training", "data/")])
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: Data download failed: channel training")
    assert key in job["FailureReason"]
    assert [transition["Status"] for transition in job["SecondaryStatusTransitions"]][-2:] == ["Downloading", "Failed"]


def test_keys_that_need_the_same_path_fail_the_job(aws: Any) -> None:
    aws.put(data__a="file", data__a__b="in a folder")
    job = aws.run("true", InputDataConfig=[aws.channel("training", "data")])
    assert "'data/a' would be a file where 'data/a/b' needs a folder" in job["FailureReason"]


def test_a_name_that_no_file_can_have_fails_the_job(aws: Any) -> None:
    aws.put_key("data/" + "n" * 300)
    job = aws.run("true", InputDataConfig=[aws.channel("training", "data")])
    assert "File name too long" in job["FailureReason"]


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        ("no json", "the manifest is no JSON list"),
        ('[{"prefix": "s3://BUCKET/data/"}]', "must name at least one object"),
        ('[{"prefix": "s3://BUCKET/data/"}, "missing"]', "there is no object s3://BUCKET/data/missing"),
        ('[{"prefix": "s3://BUCKET/"}, "data/../secret"]', "is no name of a file below"),
    ],
)
def test_a_bad_manifest_fails_the_job(aws: Any, manifest: str, reason: str) -> None:
    aws.put(secret="x", list=manifest.replace("BUCKET", aws.bucket))
    source = {"S3DataType": "ManifestFile", "S3Uri": f"s3://{aws.bucket}/list"}
    job = aws.run("true", InputDataConfig=[{"ChannelName": "a", "DataSource": {"S3DataSource": source}}])
    assert reason.replace("BUCKET", aws.bucket) in job["FailureReason"]


def test_a_manifest_names_the_files_of_a_channel(aws: Any) -> None:
    names = ["cats/1", "dogs/2"]
    aws.put(data__cats__1="cat", data__dogs__2="dog", data__dogs__3="left out")
    aws.put(list=json.dumps([{"prefix": f"s3://{aws.bucket}/data/"}, *names]))
    source = {"S3DataType": "ManifestFile", "S3Uri": f"s3://{aws.bucket}/list"}
    name = aws.start(
        'cd "$SAGEMAKER_BASE_DIR/input/data/a"; find . -type f | sort',
        InputDataConfig=[{"ChannelName": "a", "DataSource": {"S3DataSource": source}}],
    )
    aws.finish(name)
    assert aws.lines(name) == [f"./{path}" for path in names]


def test_an_output_bucket_that_vanishes_fails_the_upload(aws: Any) -> None:
    train = 'echo ready; while ! [ -e "$HOME/../go" ]; do sleep 0.02; done; echo x > "$SAGEMAKER_BASE_DIR/model/w"'
    name = aws.start(train)
    aws.eventually(lambda: aws.lines(name) == ["ready"])
    aws.s3.delete_bucket(Bucket=aws.bucket)
    (own,) = (aws.server.home / "jobs").glob("*/1")
    (own / "go").touch()
    job = aws.finish(name)
    assert job["FailureReason"].startswith("ClientError: Artifact upload failed")
