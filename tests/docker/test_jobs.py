"""Training jobs as containers: what a program finds there, how it ends, and what is left of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.docker.conftest import DockerAws

GRACEFUL = """\
trap 'echo stopping; echo half > /opt/ml/model/weights; exit 0' TERM
echo "ready as process $$"
while true; do sleep 0.02; done
"""

STUBBORN = """\
trap '' TERM
echo early > /opt/ml/model/weights
echo "ready as process $$"
while true; do sleep 0.02; done
"""


def test_a_job_completes_and_leaves_its_artifacts(aws: DockerAws) -> None:
    aws.put(training__cats__1="cat")
    job = aws.run(
        """
        cat /opt/ml/input/data/training/cats/1 > /opt/ml/model/weights
        mkdir /opt/ml/output/data/sub && echo extra > /opt/ml/output/data/sub/extra.txt
        """,
        InputDataConfig=[aws.channel("training", "training")],
    )
    assert job["TrainingJobStatus"] == "Completed"
    name = job["TrainingJobName"]
    assert aws.archive(f"out/{name}/output/model.tar.gz") == {"weights": b"cat"}
    assert aws.archive(f"out/{name}/output/output.tar.gz") == {"sub/extra.txt": b"extra\n"}
    assert aws.warnings(name) == ""


def test_the_program_is_told_its_job(aws: DockerAws) -> None:
    name = aws.start(
        "cd /opt/ml/input/config; for f in hyperparameters resourceconfig; do tr -d '\\n' < $f.json; echo; done",
        HyperParameters={"training.epochs": "3"},
    )
    aws.finish(name)
    hyperparameters, resources = (json.loads(line) for line in aws.lines(name))
    assert hyperparameters == {"training.epochs": "3"}
    assert resources["current_instance_type"] == resources["instance_groups"][0]["instance_type"] == "local"
    assert resources["current_host"] == "algo-1"
    assert aws.log(name)[0] == "local_aws: ml.m5.large: this machine stands in for it"


@pytest.mark.parametrize("isolated", [False, True])
def test_the_environment_is_that_of_the_image_and_of_the_request(aws: DockerAws, isolated: bool) -> None:
    directory = aws.image_directory("env; pwd")
    (directory / "Dockerfile").write_text(
        f"FROM {aws.base_image}\nCOPY train /usr/local/bin/train\nENV KEPT=1 CHANGED=old\nWORKDIR /opt/program\n"
    )
    request = aws.request(
        aws.push(directory), Environment={"CHANGED": "new", "ADDED": "two words"}, EnableNetworkIsolation=isolated
    )
    aws.sagemaker.create_training_job(**request)
    job = aws.finish(request["TrainingJobName"])
    *variables, working_directory = aws.lines(job["TrainingJobName"])
    environment = dict(line.split("=", 1) for line in variables)
    assert "/usr/local/bin" in environment.pop("PATH")
    for shells_own in ("PWD", "SHLVL", "_", "OLDPWD"):
        environment.pop(shells_own, None)
    # No endpoint and no credentials: the server cannot be reached from a container.
    assert environment == {
        "KEPT": "1",
        "CHANGED": "new",
        "ADDED": "two words",
        "HOME": "/root",
        "HOSTNAME": "algo-1",
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "TRAINING_JOB_NAME": job["TrainingJobName"],
        "TRAINING_JOB_ARN": job["TrainingJobArn"],
    }
    assert working_directory == "/opt/program"
    told = [line for line in aws.log(job["TrainingJobName"]) if "AWS_ENDPOINT_URL" in line]
    assert len(told) == (0 if isolated else 1)


def test_entrypoint_and_arguments_are_those_of_docker_run(aws: DockerAws) -> None:
    directory = aws.image_directory('echo "train: $@"')
    (directory / "Dockerfile").write_text(
        f"FROM {aws.base_image}\nCOPY train /usr/local/bin/\n"
        'ENTRYPOINT ["sh", "-c", "echo entrypoint: $0 $@"]\nCMD ["command"]\n'
    )
    image = aws.push(directory)
    cases = [
        ({}, "entrypoint: train"),
        ({"ContainerArguments": ["a b", "c"]}, "entrypoint: a b c"),
        ({"ContainerEntrypoint": ["train"]}, "train: "),
        ({"ContainerEntrypoint": ["train", "a b"], "ContainerArguments": ["c"]}, "train: a b c"),
    ]
    for changes, expected in cases:
        algorithm = {"TrainingImage": image, "TrainingInputMode": "File", **changes}
        request = aws.request(image, AlgorithmSpecification=algorithm)
        aws.sagemaker.create_training_job(**request)
        aws.finish(request["TrainingJobName"])
        assert aws.lines(request["TrainingJobName"]) == [expected]


def test_fast_file_is_read_only_even_for_root(aws: DockerAws) -> None:
    aws.put(data__1="x")
    name = aws.start(
        "cd /opt/ml/input/data; for c in fast slow; do touch $c/new 2>/dev/null && echo $c; done; cat fast/1",
        InputDataConfig=[aws.channel("fast", "data", InputMode="FastFile"), aws.channel("slow", "data")],
    )
    aws.finish(name)
    assert aws.lines(name) == ["slow", "x"]


def test_output_comes_while_the_program_runs(aws: DockerAws) -> None:
    name = aws.start(
        """
        echo first; printf asking; echo error >&2
        while ! [ -e /opt/ml/output/go ]; do sleep 0.02; done
        echo; echo last
        """
    )
    aws.eventually(lambda: sorted(aws.lines(name)) == ["asking", "error", "first"])
    (opt_ml,) = (aws.server.home / "jobs").glob("*/1/opt/ml")
    (opt_ml / "output" / "go").touch()
    aws.finish(name)
    assert aws.lines(name)[-1] == "last"


@pytest.mark.parametrize(
    ("train", "reason"),
    [
        ("exit 3", "AlgorithmError: , exit code: 3"),
        ("echo 'No images.' > /opt/ml/output/failure; exit 1", "AlgorithmError: No images., exit code: 1"),
        ("ln -s /etc/hostname /opt/ml/output/failure; exit 1", "AlgorithmError: , exit code: 1"),
        ("mkfifo /opt/ml/output/failure; exit 1", "AlgorithmError: , exit code: 1"),
        ("#!/no/such/interpreter", "AlgorithmError: , exit code: 1"),
    ],
    ids=["no file", "file", "a link out of the container", "a pipe", "no interpreter"],
)
def test_the_failure_reason(aws: DockerAws, train: str, reason: str) -> None:
    job = aws.run(train)
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"] == reason
    assert aws.keys() == []
    assert aws.containers() == []


def test_a_program_that_is_not_in_the_image_is_named_in_the_log(aws: DockerAws) -> None:
    image = aws.push(aws.image_directory("true"))
    algorithm = {"TrainingImage": image, "TrainingInputMode": "File", "ContainerEntrypoint": ["no-such-program"]}
    request = aws.request(image, AlgorithmSpecification=algorithm)
    aws.sagemaker.create_training_job(**request)
    assert aws.finish(request["TrainingJobName"])["FailureReason"] == "AlgorithmError: , exit code: 127"
    assert 'exec: "no-such-program": executable file not found in $PATH' in aws.lines(request["TrainingJobName"])[0]
    assert aws.containers() == []


def stopped(aws: DockerAws, train: str) -> dict[str, Any]:
    name = aws.start(train)
    aws.eventually(lambda: aws.lines(name) == ["ready as process 1"])
    aws.sagemaker.stop_training_job(TrainingJobName=name)
    job = aws.finish(name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert aws.containers() == []
    return job


def test_a_stopped_program_may_save_what_it_has(aws: DockerAws) -> None:
    job = stopped(aws, GRACEFUL)
    assert aws.lines(job["TrainingJobName"])[-1] == "stopping"
    assert aws.archive(f"out/{job['TrainingJobName']}/output/model.tar.gz") == {"weights": b"half\n"}


def test_a_program_that_ignores_sigterm_is_killed_after_the_grace(aws: DockerAws) -> None:
    job = stopped(aws, STUBBORN)
    stopping = next(entry for entry in job["SecondaryStatusTransitions"] if entry["Status"] == "Stopping")
    assert 0.5 <= (stopping["EndTime"] - stopping["StartTime"]).total_seconds() < 5
    assert aws.archive(f"out/{job['TrainingJobName']}/output/model.tar.gz") == {"weights": b"early\n"}


def test_the_run_time_is_limited(aws: DockerAws) -> None:
    job = aws.run(GRACEFUL, StoppingCondition={"MaxRuntimeInSeconds": 1})
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    assert aws.archive(f"out/{job['TrainingJobName']}/output/model.tar.gz") == {"weights": b"half\n"}


def test_an_isolated_program_has_no_network(aws: DockerAws) -> None:
    train = "ls /sys/class/net; getent hosts algo-1"
    isolated, open_ = aws.start(train, EnableNetworkIsolation=True), aws.start(train)
    aws.finish(isolated)
    aws.finish(open_)
    assert aws.lines(isolated)[0] == "lo"
    assert [line.split() for line in aws.lines(isolated)[1:]] == [["127.0.0.1", "algo-1"]]
    assert "EnableNetworkIsolation" not in aws.warnings(isolated)
    assert "eth0" in aws.lines(open_)


@pytest.mark.parametrize("child", [False, True], ids=["the program", "a process of it"])
def test_a_program_that_uses_too_much_memory_fails_for_that(start_aws: Any, child: bool) -> None:
    aws = start_aws(LOCAL_AWS_MEMORY="64m")
    hungry = "dd if=/dev/zero of=/dev/null bs=1G count=1"
    job = aws.run(f"{hungry}; exit 1" if child else f"exec {hungry}")
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: algo-1 ran out of memory.")
    assert "LOCAL_AWS_MEMORY" in job["FailureReason"]
    assert job["FailureReason"].endswith(f", exit code: {1 if child else 137}")


def test_nothing_is_left_of_a_job(aws: DockerAws) -> None:
    volumes = {volume.id for volume in aws.engine.volumes.list()}
    directory = aws.image_directory("echo x > /scratch/file; mkdir -m 700 /opt/ml/input/own; touch /opt/ml/input/own/a")
    (directory / "Dockerfile").write_text(f"FROM {aws.base_image}\nCOPY train /usr/local/bin/\nVOLUME /scratch\n")
    request = aws.request(aws.push(directory))
    aws.sagemaker.create_training_job(**request)
    assert aws.finish(request["TrainingJobName"])["TrainingJobStatus"] == "Completed"
    assert aws.containers() == []
    assert {volume.id for volume in aws.engine.volumes.list()} <= volumes
    aws.eventually(lambda: not list((aws.server.home / "jobs").iterdir()))
