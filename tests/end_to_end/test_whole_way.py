"""The whole way by the commands that the README documents, on the AWS of this machine: from digits to a model."""

import csv
import json
import pickle
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.project import REGION, Project

WAY = ("--init_s3_buckets", "--build_and_push_docker_image", "--launch_training", "--download_results")


@pytest.fixture(scope="module")
def walked(project: Project) -> str:
    """What the whole way prints."""
    for command in (["data_handler.py", "--sample", "digits"], ["data_handler.py"]):
        done = project.run(*command)
        assert done.returncode == 0, done.stderr
    return project.manage_local(*WAY).stdout


@pytest.fixture
def results(project: Project, walked: str) -> Path:
    """The folder of the first job's results."""
    return min((project.root / "results").iterdir())


def test_the_log_the_statuses_and_the_tables_are_shown(walked: str) -> None:
    assert re.search(r"^epoch=1 epochs=\d+ .*val_accuracy=", walked, re.MULTILINE)
    for status in ("Training", "Completed"):
        assert re.search(rf"^\d\d:\d\d:\d\d {status}$", walked, re.MULTILINE)
    assert "Classification of 179 evaluation images" in walked
    assert "Confusion matrix" in walked


def test_the_digits_are_recognized(results: Path) -> None:
    assert json.loads((results / "metrics.json").read_text())["accuracy"] >= 0.97


def test_every_promised_file_lies_in_the_results(results: Path) -> None:
    promised = {
        "checkpoint/saved_model.pb",
        "model.h5",
        "model.keras",
        "classes.json",
        "metrics.json",
        "config.json",
        "history.csv",
        "classes_dict.pkl",
        "classification_report.pkl",
        "confusion_matrix.pkl",
        "config_dict.pkl",
    }
    assert {name for name in promised if not (results / name).is_file()} == set()
    assert json.loads((results / "classes.json").read_text()) == list("0123456789")
    assert sum(map(sum, pickle.loads((results / "confusion_matrix.pkl").read_bytes()))) == 179
    with (results / "history.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)][:2] == ["1", "2"]


def test_the_job_is_described_as_on_sagemaker(project: Project, results: Path) -> None:
    job = project.client("sagemaker").describe_training_job(TrainingJobName=results.name)
    assert re.fullmatch(r"digits-cnn-\d{4}(-\d\d){5}", results.name)
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == (
        f"s3://handwritten-digits.output/{results.name}/output/model.tar.gz"
    )
    assert {metric["MetricName"] for metric in job["FinalMetricDataList"]} >= {"val_accuracy", "evaluation_accuracy"}
    assert job["HyperParameters"]["image.height"] == "16"


def test_results_are_downloaded_once_and_shown_again(project: Project, results: Path) -> None:
    shown = project.manage_local("--download_results", results.name).stdout
    assert "unchanged  results in" in shown
    assert "Confusion matrix" in shown


def test_the_request_launches_by_the_aws_command_line_too(project: Project, walked: str, tmp_path: Path) -> None:
    request = json.loads((project.root / "training-job-config.json").read_text())
    request["TrainingJobName"] = "by-the-command-line"
    request["HyperParameters"]["training.epochs"] = "1"
    (tmp_path / "request.json").write_text(json.dumps(request))
    aws(project, "sagemaker", "create-training-job", "--cli-input-json", f"file://{tmp_path / 'request.json'}")
    aws(project, "sagemaker", "wait", "training-job-completed-or-stopped", "--training-job-name", "by-the-command-line")
    described = aws(project, "sagemaker", "describe-training-job", "--training-job-name", "by-the-command-line")
    assert json.loads(described)["TrainingJobStatus"] == "Completed"
    tail = aws(
        project, "logs", "tail", "/aws/sagemaker/TrainingJobs", "--log-stream-name-prefix", "by-the-command-line"
    )
    assert "epoch=1 epochs=1" in tail


class TestFailures:
    """A failed job says why, and leaves nothing in the output bucket."""

    def test_an_unknown_hyperparameter(self, project: Project, walked: str) -> None:
        template = project.root / "training-job-config-template.json"
        before = template.read_text()
        template.write_text(before.replace('"${HYPERPARAMETERS}"', '{"training.epoch": "1"}'))
        try:
            failed = project.manage("--local", "--launch_training")
        finally:
            template.write_text(before)
        assert failed.returncode == 1
        assert re.fullmatch(
            r"error: digits-cnn-\S+ failed: AlgorithmError: there is no setting 'training.epoch': "
            r"did you mean 'training.epochs'\?.*\n",
            failed.stderr,
        )
        assert_nothing_left(project)

    def test_a_corrupt_image(self, project: Project, walked: str) -> None:
        s3 = project.client("s3")
        key = "training/3/damaged.png"
        s3.put_object(Bucket="handwritten-digits.data", Key=key, Body=b"\x89PNG\r\n\x1a\n and then nothing")
        try:
            failed = project.manage("--local", "--launch_training")
        finally:
            s3.delete_object(Bucket="handwritten-digits.data", Key=key)
        assert failed.returncode == 1
        assert "failed: AlgorithmError" in failed.stderr
        assert "damaged.png" in failed.stderr
        assert_nothing_left(project)


def test_ctrl_c_ends_the_following_but_not_the_job(project: Project, walked: str) -> None:
    endless = ("--set", "training.epochs=10000", "--set", "training.patience=0")
    following = project.start("project_manager.py", "--local", "--launch_training", *endless)
    assert following.stdout
    shown = ""
    for line in following.stdout:
        shown += line
        if line.startswith("epoch=1 "):
            break
    following.send_signal(signal.SIGINT)
    shown += following.communicate(timeout=60)[0]
    job = re.search(r"digits-cnn-[-\d]+", shown)
    assert job
    assert following.returncode == 0, shown
    assert f"python project_manager.py --local --monitor {job[0]}" in shown
    assert f"python project_manager.py --local --stop_training {job[0]}" in shown
    sagemaker = project.client("sagemaker")
    assert sagemaker.describe_training_job(TrainingJobName=job[0])["TrainingJobStatus"] == "InProgress"

    stopped = project.manage("--local", "--stop_training", job[0], "--monitor", job[0])
    assert stopped.returncode == 1
    assert f"error: {job[0]} was stopped" in stopped.stderr
    # A stopped job evaluates and keeps the best model that it had.
    shown = project.manage_local("--download_results", job[0]).stdout
    assert "Confusion matrix" in shown


def assert_nothing_left(project: Project) -> None:
    """The output bucket holds results of completed and stopped jobs only."""
    sagemaker, s3 = project.client("sagemaker"), project.client("s3")
    objects = s3.list_objects_v2(Bucket="handwritten-digits.output").get("Contents", [])
    jobs: list[Any] = sagemaker.list_training_jobs(StatusEquals="Failed")["TrainingJobSummaries"]
    assert jobs
    failed = {job["TrainingJobName"] for job in jobs}
    assert {item["Key"].split("/")[0] for item in objects} & failed == set()


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
