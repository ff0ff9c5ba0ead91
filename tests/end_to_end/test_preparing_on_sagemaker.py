"""Images that lie in the data bucket, prepared by a processing job of two instances, and trained on."""

import re

import pytest

from tests.project import Project

pytestmark = pytest.mark.slow

JOB = r"Processing job (\S+)"


def test_what_two_instances_prepare_is_trained_on(split_project: Project) -> None:
    split_project.manage_local("--init_s3_buckets", "--build_and_push_docker_image")
    prepare = ("data_handler.py", "--prepare", "--local", "--set", "preparation.processes=1")

    shown = split_project.run(*prepare, "--on_sagemaker", "2", "--dry_run")
    assert shown.returncode == 0, shown.stderr
    assert "aws sagemaker create-processing-job" in shown.stdout
    assert split_project.client("sagemaker").list_processing_jobs()["ProcessingJobSummaries"] == []

    done = split_project.run(*prepare, "--on_sagemaker", "2", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    (job,) = re.findall(JOB, done.stdout)
    description = split_project.client("sagemaker").describe_processing_job(ProcessingJobName=job)
    assert description["ProcessingResources"]["ClusterConfig"]["InstanceCount"] == 2
    bucket = re.findall(r"s3://([\w.-]+)/prepared/", done.stdout)[0]
    found = split_project.client("s3").list_objects_v2(Bucket=bucket, Prefix=f"prepared/{job}/")["Contents"]
    keys = [entry["Key"].removeprefix(f"prepared/{job}/") for entry in found]
    assert keys == [
        "order.json",
        "parts/00000.json",
        "parts/00001.json",
        *("training/index.json", "training/training-00000-00000-of-00001.tfrecord"),
        "training/training-00001-00000-of-00001.tfrecord",
        *("validation/index.json", "validation/validation-00000-00000-of-00001.tfrecord"),
        "validation/validation-00001-00000-of-00001.tfrecord",
    ]

    # A second look at a job that is over finishes it once more.
    again = split_project.run(*prepare, "--on_sagemaker", job)
    assert again.returncode == 0, again.stderr
    assert f"--set data.prepared_by={job} --launch_training" in again.stdout

    settings = ("--set", f"data.prepared_by={job}", "--set", "training.epochs=1")
    trained = split_project.manage_local("--launch_training", *settings)
    assert "completed after" in trained.stdout
    (channels,) = [
        split_project.client("sagemaker").describe_training_job(TrainingJobName=name)["InputDataConfig"]
        for name in re.findall(r"Training job (\S+)", trained.stdout)
    ]
    uris = [channel["DataSource"]["S3DataSource"]["S3Uri"] for channel in channels]
    folder = f"s3://{bucket}/prepared/{job}/"
    assert uris[:2] == [f"{folder}training/", f"{folder}validation/"]
    assert uris[2].endswith(".data/evaluation/")


@pytest.mark.long
def test_images_that_are_not_split_yet_are_split_by_the_instances(split_project: Project) -> None:
    split_project.manage_local("--init_s3_buckets", "--build_and_push_docker_image")
    images, s3 = split_project.root / "data" / "images", split_project.client("s3")
    for path in images.glob("*/*"):
        s3.upload_file(str(path), "shades-project.data", f"raw/{path.relative_to(images)}")
    fractions = {"training": 0.5, "validation": 0.25, "evaluation": 0.25}
    assignments = [
        "preparation.raw_folder=raw",
        *(f"data.{name}_fraction={share}" for name, share in fractions.items()),
    ]
    raw = [word for assignment in assignments for word in ("--set", assignment)]

    done = split_project.run("data_handler.py", "--prepare", "--local", "--on_sagemaker", "2", "--yes", *raw)
    assert done.returncode == 0, done.stdout + done.stderr
    (job,) = re.findall(JOB, done.stdout)
    assert "--set preparation.raw_folder=raw" in done.stdout

    settings = (*raw, "--set", f"data.prepared_by={job}", "--set", "training.epochs=1")
    trained = split_project.manage_local("--launch_training", *settings)
    assert "completed after" in trained.stdout
    (name,) = re.findall(r"Training job (\S+)", trained.stdout)
    channels = split_project.client("sagemaker").describe_training_job(TrainingJobName=name)["InputDataConfig"]
    uris = [channel["DataSource"]["S3DataSource"]["S3Uri"] for channel in channels]
    assert [uri.partition(f"/prepared/{job}/")[2] for uri in uris] == ["training/", "validation/", "evaluation/"]

    other = split_project.run("project_manager.py", "--local", "--launch_training", *settings, "--set", "data.seed=1")
    assert other.returncode == 1
    assert "was not split as the settings say" in other.stderr
