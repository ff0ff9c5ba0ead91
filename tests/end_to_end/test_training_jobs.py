"""Training jobs as people meet them: launched by the `aws` command line, failed, left alone and stopped."""

import base64
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import split_shades
from tests.project import REGION, Project, copy_project

pytestmark = pytest.mark.slow

KEY_ID = "AKIAPLANTED000000000"
SECRET, TOKEN = "wJalrXUtnFEMI-planted-secret", "IQoJb3JpZ2luX2Vj-planted-token"


@pytest.fixture(scope="module")
def launched(split_project: Project) -> Project:
    """A project with buckets, image and one completed training job."""
    split_project.manage_local("--init_s3_buckets", "--build_and_push_docker_image", "--launch_training")
    return split_project


def test_the_request_launches_by_the_aws_command_line_too(launched: Project, tmp_path: Path) -> None:
    request = json.loads((launched.root / "training-job-config.json").read_text())
    request["TrainingJobName"] = "by-the-command-line"
    # Its own folder: it would go on from the first job's checkpoints.
    request["CheckpointConfig"]["S3Uri"] = "s3://shades-project.output/checkpoints/by-the-command-line/"
    request["HyperParameters"]["training.epochs"] = "1"
    (tmp_path / "request.json").write_text(json.dumps(request))
    aws(launched, "sagemaker", "create-training-job", "--cli-input-json", f"file://{tmp_path / 'request.json'}")
    waiter = launched.client("sagemaker").get_waiter("training_job_completed_or_stopped")
    waiter.wait(TrainingJobName="by-the-command-line", WaiterConfig={"Delay": 1, "MaxAttempts": 120})
    described = aws(launched, "sagemaker", "describe-training-job", "--training-job-name", "by-the-command-line")
    assert json.loads(described)["TrainingJobStatus"] == "Completed"
    group = ("--log-group-name", "/aws/sagemaker/TrainingJobs", "--log-stream-name-prefix", "by-the-command-line/")
    messages = [event["message"] for event in json.loads(aws(launched, "logs", "filter-log-events", *group))["events"]]
    assert any(message.startswith("epoch=1 epochs=1 ") for message in messages)
    assert not any(message.startswith("epoch=2 ") for message in messages)


def test_jobs_stand_side_by_side(launched: Project) -> None:
    launched.manage_local("--launch_training", "--set", "training.epochs=1")
    listed = launched.client("sagemaker").list_training_jobs(SortBy="CreationTime", SortOrder="Descending")
    last, *_, first = (job["TrainingJobName"] for job in listed["TrainingJobSummaries"])
    history = launched.manage_local("--history").stdout
    assert history.index(last) < history.index(first)
    assert "training.epochs=1" in history
    compared = launched.manage_local("--compare", first, last).stdout
    assert re.search(r"training\.epochs +\d+ +1\b", compared)
    assert re.search(r"evaluation_accuracy +\d\.\d{4} +\d\.\d{4}", compared)


class TestFailures:
    """A failed job says why, and leaves nothing in the output bucket."""

    def test_an_unknown_hyperparameter(self, launched: Project) -> None:
        template = launched.root / "training-job-config-template.json"
        before = template.read_text()
        template.write_text(before.replace('"${HYPERPARAMETERS}"', '{"training.epoch": "1"}'))
        try:
            failed = launched.manage("--local", "--launch_training")
        finally:
            template.write_text(before)
        assert failed.returncode == 1
        assert re.fullmatch(
            r"error: shades-\S+ failed: AlgorithmError: there is no setting 'training.epoch': "
            r"did you mean 'training.epochs'\?.*\n",
            failed.stderr,
        )
        assert_nothing_left(launched)

    @pytest.mark.slow
    def test_a_corrupt_image(self, launched: Project) -> None:
        s3 = launched.client("s3")
        key = "training/dark/damaged.png"
        s3.put_object(Bucket="shades-project.data", Key=key, Body=b"\x89PNG\r\n\x1a\n and then nothing")
        try:
            failed = launched.manage("--local", "--launch_training")
        finally:
            s3.delete_object(Bucket="shades-project.data", Key=key)
        assert failed.returncode == 1
        assert "failed: AlgorithmError" in failed.stderr
        assert "damaged.png" in failed.stderr
        assert_nothing_left(launched)


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Project]:
    """A project whose AWS on this machine is reached as AWS is, without --local, by somebody who has credentials."""
    copy = copy_project(tmp_path)
    split_shades(copy)
    keys = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": TOKEN}
    with_keys = Project(copy.root, copy.environment | keys | {"AWS_DEFAULT_REGION": REGION})
    # The server inherits them, and the jobs that it runs must not.
    yield Project(copy.root, with_keys.environment | {"AWS_ENDPOINT_URL": with_keys.endpoint_url})
    copy.manage("--stop_local_aws")


@pytest.mark.slow
def test_no_secret_gets_anywhere(person: Project) -> None:
    """What lies in the environment of the person who types stays there, and so does the password of ECR."""
    said = person.manage_local("--build_and_push_docker_image").stdout
    tag_as_built_by_docker(person)
    use = ("--init_s3_buckets", "--launch_training", "--download_results")
    commands: tuple[tuple[str, ...], ...] = (
        use,
        ("--launch_training", "--debug", "--set", "training.epochs=1", "--set", "parts.loss=none:none"),
        ("--monitor", "nothing", "--debug"),
        ("--build_and_push_docker_image", "--debug"),
        ("--check",),
        ("--status",),
        ("--delete", "--dry_run"),
    )
    for command in commands:
        done = person.manage(*command)
        said += done.stdout + done.stderr
    assert "Confusion matrix" in said
    assert "going to" in said
    logs = person.client("logs").filter_log_events(logGroupName="/aws/sagemaker/TrainingJobs")["events"]
    assert logs
    said += "".join(event["message"] for event in logs)
    sagemaker, s3 = person.client("sagemaker"), person.client("s3")
    for job in sagemaker.list_training_jobs()["TrainingJobSummaries"]:
        said += str(sagemaker.describe_training_job(TrainingJobName=job["TrainingJobName"]))
    files = {str(path): path.read_bytes() for path in person.root.rglob("*") if path.is_file()}
    for bucket in ("shades-project.data", "shades-project.output"):
        keys = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]]
        files |= {key: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}
    assert any("classification" in name or "metrics" in name for name in files)
    encoded = person.client("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"]
    password = base64.b64decode(encoded).decode().partition(":")[2]
    assert password
    for planted in (SECRET, TOKEN, encoded, password):
        assert planted not in said
        assert [name for name, content in files.items() if planted.encode() in content] == []


def tag_as_built_by_docker(project: Project) -> None:
    """Let the pushed directory pass for the image that Docker would have built of the same code."""
    ecr, repository = project.client("ecr"), "shades-project/shades"
    (pushed,) = ecr.describe_images(repositoryName=repository)["imageDetails"]
    (tag,) = pushed["imageTags"]
    (image,) = ecr.batch_get_image(repositoryName=repository, imageIds=[{"imageTag": tag}])["images"]
    ecr.put_image(
        repositoryName=repository,
        imageManifest=image["imageManifest"],
        imageManifestMediaType=image["imageManifestMediaType"],
        imageTag=tag.replace("directory-", "gpu-"),
    )


@pytest.mark.slow
def test_ctrl_c_ends_the_following_but_not_the_job(launched: Project) -> None:
    endless = ("--set", "training.epochs=10000", "--set", "training.patience=0")
    following = launched.start("project_manager.py", "--local", "--launch_training", *endless)
    assert following.stdout
    shown = ""
    for line in following.stdout:
        shown += line
        if line.startswith("epoch=1 "):
            break
    following.send_signal(signal.SIGINT)
    shown += following.communicate(timeout=60)[0]
    job = re.search(r"shades-[-\d]+", shown)
    assert job
    assert following.returncode == 0, shown
    assert f"python project_manager.py --local --monitor {job[0]}" in shown
    assert f"python project_manager.py --local --stop_training {job[0]}" in shown
    sagemaker = launched.client("sagemaker")
    assert sagemaker.describe_training_job(TrainingJobName=job[0])["TrainingJobStatus"] == "InProgress"

    stopped = launched.manage("--local", "--stop_training", job[0], "--monitor", job[0])
    assert stopped.returncode == 1
    assert f"error: {job[0]} was stopped" in stopped.stderr
    # A stopped job evaluates and keeps the best model that it had.
    shown = launched.manage_local("--download_results", job[0]).stdout
    assert "Confusion matrix" in shown


def assert_nothing_left(project: Project) -> None:
    """The output bucket holds results of completed and stopped jobs only."""
    sagemaker, s3 = project.client("sagemaker"), project.client("s3")
    objects = s3.list_objects_v2(Bucket="shades-project.output").get("Contents", [])
    jobs: list[Any] = sagemaker.list_training_jobs(StatusEquals="Failed")["TrainingJobSummaries"]
    assert jobs
    failed = {job["TrainingJobName"] for job in jobs}
    assert {name for item in objects for name in item["Key"].split("/")} & failed == set()


def aws(project: Project, *arguments: str) -> str:
    """Run the aws command line against the project's AWS on this machine; return what it prints."""
    program = shutil.which("aws", path=str(Path(sys.executable).parent)) or "aws"
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION}
    done = subprocess.run(
        [program, *arguments, "--endpoint-url", project.endpoint_url],
        env=project.environment | keys,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
