"""Trials that are stopped before they are done, and tuning jobs that are."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.aws import start_in_foreground
from tests.tuning import ENDLESS, Tuning

# Logs the same value after every epoch: three times where it is a good one, else for longer than a test waits.
EPOCHS = """\
def stop(number, frame):
    print("stopped", flush=True)
    sys.exit(0)


signal.signal(signal.SIGTERM, stop)
for epoch in range(3 if h["c"] in ("3", "4", "5") else 6000):
    score(float(h["c"]))
    time.sleep(0.02)
"""


@pytest.fixture
def tuning(aws: Any) -> Tuning:
    return Tuning(aws)


def alive(process: int) -> bool:
    """Whether a process runs; a zombie, which nobody may have reaped yet, does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def running(tuning: Tuning, name: str, count: int) -> list[dict[str, Any]]:
    """The trials, once as many of them have written to their logs."""

    def look() -> list[dict[str, Any]] | None:
        trials = tuning.trials(name)
        return trials if sum(bool(tuning.aws.lines(trial["TrainingJobName"])) for trial in trials) == count else None

    return tuning.aws.eventually(look)


def test_a_stopped_tuning_job_stops_its_trials_gracefully(tuning: Tuning) -> None:
    name = tuning.start(ENDLESS)
    running(tuning, name, 2)
    tuning.aws.sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    assert tuning.describe(name)["HyperParameterTuningJobStatus"] in ("Stopping", "Stopped")
    job = tuning.finish(name)
    assert job["HyperParameterTuningJobStatus"] == "Stopped"
    assert job["TrainingJobStatusCounters"]["Stopped"] == 2
    trials = tuning.trials(name)
    for trial in trials:
        assert trial["TrainingJobStatus"] == "Stopped"
        assert tuning.aws.archive(f"out/{trial['TrainingJobName']}/output/model.tar.gz") == {"weights": b"half"}
        # What a stopped trial came to counts as well.
        assert trial["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] == float(
            trial["TunedHyperParameters"]["x"]
        )
    assert job["BestTrainingJob"] == max(trials, key=lambda trial: float(trial["TunedHyperParameters"]["x"]))
    with pytest.raises(ClientError, match="because the tuning job is in status Stopped") as caught:
        tuning.aws.sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_a_tuning_job_that_runs_cannot_be_deleted(tuning: Tuning) -> None:
    name = tuning.start(ENDLESS)
    with pytest.raises(tuning.aws.sagemaker.exceptions.ResourceInUse):
        tuning.aws.sagemaker.delete_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    tuning.aws.sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    tuning.finish(name)


def test_a_trial_that_is_worse_than_the_median_is_stopped_early(tuning: Tuning) -> None:
    ranges = {"CategoricalParameterRanges": [{"Name": "c", "Values": ["1", "2", "3", "4", "5"]}]}
    limits = {"MaxNumberOfTrainingJobs": 5, "MaxParallelTrainingJobs": 5}
    name = tuning.start(
        EPOCHS, Strategy="Grid", ParameterRanges=ranges, TrainingJobEarlyStoppingType="Auto", limits=limits
    )
    job = tuning.finish(name)
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    trials = {trial["TunedHyperParameters"]["c"]: trial for trial in tuning.trials(name)}
    assert {c: trial["TrainingJobStatus"] for c, trial in trials.items()} == {
        "1": "Stopped", "2": "Stopped", "3": "Completed", "4": "Completed", "5": "Completed",
    }  # fmt: skip
    stopped = tuning.aws.describe(trials["1"]["TrainingJobName"])
    assert stopped["SecondaryStatus"] == "Stopped"
    assert "stopped early" in stopped["SecondaryStatusTransitions"][-1]["StatusMessage"]
    assert tuning.aws.lines(trials["1"]["TrainingJobName"])[-1] == "stopped"
    assert trials["1"]["ObjectiveStatus"] == "Succeeded"
    assert job["TrainingJobStatusCounters"]["Stopped"] == 2


def test_without_early_stopping_every_trial_ends_by_itself(tuning: Tuning) -> None:
    ranges = {"CategoricalParameterRanges": [{"Name": "c", "Values": ["1", "3", "4", "5"]}]}
    limits = {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 4}
    train = EPOCHS.replace("6000", "30")
    job = tuning.run(train, Strategy="Grid", ParameterRanges=ranges, limits=limits)
    assert job["TrainingJobStatusCounters"]["Completed"] == 4


def test_hyperband_stops_its_trials_by_their_epochs(tuning: Tuning) -> None:
    train = EPOCHS.replace("range(3 if", "range(6000 if")
    ranges = {"IntegerParameterRanges": [{"Name": "c", "MinValue": "1", "MaxValue": "1000"}]}
    config = {"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": 3}}
    name = tuning.start(train, Strategy="Hyperband", StrategyConfig=config, ParameterRanges=ranges)
    job = tuning.finish(name)
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert job["TrainingJobStatusCounters"]["Stopped"] == job["ObjectiveStatusCounters"]["Succeeded"] == 3
    tuned = [int(trial["TunedHyperParameters"]["c"]) for trial in tuning.trials(name)]
    assert job["BestTrainingJob"]["TunedHyperParameters"]["c"] == str(max(tuned))


@pytest.mark.parametrize(
    "criteria",
    [
        {"TargetObjectiveMetricValue": 2.0},
        {"BestObjectiveNotImproving": {"MaxNumberOfTrainingJobsNotImproving": 3}},
    ],
)
def test_a_tuning_job_ends_when_a_completion_criterion_is_met(tuning: Tuning, criteria: dict[str, Any]) -> None:
    # The fourth trial in a row that is as good as the first one, or the first one already.
    limits = {"MaxNumberOfTrainingJobs": 30, "MaxParallelTrainingJobs": 1}
    job = tuning.run("score(2.0)", TuningJobCompletionCriteria=criteria, limits=limits)
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    count = 1 if "TargetObjectiveMetricValue" in criteria else 4
    assert job["TrainingJobStatusCounters"]["Completed"] == count
    details = job["TuningJobCompletionDetails"]
    assert details["NumberOfTrainingJobsObjectiveNotImproving"] == count - 1


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL])
def test_no_trial_outlives_the_server(own_aws: Any, signal_number: int) -> None:
    tuning = Tuning(own_aws)
    train = """
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
print(os.getpid(), os.getppid(), child.pid, flush=True)
time.sleep(600)
"""
    name = tuning.start(f"import subprocess\n{train}")
    trials = running(tuning, name, 2)
    processes = [int(word) for trial in trials for word in own_aws.lines(trial["TrainingJobName"])[0].split()]
    assert len(processes) == 6
    assert all(alive(process) for process in processes)
    os.kill(own_aws.server.process.pid, signal_number)
    own_aws.server.process.wait(20)
    own_aws.eventually(lambda: not any(alive(process) for process in processes))
    if signal_number == signal.SIGTERM:
        assert not list(own_aws.server.home.glob("jobs/*"))


@pytest.mark.slow
def test_a_new_server_in_the_same_home_knows_nothing_of_the_tuning_jobs_of_a_killed_one(own_aws: Any) -> None:
    tuning = Tuning(own_aws)
    name = tuning.start(ENDLESS)
    running(tuning, name, 2)
    own_aws.server.process.kill()
    own_aws.server.process.wait(20)
    server = start_in_foreground(own_aws.server.home)
    try:
        assert server.client("sagemaker").list_hyper_parameter_tuning_jobs()["HyperParameterTuningJobSummaries"] == []
        assert server.client("sagemaker").list_training_jobs()["TrainingJobSummaries"] == []
    finally:
        server.process.terminate()
        assert server.process.wait(20) == 0
