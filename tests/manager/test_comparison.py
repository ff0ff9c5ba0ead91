"""Training jobs on a page: downloaded where they have results, and shown without them where they have none."""

import io
import tarfile
from pathlib import Path
from typing import Any

import boto3
import pytest

from container.modeling.config_file import load_settings
from manager import commands
from manager.console import Terminal
from manager.errors import JobError
from manager.plan import describe
from manager.session import Session
from tests.aws import REGION, Server
from tests.container.made_up import write_results
from tests.container.pages import Page, read
from tests.manager.wire import Answer, Wire

STORE = "compared-models"


@pytest.fixture(scope="module", autouse=True)
def store(server: Server) -> None:
    """Make the bucket of the jobs' results, once for all tests."""
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION)
    s3 = session.client("s3", endpoint_url=server.endpoint_url)
    s3.create_bucket(Bucket=STORE, CreateBucketConfiguration={"LocationConstraint": REGION})


@pytest.fixture
def session(wire: Wire, terminal: Terminal, tmp_path: Path) -> Session:
    settings = load_settings()
    return Session(
        settings, wire.aws(), terminal, describe, "directory", tmp_path, lambda question, answer: None, "manage"
    )


def answer_jobs(wire: Wire, **statuses: str) -> None:
    """Let AWS tell of jobs; a job that is `Completed` has its results where AWS says."""

    def describe_job(document: Any) -> Answer:
        job = document["TrainingJobName"]
        if job not in statuses:
            message = f"Requested resource not found: {job}"
            return Answer.of_json({"__type": "ValidationException", "message": message}, 400)
        return Answer.of_json(
            {
                "TrainingJobName": job,
                "TrainingJobStatus": statuses[job],
                "FailureReason": "AlgorithmError: the loss is not finite" if statuses[job] == "Failed" else "",
                "CreationTime": 1.9e9,
                "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
                "HyperParameters": {"training.epochs": "7"} if job == "second" else {},
                "ModelArtifacts": {"S3ModelArtifacts": f"s3://{STORE}/{job}/output/model.tar.gz"},
            }
        )

    wire.answers["DescribeTrainingJob"] = describe_job


def put_results(wire: Wire, job: str, folder: Path) -> None:
    write_results(folder, ("cat", "dog"))
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for file in folder.iterdir():
            tar.add(file, file.name)
    wire.aws().client("s3").put_object(Bucket=STORE, Key=f"{job}/output/model.tar.gz", Body=content.getvalue())


def page_of(root: Path) -> Page:
    return read(root / "results" / "comparison.html")


def told(terminal: Terminal) -> tuple[str, str]:
    """Return what stands on standard output, and on standard error."""
    assert isinstance(terminal.out.file, io.StringIO)
    assert isinstance(terminal.err.file, io.StringIO)
    return terminal.out.file.getvalue(), terminal.err.file.getvalue()


def test_results_are_fetched_and_a_job_without_some_stands_there_without(
    session: Session, wire: Wire, tmp_path: Path
) -> None:
    answer_jobs(wire, first="Completed", second="Failed")
    put_results(wire, "first", tmp_path / "made")
    commands.compare(session, ["first", "second"])
    out, err = told(session.terminal)
    assert "the page, with curves and classes, is results/comparison.html" in out
    assert "second has no results, since it failed: AlgorithmError: the loss is not finite" in err
    page = page_of(tmp_path)
    assert "second has no results, since it failed: AlgorithmError: the loss is not finite" in page.text
    assert ["status", "Completed", "Failed"] in page.rows
    # What a job does not set has its default.
    assert ["training.epochs", "20", "7"] in page.rows
    assert len(page.charts()) == 5
    assert (tmp_path / "results" / "first" / "metrics.json").is_file()


def test_an_archive_that_is_gone_is_told_of(session: Session, wire: Wire, tmp_path: Path) -> None:
    answer_jobs(wire, first="Completed", second="Stopped")
    put_results(wire, "second", tmp_path / "made")
    wire.aws().client("s3").delete_object(Bucket=STORE, Key="first/output/model.tar.gz")
    commands.compare(session, ["first", "second"])
    assert "first stands here without figures and curves." in page_of(tmp_path).text.replace("\n", " ")


def test_without_a_page_nothing_is_fetched(session: Session, wire: Wire, tmp_path: Path) -> None:
    answer_jobs(wire, first="Completed", second="Failed")
    commands.compare(session, ["first", "second"], with_page=False)
    assert "Training jobs side by side" in told(session.terminal)[0]
    assert not (tmp_path / "results").exists()


def test_a_job_that_is_not_there_is_an_error(session: Session, wire: Wire) -> None:
    answer_jobs(wire, first="Completed")
    with pytest.raises(JobError, match="nothing"):
        commands.compare(session, ["first", "nothing"])
