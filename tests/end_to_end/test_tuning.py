"""Tuning at the command line, on the AWS of this machine: launched, followed, read, stopped, and trained from."""

import csv
import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.aws import eventually
from tests.end_to_end.test_training_jobs import aws
from tests.project import Project

pytestmark = [pytest.mark.slow, pytest.mark.long]

RANGES = {
    "training.learning_rate": {"minimum": 1e-4, "maximum": 1e-1, "scaling": "Logarithmic"},
    "training.batch_size": {"values": [2, 4]},
    "training.xla": {"values": [False]},
    "training.epochs": {"minimum": 2, "maximum": 4},
}
TUNE = ("--set", f"tuning.ranges={json.dumps(RANGES)}", "--set", "tuning.jobs=4")
NAME = r"shades-\d{6}-\d{6}"


@pytest.fixture(scope="module")
def tuned(split_project: Project) -> Project:
    """A project with buckets, image and one completed tuning job."""
    shown = split_project.manage_local("--init_s3_buckets", "--build_and_push_docker_image", "--launch_tuning", *TUNE)
    assert "4 training jobs of 1 x ml.g5.xlarge" in shown.stdout
    assert "tunes training.learning_rate: 0.0001 to 0.1 (Logarithmic)" in shown.stdout
    return split_project


def last_tuning_job(project: Project) -> dict[str, Any]:
    sagemaker = project.client("sagemaker")
    listed = sagemaker.list_hyper_parameter_tuning_jobs(SortBy="CreationTime", SortOrder="Descending")
    name = listed["HyperParameterTuningJobSummaries"][0]["HyperParameterTuningJobName"]
    return sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)


def metric(job: dict[str, Any], name: str) -> float:
    (value,) = [found["Value"] for found in job["FinalMetricDataList"] if found["MetricName"] == name]
    return value


def test_the_trials_are_told_and_written(tuned: Project) -> None:
    job = last_tuning_job(tuned)
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert job["TrainingJobStatusCounters"]["Completed"] == 4
    name = job["HyperParameterTuningJobName"]
    shown = tuned.manage_local("--tuning_results").stdout
    assert f"best trial: {job['BestTrainingJob']['TrainingJobName']}" in shown
    with (tuned.root / "results" / name / "trials.csv").open() as opened:
        rows = list(csv.DictReader(opened))
    assert len(rows) == 4
    assert {row["training.batch_size"] for row in rows} <= {"2", "4"}
    assert {row["training.xla"] for row in rows} == {"False"}
    assert all(1e-4 <= float(row["training.learning_rate"]) <= 1e-1 for row in rows)
    best = max(float(row["FinalObjectiveValue"]) for row in rows)
    objective = job["BestTrainingJob"]["FinalHyperParameterTuningJobObjectiveMetric"]
    assert best == pytest.approx(objective["Value"], abs=1e-6)


def test_the_objective_is_the_best_epochs(tuned: Project) -> None:
    sagemaker = tuned.client("sagemaker")
    best = last_tuning_job(tuned)["BestTrainingJob"]
    trial = sagemaker.describe_training_job(TrainingJobName=best["TrainingJobName"])
    assert trial["HyperParameters"]["_tuning_objective_metric"] == "best_val_accuracy"
    value = best["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]
    assert value == pytest.approx(metric(trial, "best_val_accuracy"), abs=1e-6)


def test_training_with_the_winners_values_gives_the_winners_objective(tuned: Project) -> None:
    job = last_tuning_job(tuned)
    tuned.manage_local("--launch_training", "--from_tuning")
    sagemaker = tuned.client("sagemaker")
    listed = sagemaker.list_training_jobs(SortBy="CreationTime", SortOrder="Descending")["TrainingJobSummaries"]
    again = sagemaker.describe_training_job(TrainingJobName=listed[0]["TrainingJobName"])
    best = sagemaker.describe_training_job(TrainingJobName=job["BestTrainingJob"]["TrainingJobName"])
    assert not again["TrainingJobName"].startswith(job["HyperParameterTuningJobName"])
    wanted = {name: text for name, text in best["HyperParameters"].items() if not name.startswith("_")}
    assert again["HyperParameters"] == {name: text for name, text in wanted.items() if name != "training.xla"}
    for name in ("best_val_accuracy", "best_val_loss"):
        assert metric(again, name) == pytest.approx(metric(best, name), abs=1e-3)


def test_the_request_launches_by_the_aws_command_line_too(tuned: Project, tmp_path: Path) -> None:
    request = json.loads((tuned.root / "tuning-job-config.json").read_text())
    request["HyperParameterTuningJobName"] = "by-hand"
    request["HyperParameterTuningJobConfig"]["ResourceLimits"]["MaxNumberOfTrainingJobs"] = 2
    (tmp_path / "request.json").write_text(json.dumps(request))
    given = f"file://{tmp_path / 'request.json'}"
    aws(tuned, "sagemaker", "create-hyper-parameter-tuning-job", "--cli-input-json", given)
    assert tuned.manage_local("--monitor", "by-hand").returncode == 0
    name = ("--hyper-parameter-tuning-job-name", "by-hand")
    described = json.loads(aws(tuned, "sagemaker", "describe-hyper-parameter-tuning-job", *name))
    assert described["HyperParameterTuningJobStatus"] == "Completed"
    assert described["TrainingJobStatusCounters"]["Completed"] == 2


def test_ctrl_c_leaves_it_running_and_a_stop_ends_it_and_its_trials(tuned: Project) -> None:
    ranges = {name: values for name, values in RANGES.items() if name != "training.epochs"}
    endless = ("--set", "training.epochs=10000", "--set", "training.patience=0")
    launch = ("--launch_tuning", "--set", f"tuning.ranges={json.dumps(ranges)}", *endless)
    following = tuned.start("project_manager.py", "--local", *launch)
    assert following.stdout
    shown = ""
    for line in following.stdout:
        shown += line
        if re.match(r"trial \S+ InProgress", line):
            break
    following.send_signal(signal.SIGINT)
    shown += following.communicate(timeout=60)[0]
    assert following.returncode == 0, shown
    (job,) = set(re.findall(NAME, shown))
    assert f"python project_manager.py --local --monitor {job}" in shown
    assert f"python project_manager.py --local --stop_tuning {job}" in shown
    assert last_tuning_job(tuned)["HyperParameterTuningJobStatus"] == "InProgress"
    refused = tuned.manage("--local", "--delete", "--yes")
    assert f"{job} is still running: end it first by --stop_tuning {job}" in refused.stderr

    stopped = tuned.manage("--local", "--stop_tuning", "--monitor", job)
    assert f"error: {job} was stopped before it was done" in stopped.stderr
    running = tuned.client("sagemaker").list_training_jobs(StatusEquals="InProgress")["TrainingJobSummaries"]
    assert running == []


def test_a_dry_run_shows_the_request_and_launches_nothing(tuned: Project) -> None:
    before = last_tuning_job(tuned)["HyperParameterTuningJobName"]
    shown = tuned.manage_local("--launch_tuning", "--dry_run", *TUNE).stdout
    assert "aws sagemaker create-hyper-parameter-tuning-job --hyper-parameter-tuning-job-name shades-" in shown
    assert last_tuning_job(tuned)["HyperParameterTuningJobName"] == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--launch_tuning",), "there is nothing to tune: set tuning.ranges"),
        (("--launch_tuning", *TUNE, "--set", "tuning.objective=wisdom"), "tuning.objective=wisdom is no metric"),
        (("--monitor", "nothing"), "there is no training job 'nothing'"),
        (("--tuning_results", "nothing"), "there is no tuning job 'nothing'"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments: tuple[str, ...], message: str, tuned: Project) -> None:
    failed = tuned.manage("--local", *arguments)
    assert failed.returncode == 1
    assert re.fullmatch(rf"error: .*{re.escape(message)}.*\n", failed.stderr)


def test_the_removal_takes_the_records_too(tuned: Project) -> None:
    sagemaker = tuned.client("sagemaker")
    eventually(lambda: not sagemaker.list_training_jobs(StatusEquals="Stopping")["TrainingJobSummaries"])
    tuned.manage_local("--delete", "--with_data", "--yes")
    assert sagemaker.list_hyper_parameter_tuning_jobs()["HyperParameterTuningJobSummaries"] == []
    assert sagemaker.list_training_jobs()["TrainingJobSummaries"] == []
