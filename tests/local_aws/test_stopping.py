"""Jobs that are stopped: by request, by their run time, and with their server."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

GRACEFUL = """\
trap 'echo stopping; echo half > "$SAGEMAKER_BASE_DIR/model/weights"; exit 0' TERM
echo ready
while true; do sleep 0.02; done
"""

STUBBORN = """\
trap '' TERM
echo early > "$SAGEMAKER_BASE_DIR/model/weights"
echo ready
while true; do sleep 0.02; done
"""

# A child and a grandchild that left the program's session, as a daemon does.
WITH_CHILDREN = """\
#!/usr/bin/env python3
import os, subprocess, sys, time
detached = subprocess.Popen(["sleep", "600"], start_new_session=True)
nested = subprocess.Popen(["sh", "-c", "setsid sleep 600 & echo $!; exec sleep 600"], stdout=subprocess.PIPE, text=True)
print(os.getpid(), os.getppid(), detached.pid, nested.pid, nested.stdout.readline().strip(), flush=True)
if sys.argv[1:] == ["wait"]:
    time.sleep(600)
"""


def alive(process: int) -> bool:
    """Whether a process runs; a zombie, which nobody may have reaped yet, does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def stopped(aws: Any, train: str) -> dict[str, Any]:
    name = aws.start(train)
    aws.eventually(lambda: aws.lines(name) == ["ready"])
    aws.sagemaker.stop_training_job(TrainingJobName=name)
    assert aws.describe(name)["TrainingJobStatus"] in ("Stopping", "Stopped")
    return aws.finish(name)


def test_a_stopped_program_may_save_what_it_has(aws: Any) -> None:
    job = stopped(aws, GRACEFUL)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    statuses = [transition["Status"] for transition in job["SecondaryStatusTransitions"]]
    assert statuses == ["Starting", "Downloading", "Training", "Stopping", "Uploading", "Stopped"]
    name = job["TrainingJobName"]
    assert aws.lines(name) == ["ready", "stopping"]
    assert aws.archive(f"out/{name}/output/model.tar.gz") == {"weights": b"half\n"}
    assert "FailureReason" not in job


def test_a_program_that_ignores_sigterm_is_killed_after_the_grace(aws: Any) -> None:
    job = stopped(aws, STUBBORN)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    stopping = next(entry for entry in job["SecondaryStatusTransitions"] if entry["Status"] == "Stopping")
    assert 0.5 <= (stopping["EndTime"] - stopping["StartTime"]).total_seconds() < 5
    assert aws.archive(f"out/{job['TrainingJobName']}/output/model.tar.gz") == {"weights": b"early\n"}


def test_the_signal_goes_to_the_program_and_not_to_what_it_started(aws: Any) -> None:
    job = stopped(
        aws,
        """
        sh -c 'trap "echo child got it" TERM; while true; do sleep 0.02; done' &
        trap 'sleep 0.2; exit 0' TERM
        echo ready
        while true; do sleep 0.02; done
        """,
    )
    assert aws.lines(job["TrainingJobName"]) == ["ready"]


def test_the_run_time_is_limited(aws: Any) -> None:
    job = aws.run(GRACEFUL, StoppingCondition={"MaxRuntimeInSeconds": 1})
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    message = "Training job runtime exceeded MaxRuntimeInSeconds provided"
    assert job["SecondaryStatusTransitions"][-1]["StatusMessage"] == message
    assert job["BillableTimeInSeconds"] >= 1
    assert aws.archive(f"out/{job['TrainingJobName']}/output/model.tar.gz") == {"weights": b"half\n"}


def test_a_job_that_has_ended_cannot_be_stopped(aws: Any) -> None:
    name = aws.start("true")
    aws.finish(name)
    with pytest.raises(ClientError, match="because the training job is in status Completed") as caught:
        aws.sagemaker.stop_training_job(TrainingJobName=name)
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_a_job_that_runs_cannot_be_deleted(aws: Any) -> None:
    name = aws.start(GRACEFUL)
    with pytest.raises(aws.sagemaker.exceptions.ResourceInUse):
        aws.sagemaker.delete_training_job(TrainingJobName=name)
    aws.sagemaker.stop_training_job(TrainingJobName=name)
    aws.finish(name)


def test_what_a_program_leaves_running_ends_with_it(aws: Any) -> None:
    name = aws.start(WITH_CHILDREN)
    job = aws.finish(name)
    assert job["TrainingJobStatus"] == "Completed"
    (line,) = aws.lines(name)
    processes = [int(word) for word in line.split()]
    assert len(processes) == 5
    aws.eventually(lambda: not any(alive(process) for process in processes))


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_program_outlives_the_server(own_aws: Any, signal_number: int) -> None:
    image = own_aws.push(own_aws.image_directory(WITH_CHILDREN))
    algorithm = {"TrainingImage": image, "TrainingInputMode": "File", "ContainerEntrypoint": ["train", "wait"]}
    request = own_aws.request(image, AlgorithmSpecification=algorithm)
    own_aws.sagemaker.create_training_job(**request)
    (line,) = own_aws.eventually(lambda: own_aws.lines(request["TrainingJobName"]))
    processes = [int(word) for word in line.split()]
    assert all(alive(process) for process in processes)
    os.kill(own_aws.server.process.pid, signal_number)
    own_aws.server.process.wait(20)
    own_aws.eventually(lambda: not any(alive(process) for process in processes))
    if signal_number != signal.SIGKILL:
        assert not list((own_aws.server.home).glob("jobs/*"))


def test_the_program_dies_with_its_supervisor(aws: Any) -> None:
    image = aws.push(aws.image_directory(WITH_CHILDREN))
    algorithm = {"TrainingImage": image, "TrainingInputMode": "File", "ContainerEntrypoint": ["train", "wait"]}
    request = aws.request(image, AlgorithmSpecification=algorithm)
    aws.sagemaker.create_training_job(**request)
    (line,) = aws.eventually(lambda: aws.lines(request["TrainingJobName"]))
    program, supervisor, *rest = (int(word) for word in line.split())
    os.kill(supervisor, signal.SIGKILL)
    aws.eventually(lambda: not alive(program))
    for process in rest:
        os.kill(process, signal.SIGKILL)
    assert aws.finish(request["TrainingJobName"])["FailureReason"] == "AlgorithmError: , exit code: 137"
