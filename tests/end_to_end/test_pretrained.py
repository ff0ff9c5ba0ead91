"""Incremental training, as a person does it: a second job starts from the model of the first."""

import re
from typing import Any

import pytest

from tests.project import Project

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def first(split_project: Project) -> str:
    """The name of a completed training job of the project."""
    split_project.manage_local("--init_s3_buckets", "--build_and_push_docker_image", "--launch_training")
    return str(jobs(split_project)[0]["TrainingJobName"])


def jobs(project: Project) -> list[Any]:
    """The project's training jobs, the newest first."""
    listed = project.client("sagemaker").list_training_jobs(SortBy="CreationTime", SortOrder="Descending")
    return list(listed["TrainingJobSummaries"])


def launch(project: Project, *assignments: str) -> str:
    """Launch a job with settings, and return its log as it was followed."""
    words = [word for text in assignments for word in ("--set", text)]
    return project.manage_local("--launch_training", *words).stdout


def test_the_whole_model_goes_on_from_an_earlier_job(split_project: Project, first: str) -> None:
    log = launch(split_project, f"data.pretrained={first}", "model.initial_weights=pretrained", "training.epochs=1")
    assert re.search(r"takes over from model\.keras in \S+model\.tar\.gz the classes dark, light", log)
    last = jobs(split_project)[0]["TrainingJobName"]
    (channel,) = (
        channel
        for channel in split_project.client("sagemaker").describe_training_job(TrainingJobName=last)["InputDataConfig"]
        if channel["ChannelName"] == "pretrained"
    )
    assert channel["DataSource"]["S3DataSource"]["S3Uri"].endswith(f"/{first}/output/model.tar.gz")


@pytest.mark.long
def test_a_downloaded_model_becomes_the_backbone_of_a_new_one(split_project: Project, first: str) -> None:
    split_project.manage_local("--download_results", first)
    (file,) = (split_project.root / "results" / first).rglob("model.keras")
    log = launch(
        split_project,
        f"data.pretrained={file.relative_to(split_project.root)}",
        "model.name=fine_tune",
        "fine_tuning.backbone=pretrained",
        "fine_tuning.epochs=1",
        "training.epochs=1",
    )
    assert re.findall(r"^.*epoch=(\d) epochs=2 ", log, re.MULTILINE) == ["1", "2"]


def test_images_of_another_size_fail_the_job_with_the_reason(split_project: Project, first: str) -> None:
    failed = split_project.manage(
        *("--local", "--launch_training", "--set", f"data.pretrained={first}", "--set", "model.name=fine_tune"),
        *("--set", "fine_tuning.backbone=pretrained", "--set", "image.height=16"),
    )
    assert failed.returncode == 1
    assert "takes images of 8x8 pixels and 1 channels, but here they are of 16x8 pixels and 1 channels" in failed.stderr
