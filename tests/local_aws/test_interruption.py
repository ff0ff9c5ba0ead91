"""Spot jobs whose capacity is taken away on request, and who go on elsewhere."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.aws import LOG_GROUP, Aws, start_in_foreground

pytestmark = pytest.mark.slow

# Counts its attempts in a checkpoint; the one that finds `last` of them ends by itself, the others when they are told.
COUNTING = """\
#!/usr/bin/env python3
import os, pathlib, signal, sys, time

base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
count = base / "checkpoints" / "count"
attempt = int(count.read_text()) + 1 if count.exists() else 1
found = sorted(path.name for path in base.glob("model/*"))
model = base / "model" / f"of-attempt-{attempt}"
model.write_text("x")


def stop(number, frame):
    count.write_text(str(attempt))
    sys.exit({exit_code})


signal.signal(signal.SIGTERM, stop)
print("attempt", attempt, (base / "input/data/training/1").read_text(), found, flush=True)
while attempt <= {interruptions}:
    time.sleep(0.02)
"""


def interrupt(aws: Any, name: str, query: str = "", method: str = "POST") -> tuple[int, str]:
    """Asks for an interruption; the status and the text of the answer."""
    url = f"{aws.server.endpoint_url}/_local_aws/training-jobs/{name}/interrupt{query}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def spot(aws: Any, interruptions: int, exit_code: int = 0, max_wait: int = 60, **changes: Any) -> str:
    """Starts a spot job that ends by itself after so many interruptions."""
    aws.put(training__1="image")
    return aws.start(
        COUNTING.replace("{exit_code}", str(exit_code)).replace("{interruptions}", str(interruptions)),
        InputDataConfig=[aws.channel("training", "training")],
        CheckpointConfig={"S3Uri": f"s3://{aws.bucket}/checkpoints/"},
        EnableManagedSpotTraining=True,
        StoppingCondition={"MaxRuntimeInSeconds": max_wait, "MaxWaitTimeInSeconds": max_wait},
        **changes,
    )


def streams(aws: Any, name: str) -> list[list[str]]:
    """The lines of each attempt's log stream, the engine's own left out."""
    found = aws.logs.describe_log_streams(logGroupName=LOG_GROUP, logStreamNamePrefix=f"{name}/algo-1-")["logStreams"]
    pages = [
        aws.logs.get_log_events(logGroupName=LOG_GROUP, logStreamName=stream["logStreamName"], startFromHead=True)
        for stream in sorted(found, key=lambda stream: stream["logStreamName"])
    ]
    return [
        [event["message"] for event in page["events"] if not event["message"].startswith("local_aws: ")]
        for page in pages
    ]


def wait_for_attempt(aws: Any, name: str, number: int) -> None:
    aws.eventually(lambda: aws.stream(name) and len(streams(aws, name)) == number and streams(aws, name)[-1])


@pytest.mark.parametrize("exit_code", [0, 7])
def test_an_interrupted_job_goes_on_from_its_checkpoint_on_fresh_instances(aws: Any, exit_code: int) -> None:
    name = spot(aws, interruptions=2, exit_code=exit_code)
    for attempt in (1, 2):
        wait_for_attempt(aws, name, attempt)
        assert interrupt(aws, name)[0] == 200
    job = aws.finish(name)
    assert job["TrainingJobStatus"] == "Completed"
    attempt = ["Starting", "Downloading", "Training"]
    statuses = [transition["Status"] for transition in job["SecondaryStatusTransitions"]]
    assert statuses == [*attempt, "Interrupted", *attempt, "Interrupted", *attempt, "Uploading", "Completed"]
    assert all(transition["StatusMessage"] for transition in job["SecondaryStatusTransitions"])
    assert streams(aws, name) == [[f"attempt {number} image []"] for number in (1, 2, 3)]
    assert aws.archive(f"out/{name}/output/model.tar.gz") == {"of-attempt-3": b"x"}


def test_an_interruption_leaves_no_result_and_the_time_of_all_attempts_counts(aws: Any) -> None:
    name = spot(aws, interruptions=1)
    wait_for_attempt(aws, name, 1)
    begun = aws.describe(name)["TrainingStartTime"]
    assert interrupt(aws, name)[0] == 200
    wait_for_attempt(aws, name, 2)
    job = aws.finish(name)
    assert job["TrainingStartTime"] == begun
    intervals = [
        (transition["EndTime"] - transition["StartTime"]).total_seconds()
        for transition in job["SecondaryStatusTransitions"]
        if transition["Status"] in ("Downloading", "Training", "Uploading")
    ]
    assert sum(intervals) <= job["TrainingTimeInSeconds"] < sum(intervals) + 1.1
    assert 1 <= job["BillableTimeInSeconds"] <= job["TrainingTimeInSeconds"]


def test_spot_capacity_is_billed_for_less_time_than_it_ran(aws: Any) -> None:
    job = aws.run(
        "sleep 2",
        EnableManagedSpotTraining=True,
        StoppingCondition={"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60},
    )
    assert 1 <= job["BillableTimeInSeconds"] < job["TrainingTimeInSeconds"]


def test_a_program_that_ignores_the_signal_is_killed_and_begins_anew_without_checkpoints(aws: Any) -> None:
    name = aws.start(
        'trap "" TERM; ls "$SAGEMAKER_BASE_DIR"; touch "$SAGEMAKER_BASE_DIR/model/x"; while true; do sleep 0.02; done',
        EnableManagedSpotTraining=True,
        StoppingCondition={"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60},
    )
    wait_for_attempt(aws, name, 1)
    assert interrupt(aws, name)[0] == 200
    wait_for_attempt(aws, name, 2)
    assert streams(aws, name) == [["input", "model", "output"]] * 2
    aws.sagemaker.stop_training_job(TrainingJobName=name)
    assert aws.finish(name)["SecondaryStatus"] == "Stopped"


def test_the_wait_time_counts_over_all_attempts(aws: Any) -> None:
    name = spot(aws, interruptions=9, max_wait=6)
    wait_for_attempt(aws, name, 1)
    assert interrupt(aws, name)[0] == 200
    job = aws.finish(name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxWaitTimeExceeded")
    statuses = [transition["Status"] for transition in job["SecondaryStatusTransitions"]]
    assert statuses[-4:] == ["Training", "Stopping", "Uploading", "MaxWaitTimeExceeded"]
    message = "Training job wait time exceeded MaxWaitTimeInSeconds provided"
    assert job["SecondaryStatusTransitions"][-1]["StatusMessage"] == message


@pytest.fixture
def patient_aws(tmp_path: Path) -> Iterator[Aws]:
    """A server that gives a program a minute to end."""
    server = start_in_foreground(tmp_path / "home", LOCAL_AWS_STOP_GRACE_SECONDS="60")
    yield Aws(server, tmp_path)
    server.process.terminate()
    assert server.process.wait(20) == 0


def test_a_job_that_is_stopped_while_it_is_interrupted_is_stopped(patient_aws: Aws) -> None:
    aws = patient_aws
    name = aws.start(
        """
        trap 'echo told; until [ -e "$HOME/../go" ]; do sleep 0.02; done; exit 0' TERM
        touch "$SAGEMAKER_BASE_DIR/model/x"
        echo ready
        while true; do sleep 0.02; done
        """,
        EnableManagedSpotTraining=True,
        StoppingCondition={"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60},
    )
    wait_for_attempt(aws, name, 1)
    assert interrupt(aws, name) == (200, f"the capacity of {name} is taken away, if it is still training\n")
    assert interrupt(aws, name) == (409, f"{name} is being interrupted already\n")
    aws.eventually(lambda: aws.lines(name) == ["ready", "told"])
    aws.sagemaker.stop_training_job(TrainingJobName=name)
    (home,) = aws.server.home.glob("jobs/*/1/home")
    (home.parent / "go").touch()
    job = aws.finish(name)
    assert job["SecondaryStatus"] == "Stopped"
    assert "Interrupted" not in [transition["Status"] for transition in job["SecondaryStatusTransitions"]]
    assert aws.archive(f"out/{name}/output/model.tar.gz") == {"x": b""}


class TestRefusals:
    def test_a_job_that_is_no_spot_job(self, aws: Any) -> None:
        name = aws.start("echo ready; while true; do sleep 0.02; done")
        aws.eventually(lambda: aws.lines(name) == ["ready"])
        status, text = interrupt(aws, name)
        assert (status, text.count("\n")) == (409, 1)
        assert f"{name} is no spot job (EnableManagedSpotTraining)" in text
        aws.sagemaker.stop_training_job(TrainingJobName=name)
        aws.finish(name)

    def test_a_job_that_is_over(self, aws: Any) -> None:
        name = spot(aws, interruptions=0)
        aws.finish(name)
        assert interrupt(aws, name) == (
            409,
            f"{name} is Completed: only a job that is Training can be interrupted\n",
        )

    def test_a_job_that_is_not_there(self, aws: Any) -> None:
        assert interrupt(aws, "nothing") == (404, "there is no training job nothing\n")
        name = spot(aws, interruptions=0)
        assert interrupt(aws, name, "?region=us-west-2")[0] == 404
        aws.finish(name)

    def test_what_is_no_such_request(self, aws: Any) -> None:
        assert interrupt(aws, "nothing", method="GET")[0] == 405
        assert interrupt(aws, "a/b")[0] == 404
