"""Jobs that go on where they were, at the command line: `--resume`, and `--interrupt` on the AWS of this machine."""

import json
import re
import subprocess
from typing import Any

import pytest

from tests.project import Project

OUTPUT = "shades-project.output"

# A program that counts up in a checkpoint until it is told to stop, or has counted as many epochs as it is to train.
TRAIN = """\
#!/usr/bin/env python3
import json, os, pathlib, signal, sys, time

base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
epochs = json.loads((base / "input/config/hyperparameters.json").read_text())["training.epochs"]
count = base / "checkpoints/count"
epoch = int(count.read_text()) if count.exists() else 0
print(f"begins after epoch {epoch} of {epochs}", flush=True)
signal.signal(signal.SIGTERM, lambda *_: (count.write_text("100"), sys.exit(0)))
while epoch < int(epochs):
    time.sleep(0.02)
(base / "model/epoch").write_text(str(epoch))
"""


@pytest.fixture(scope="module")
def counting(split_project: Project) -> Project:
    """A project whose image counts instead of training, and the buckets and role that it needs."""
    program = split_project.root / "container/train"
    program.write_text(TRAIN)
    split_project.manage_local("--init_s3_buckets", "--build_and_push_docker_image")
    return split_project


def launch(project: Project, *options: str, epochs: int) -> subprocess.Popen[str]:
    """Launch a job that is followed, and return when it trains."""
    settings = ("--set", f"training.epochs={epochs}", "--set", "training_job.max_runtime_seconds=60", *options)
    following = project.start("project_manager.py", "--local", "--launch_training", *settings)
    assert following.stdout
    for line in following.stdout:
        if line.startswith("begins after"):
            return following
    raise AssertionError("it never began")


def last_job(project: Project) -> dict[str, Any]:
    sagemaker = project.client("sagemaker")
    (newest, *_) = sagemaker.list_training_jobs(SortBy="CreationTime", SortOrder="Descending")["TrainingJobSummaries"]
    return sagemaker.describe_training_job(TrainingJobName=newest["TrainingJobName"])


def checkpoints(project: Project, job: str) -> dict[str, str]:
    s3 = project.client("s3")
    listed = s3.list_objects_v2(Bucket=OUTPUT, Prefix=f"checkpoints/{job}/").get("Contents", [])
    return {
        item["Key"].rpartition("/")[2]: s3.get_object(Bucket=OUTPUT, Key=item["Key"])["Body"].read().decode()
        for item in listed
    }


@pytest.mark.slow
def test_an_interrupted_spot_job_goes_on(counting: Project) -> None:
    following = launch(counting, "--set", "training_job.spot=true", epochs=100)
    job = last_job(counting)["TrainingJobName"]
    sent = json.loads((counting.root / "training-job-config.json").read_text())
    assert sent["CheckpointConfig"] == {"S3Uri": f"s3://{OUTPUT}/checkpoints/{job}/"}
    counting.manage_local("--interrupt")
    shown, _ = following.communicate(timeout=60)
    assert following.returncode == 0, shown
    assert "begins after epoch 100 of 100" in shown
    statuses = re.findall(r"^\d\d:\d\d:\d\d (\w+)$", shown, re.MULTILINE)
    again = ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert statuses[statuses.index("Interrupted") :] == ["Interrupted", *again]
    assert f"{job} is Completed: only a job that is Training" in counting.manage("--local", "--interrupt", job).stderr


@pytest.mark.slow
def test_a_stopped_job_is_resumed_by_a_new_one(counting: Project) -> None:
    following = launch(counting, "--set", "training.patience=9", epochs=200)
    refused = counting.manage("--local", "--resume")
    assert refused.returncode == 1
    assert re.fullmatch(r"error: shades-\S+ is still InProgress, .*--stop_training shades-\S+\n", refused.stderr)
    counting.manage_local("--stop_training")
    shown, _ = following.communicate(timeout=60)
    old = last_job(counting)
    name = old["TrainingJobName"]
    assert f"--resume {name} goes on from its checkpoints" in shown

    dry = counting.manage_local("--resume", "--dry_run", "--set", "training.epochs=90").stdout
    assert re.search(rf"aws s3 cp s3://{OUTPUT}/checkpoints/{name}/count s3://{OUTPUT}/checkpoints/shades-", dry)
    assert "aws sagemaker create-training-job --training-job-name shades-" in dry
    assert last_job(counting)["TrainingJobName"] == name

    shown = counting.manage_local("--resume", name, "--set", "training.epochs=90").stdout
    assert "begins after epoch 100 of 90" in shown
    new = last_job(counting)
    assert new["TrainingJobName"] != name
    assert new["HyperParameters"] == old["HyperParameters"] | {"training.epochs": "90"}
    assert checkpoints(counting, new["TrainingJobName"]) == checkpoints(counting, name) == {"count": "100"}


@pytest.mark.slow
def test_what_cannot_be_resumed_is_named(counting: Project) -> None:
    failed = counting.manage("--local", "--resume", "--set", "training_job.save_checkpoints=false")
    assert "set training_job.save_checkpoints=true" in failed.stderr
    assert "there is no training job 'nothing'" in counting.manage("--local", "--resume", "nothing").stderr
    assert "there is no training job nothing" in counting.manage("--local", "--interrupt", "nothing").stderr


@pytest.mark.slow
def test_the_role_is_made_as_the_earlier_job_needs_it(counting: Project) -> None:
    counting.client("s3").create_bucket(Bucket="elsewhere")
    counting.client("s3").put_object(Bucket="elsewhere", Key="old.tar.gz", Body=b"x")
    uses = ("--set", "model.initial_weights=pretrained", "--set", "data.pretrained=s3://elsewhere/old.tar.gz")
    following = launch(counting, "--init_s3_buckets", *uses, epochs=100)
    counting.manage_local("--stop_training")
    following.communicate(timeout=60)
    counting.manage_local("--init_s3_buckets")

    assert "is not as these settings need it" in counting.manage("--local", "--resume").stderr
    dry = counting.manage_local("--dry_run", "--init_s3_buckets", "--resume").stdout
    assert "arn:aws:s3:::elsewhere/old.tar.gz*" in dry
    assert '"S3Uri": "s3://elsewhere/old.tar.gz"' in dry


class TestUsage:
    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            (["--interrupt", "job"], "--interrupt is for --local"),
            (["--resume", "--launch_training"], "leave out --launch_training"),
            (["--resume", "job", "--stop_training", "job"], "stop it by a call of its own first"),
            (["--resume", "--no_follow", "--download_results"], "has no results yet"),
        ],
    )
    def test_wrong_usage_is_said(self, project: Project, arguments: list[str], problem: str) -> None:
        done = project.manage(*arguments)
        assert done.returncode == 2
        assert problem in done.stderr

    def test_the_helper_is_hidden(self, project: Project) -> None:
        shown = project.manage("--help").stdout
        assert "--resume" in shown
        assert "--interrupt" not in shown
