"""Processing jobs from their inputs to their outputs, whatever way they end."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.processing import PROCESSING, Processing

# Copies each input file, in capitals.
CAPITALS = """
cd "$ml/processing/in" && find . -type f | while read -r name; do
  mkdir -p "$ml/processing/out/$(dirname "$name")" && tr a-z A-Z < "$name" > "$ml/processing/out/$name"
done
"""
WAIT = "trap 'echo stopping; exit 0' TERM; echo started; while true; do sleep 0.02; done"


@pytest.fixture
def processing(aws: Any) -> Processing:
    return Processing(aws)


def test_inputs_become_outputs(aws: Any, processing: Processing) -> None:
    aws.put(in__a="one", in__deep__b="two", other="three")
    request = processing.request(CAPITALS, inputs=[processing.input()], outputs=[processing.output()])
    arn = aws.sagemaker.create_processing_job(**request)["ProcessingJobArn"]
    job = processing.finish(request["ProcessingJobName"])
    assert (job["ProcessingJobStatus"], job["ProcessingJobArn"]) == ("Completed", arn)
    assert job["CreationTime"] <= job["ProcessingStartTime"] <= job["ProcessingEndTime"] <= job["LastModifiedTime"]
    assert {name: job[name] for name in request} == request
    assert processing.outputs() == {"a": "ONE", "deep/b": "TWO"}


def test_a_manifest_names_the_objects(aws: Any, processing: Processing) -> None:
    aws.put(in__a="one", in__b="two", manifest=json.dumps([{"prefix": f"s3://{aws.bucket}/in/"}, "b"]))
    inputs = [processing.input("in", "manifest", S3DataType="ManifestFile")]
    assert processing.run(CAPITALS, inputs=inputs, outputs=[processing.output()])["ProcessingJobStatus"] == "Completed"
    assert processing.outputs() == {"b": "TWO"}


def test_hosts_share_the_keys(aws: Any, processing: Processing) -> None:
    aws.put(all__x="x", **{f"in__{name}": name for name in "abcde"})
    script = """
host=$(sed -n 's/.*"current_host": "\\(.*\\)".*/\\1/p' "$ml/config/resourceconfig.json")
(cd "$ml/processing/in" && ls; cd "$ml/processing/all" && ls) > "$ml/processing/out/${host##*.}"
"""
    name = processing.start(
        script,
        cluster={"InstanceCount": 2},
        inputs=[processing.input(S3DataDistributionType="ShardedByS3Key"), processing.input("all", "all")],
        outputs=[processing.output()],
    )
    assert processing.finish(name)["ProcessingJobStatus"] == "Completed"
    shares = [content.split() for content in processing.outputs().values()]
    assert len(shares) == 2
    assert [share.pop() for share in shares] == ["x", "x"]
    assert sorted(map(len, shares)) == [2, 3]
    assert sorted(key for share in shares for key in share) == list("abcde")
    streams = [re.sub(r"\d+$", "EPOCH", stream) for stream in processing.streams(name)]
    assert streams == [f"{name}/algo-1-EPOCH", f"{name}/algo-2-EPOCH"]


def test_what_the_program_is_told(aws: Any, processing: Processing) -> None:
    aws.put(in__a="one")
    name = processing.start(
        'cat "$ml/config/processingjobconfig.json"; echo; echo --; cat "$ml/config/resourceconfig.json"\n'
        'echo --; echo "$COLOR $AWS_REGION $AWS_ENDPOINT_URL $1 $2"',
        application={"ContainerArguments": ["--wide", "2"]},
        Environment={"COLOR": "blue"},
        inputs=[processing.input()],
        outputs=[processing.output()],
    )
    job = processing.finish(name)
    config, resources, line = "\n".join(processing.log(name)).split("\n--\n")
    written = json.loads(config)
    fields = ("ProcessingJobArn", "ProcessingJobName", "AppSpecification", "ProcessingInputs", "ProcessingResources")
    assert {field: written[field] for field in fields} == {field: job[field] for field in fields}
    assert json.loads(resources) == {"current_host": "algo-1", "hosts": ["algo-1"]}
    assert line == f"blue eu-central-1 {aws.server.endpoint_url} --wide 2"


@pytest.mark.slow
def test_a_continuous_output_comes_while_the_program_runs(aws: Any, processing: Processing) -> None:
    outputs = [processing.output(S3UploadMode="Continuous"), processing.output("late")]
    script = f'echo 1 > "$ml/processing/out/first"; echo 1 > "$ml/processing/late/first"; {WAIT}'
    name = processing.start(script, outputs=outputs)
    aws.eventually(lambda: processing.outputs() == {"first": "1\n"})
    assert processing.outputs("late/") == {}
    aws.sagemaker.stop_processing_job(ProcessingJobName=name)
    assert processing.finish(name)["ProcessingJobStatus"] == "Stopped"
    assert processing.outputs("late/") == {"first": "1\n"}


def test_a_failed_job_says_why_and_keeps_what_it_wrote(processing: Processing) -> None:
    script = 'echo part > "$ml/processing/out/part"; printf "no room" > "$ml/output/message"; exit 7'
    job = processing.run(script, outputs=[processing.output()])
    assert (job["ProcessingJobStatus"], job["FailureReason"]) == ("Failed", "AlgorithmError: , exit code: 7")
    assert job["ExitMessage"] == "no room"
    assert processing.outputs() == {"part": "part\n"}


def test_messages_of_hosts_come_together(processing: Processing) -> None:
    script = 'head -c 700 /dev/zero | tr "\\0" x > "$ml/output/message"'
    job = processing.run(script, cluster={"InstanceCount": 2})
    assert (job["ProcessingJobStatus"], job["ExitMessage"]) == ("Completed", "x" * 1024)


def test_a_message_must_be_text(processing: Processing) -> None:
    job = processing.run("printf '\\377' > \"$ml/output/message\"")
    assert job["ProcessingJobStatus"] == "Failed"
    assert "ClientError: the text in /opt/ml/output/message is not UTF-8" in job["FailureReason"]


def test_one_failed_host_ends_the_others(processing: Processing) -> None:
    script = f'grep -q "current_host.*1\\"" "$ml/config/resourceconfig.json" && exit 3; {WAIT}'
    job = processing.run(script, cluster={"InstanceCount": 2})
    assert job["FailureReason"] == "AlgorithmError: , exit code: 3"


def test_a_stopped_job(aws: Any, processing: Processing) -> None:
    name = processing.start(WAIT)
    aws.eventually(lambda: processing.log(name) == ["started"])
    aws.sagemaker.stop_processing_job(ProcessingJobName=name)
    job = processing.finish(name)
    assert job["ProcessingJobStatus"] == "Stopped"
    assert "FailureReason" not in job
    assert processing.log(name) == ["started", "stopping"]
    assert list((aws.server.home / "jobs").iterdir()) == []


@pytest.mark.slow
def test_a_job_that_takes_too_long_is_stopped(processing: Processing) -> None:
    job = processing.run(WAIT, StoppingCondition={"MaxRuntimeInSeconds": 1})
    assert job["ProcessingJobStatus"] == "Stopped"


def test_links_and_files_of_the_same_name(processing: Processing) -> None:
    name = processing.start(
        'cd "$ml/processing/out" && echo x > file && ln -s /etc/passwd link',
        cluster={"InstanceCount": 2},
        outputs=[processing.output()],
    )
    assert processing.finish(name)["ProcessingJobStatus"] == "Completed"
    assert processing.outputs() == {"file": "x\n"}
    assert "2 hosts wrote file of the output out" in processing.warnings(name)


def test_a_bucket_that_goes_away(aws: Any, processing: Processing) -> None:
    aws.s3.create_bucket(Bucket=f"{aws.bucket}.gone", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    output = processing.output(S3Uri=f"s3://{aws.bucket}.gone/out")
    name = processing.start(
        f'trap "echo x > $ml/processing/out/x; exit 0" TERM; {WAIT[WAIT.index("echo started") :]}', outputs=[output]
    )
    aws.eventually(lambda: processing.log(name) == ["started"])
    aws.s3.delete_bucket(Bucket=f"{aws.bucket}.gone")
    aws.sagemaker.stop_processing_job(ProcessingJobName=name)
    job = processing.finish(name)
    assert job["ProcessingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: Failed to upload output: the file ")


def test_what_has_no_effect_is_told(aws: Any, processing: Processing) -> None:
    name = processing.start(
        "true",
        ExperimentConfig={"ExperimentName": "e"},
        NetworkConfig={
            "EnableNetworkIsolation": True,
            "VpcConfig": {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]},
        },
        ProcessingOutputConfig={"Outputs": [], "KmsKeyId": "key"},
        cluster={"VolumeKmsKeyId": "key"},
    )
    assert processing.finish(name)["ProcessingJobStatus"] == "Completed"
    warnings = processing.warnings(name)
    for field in (
        "ExperimentConfig",
        "NetworkConfig.VpcConfig",
        "NetworkConfig.EnableNetworkIsolation",
        "ProcessingOutputConfig.KmsKeyId",
        "ProcessingResources.ClusterConfig.VolumeKmsKeyId",
    ):
        assert field in warnings


def test_jobs_are_listed_tagged_and_deleted(aws: Any, processing: Processing) -> None:
    first = processing.run("true", Tags=[{"Key": "Project", "Value": "flowers"}])
    second = processing.run("exit 1")
    sagemaker = aws.sagemaker
    names = [first["ProcessingJobName"], second["ProcessingJobName"]]
    listed = sagemaker.list_processing_jobs(NameContains="processing-", MaxResults=2)["ProcessingJobSummaries"]
    assert [entry["ProcessingJobName"] for entry in listed] == names[::-1]
    assert listed[0]["FailureReason"] == "AlgorithmError: , exit code: 1"
    failed = sagemaker.list_processing_jobs(StatusEquals="Failed", MaxResults=1)["ProcessingJobSummaries"]
    assert [entry["ProcessingJobName"] for entry in failed] == names[1:]
    assert sagemaker.list_tags(ResourceArn=first["ProcessingJobArn"])["Tags"] == [
        {"Key": "Project", "Value": "flowers"}
    ]
    sagemaker.delete_processing_job(ProcessingJobName=names[0])
    left = sagemaker.list_processing_jobs(NameContains=names[0])["ProcessingJobSummaries"]
    assert names[0] not in [entry["ProcessingJobName"] for entry in left]


def test_jobs_end_with_their_server(own_aws: Any) -> None:
    processing = Processing(own_aws)
    name = processing.start(WAIT)
    own_aws.eventually(lambda: processing.log(name) == ["started"])
    own_aws.server.process.terminate()
    assert own_aws.server.process.wait(20) == 0
    assert not (own_aws.server.home / "jobs").exists()


def test_an_object_that_is_no_path(aws: Any, processing: Processing) -> None:
    aws.put_key("in/../../etc/passwd")
    job = processing.run("true", inputs=[processing.input()])
    assert job["FailureReason"].startswith(f"ClientError: Data download failed: input in (s3://{aws.bucket}/in): ")
    assert PROCESSING not in job["FailureReason"]
