"""The whole way by the commands that the README documents, on the AWS of this machine: from digits to a model."""

import csv
import json
import pickle
import re
from pathlib import Path

import pytest

from tests.project import Project

WAY = ("--init_s3_buckets", "--build_and_push_docker_image", "--launch_training", "--download_results")


@pytest.fixture(scope="module")
def prepared(project: Project) -> Project:
    """The project with the handwritten digits, split."""
    for command in (["data_handler.py", "--sample", "digits"], ["data_handler.py"]):
        done = project.run(*command)
        assert done.returncode == 0, done.stderr
    return project


@pytest.fixture(scope="module")
def walked(prepared: Project) -> str:
    """What the whole way prints, with fewer epochs than the project is set for."""
    return prepared.manage_local(*WAY, "--set", "training.epochs=2").stdout


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


def test_every_promised_file_lies_in_the_results(results: Path) -> None:
    promised = {
        "checkpoint/saved_model.pb",
        "model.h5",
        "model.keras",
        "classes.json",
        "metrics.json",
        "config.json",
        "diagnostics.json",
        "history.csv",
        "predictions.csv",
        "report.html",
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


def test_the_results_name_the_very_data(project: Project, results: Path) -> None:
    manifest = project.client("s3").head_object(Bucket="handwritten-digits.data", Key="manifest.jsonl.gz")["Metadata"]
    assert json.loads((results / "metrics.json").read_text())["uploaded_fingerprint"] == manifest["fingerprint"]
    assert manifest["fingerprint"] in (results / "report.html").read_text()


def test_results_are_downloaded_once_and_shown_again(project: Project, results: Path) -> None:
    shown = project.manage_local("--download_results", results.name).stdout
    assert f"unchanged  results of {results.name}" in shown
    assert "Confusion matrix" in shown


@pytest.mark.slow
def test_the_report_is_made_anew_without_images_and_with_those_at_hand(project: Project, results: Path) -> None:
    report = results / "report.html"
    shown = project.manage_local("--download_results", results.name, "--remake_report").stdout
    assert "anew, with no images (--data FOLDER gives it some)" in shown
    assert "<img " not in report.read_text()
    project.manage_local("--download_results", results.name, "--data", "data/digits-sets")
    assert "<img " in report.read_text()
    refused = project.manage("--local", "--download_results", results.name, "--data", "data")
    assert refused.returncode == 1
    assert "data holds neither of validation and evaluation" in refused.stderr


@pytest.mark.slow
def test_as_shipped_the_digits_are_recognized(prepared: Project) -> None:
    prepared.manage_local(*WAY)
    newest = max((prepared.root / "results").iterdir())
    assert json.loads((newest / "metrics.json").read_text())["accuracy"] >= 0.97
