"""The launch of a training job over a connection that loses answers: a job is launched once, and known to be."""

import io
import itertools
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from container.modeling.config_file import load_settings
from container.modeling.settings import Settings
from manager import names, training
from manager.console import Terminal
from manager.errors import AwsError
from manager.plan import execute
from tests import aws as local_aws
from tests.aws import Server
from tests.manager.wire import Answer, Wire

TEMPLATE = Path(__file__).resolve().parents[2] / training.TEMPLATE
_seconds = itertools.count()
QUIET = Terminal(out=Console(file=io.StringIO()), err=Console(file=io.StringIO()))


@pytest.fixture
def settings() -> Settings:
    return load_settings(assignments={"algorithm_name": "launch"})


@pytest.fixture
def request_of_job(server: Server, settings: Settings, tmp_path: Path) -> Iterator[Any]:
    """A request whose role, image and buckets are there."""
    aws = local_aws.Aws(server, tmp_path)
    aws.create_role(names.role(settings), "sagemaker.amazonaws.com")
    place = names.Place("123456789012", local_aws.REGION)
    job = names.training_job(settings, datetime(2030, 1, 1) + timedelta(seconds=next(_seconds)))
    image = aws.push(aws.image_directory("true"))
    request = training.render_request(settings, place, image, job, TEMPLATE)
    request["OutputDataConfig"]["S3OutputPath"] = f"s3://{aws.bucket}/"
    del request["InputDataConfig"], request["CheckpointConfig"]
    yield request
    aws.iam.delete_role(RoleName=names.role(settings))


def jobs(server: Server) -> list[str]:
    listed = server.client("sagemaker").list_training_jobs(NameContains="launch-")["TrainingJobSummaries"]
    return [job["TrainingJobName"] for job in listed]


def test_a_job_whose_answer_was_lost_counts_as_launched(
    server: Server, wire: Wire, request_of_job: Any, tmp_path: Path
) -> None:
    wire.lost = ["CreateTrainingJob"]
    execute(training.plan_training(request_of_job, tmp_path / "request.json"), wire.aws(), QUIET)
    assert wire.lost == []
    assert wire.operations.count("CreateTrainingJob") == 2
    assert jobs(server).count(request_of_job["TrainingJobName"]) == 1


@pytest.mark.parametrize(
    "other",
    [{"HyperParameters": {"training.epochs": "7"}}, {"Tags": [{"Key": "Project", "Value": "somebody-elses"}]}],
)
def test_a_job_of_that_name_that_another_request_made_is_in_use(
    other: dict[str, Any], server: Server, wire: Wire, request_of_job: Any, tmp_path: Path
) -> None:
    request_of_job["TrainingJobName"] = f"launch-{'-'.join(other).lower()}"
    server.client("sagemaker").create_training_job(**request_of_job | other)
    wire.lost = ["CreateTrainingJob"]
    with pytest.raises(AwsError, match="ResourceInUse"):
        execute(training.plan_training(request_of_job, tmp_path / "request.json"), wire.aws(), QUIET)


def test_a_job_of_an_earlier_day_is_in_use(server: Server, wire: Wire, request_of_job: Any, tmp_path: Path) -> None:
    described = server.client("sagemaker").create_training_job(**request_of_job) | request_of_job
    described["CreationTime"] = 0
    wire.answers["DescribeTrainingJob"] = lambda _: Answer.of_json(described)
    wire.lost = ["CreateTrainingJob"]
    with pytest.raises(AwsError, match="ResourceInUse"):
        execute(training.plan_training(request_of_job, tmp_path / "request.json"), wire.aws(), QUIET)


def test_a_name_that_is_in_use_already_is_an_error_though_the_request_is_the_same(
    server: Server, wire: Wire, request_of_job: Any, tmp_path: Path
) -> None:
    server.client("sagemaker").create_training_job(**request_of_job)
    with pytest.raises(AwsError, match="ResourceInUse"):
        execute(training.plan_training(request_of_job, tmp_path / "request.json"), wire.aws(), QUIET)
