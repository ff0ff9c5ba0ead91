"""Checkpoints of containers: restored, kept in S3 while these run, and found again after an interruption."""

from __future__ import annotations

import urllib.request
from typing import Any

import pytest

from tests.aws import LOG_GROUP
from tests.docker.conftest import DockerAws

# Told to end, it writes what only its successor finds.
TRAIN = """\
trap 'echo last > last; exit 1' TERM
echo "$(ls -A) and $(ls -A /opt/ml/model)" | tr '\\n' ' '; echo
echo 1 > "$(hostname)"
echo x > /opt/ml/model/x
[ -e last ] && exit 0
while true; do sleep 0.05; done
"""


def objects(aws: DockerAws) -> list[str]:
    prefix = "checkpoints/"
    listed = aws.s3.list_objects_v2(Bucket=aws.bucket, Prefix=prefix).get("Contents", [])
    return [entry["Key"].removeprefix(prefix) for entry in listed]


def streams(aws: DockerAws, name: str) -> dict[str, list[str]]:
    """The lines of each log stream of a job, the engine's own left out."""
    found = aws.logs.describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix=f"{name}/")["logStreams"]
    pages: dict[str, Any] = {
        stream["logStreamName"]: aws.logs.get_log_events(
            logGroupName=LOG_GROUP, logStreamName=stream["logStreamName"], startFromHead=True
        )
        for stream in found
    }
    return {
        stream: [event["message"] for event in page["events"] if not event["message"].startswith("local_aws: ")]
        for stream, page in pages.items()
    }


@pytest.mark.parametrize("path", ["/opt/ml/checkpoints", "/var/state/of job"])
def test_an_interrupted_job_of_several_hosts_goes_on(aws: DockerAws, path: str) -> None:
    aws.put(checkpoints__first="1")
    name = aws.start(
        f"cd '{path}'\n{TRAIN}",
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 5},
        CheckpointConfig={"S3Uri": f"s3://{aws.bucket}/checkpoints", "LocalPath": path},
        EnableManagedSpotTraining=True,
        StoppingCondition={"MaxRuntimeInSeconds": 120, "MaxWaitTimeInSeconds": 120},
    )
    aws.eventually(lambda: objects(aws) == ["algo-1", "algo-2", "first"])
    url = f"{aws.server.endpoint_url}/_local_aws/training-jobs/{name}/interrupt"
    urllib.request.urlopen(urllib.request.Request(url, method="POST")).close()
    job = aws.finish(name)
    assert job["TrainingJobStatus"] == "Completed", streams(aws, name)
    statuses = [transition["Status"] for transition in job["SecondaryStatusTransitions"]]
    assert statuses[2:6] == ["Training", "Interrupted", "Starting", "Downloading"]
    shown = sorted(" ".join(lines).strip() for lines in streams(aws, name).values())
    # What lies in the directory and then in model/, of each host in both attempts.
    assert shown == ["algo-1 algo-2 first last and"] * 2 + ["first and"] * 2
    assert objects(aws) == ["algo-1", "algo-2", "first", "last"]
    assert aws.archive(f"out/{name}/output/model.tar.gz") == {"x": b"x\n"}
    assert aws.containers() == []
    assert aws.networks() == []
