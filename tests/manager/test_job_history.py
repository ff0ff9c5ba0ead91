"""Training jobs side by side: what AWS says of them, and what differs."""

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from manager.console import Terminal
from manager.errors import JobError
from manager.job_history import TrainedJob, check_comparable, differences, show_comparison, show_history
from manager.pricing import Price

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
PRICES = {"ml.g5.xlarge": Price(1.8)}


def job(number: int, accuracy: float | None = None, **hyperparameters: str) -> TrainedJob:
    """A job that trained 1,000 s; settings are given with `__` for the dot."""
    metrics = [] if accuracy is None else [("evaluation_accuracy", accuracy), ("best_val_accuracy", accuracy + 0.01)]
    description: dict[str, Any] = {
        "TrainingJobName": f"shades-{number}",
        "TrainingJobStatus": "Completed" if metrics else "Failed",
        "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
        "CreationTime": NOW - timedelta(hours=9 - number),
        "TrainingTimeInSeconds": 1000,
        "BillableTimeInSeconds": 1000,
        "HyperParameters": {name.replace("__", "."): text for name, text in hyperparameters.items()},
        "FinalMetricDataList": [{"MetricName": name, "Value": value, "Timestamp": NOW} for name, value in metrics],
    }
    return TrainedJob.read(description, NOW)


def shown(show: Any, jobs: list[TrainedJob]) -> str:
    out = StringIO()
    show(jobs, PRICES, Terminal(out=Console(file=out, width=160), err=Console(file=StringIO())))
    return out.getvalue()


def test_what_is_not_set_has_its_default() -> None:
    jobs = [job(1, training__epochs="3", training__seed="7"), job(2, training__seed="7", _tuning_objective_metric="x")]
    assert differences(jobs) == {"training.epochs": ("3", "20")}


def test_a_setting_that_is_no_more_is_unknown() -> None:
    assert differences([job(1, training__magic="3"), job(2)]) == {"training.magic": ("3", "-")}


def test_the_history_tells_what_each_job_changed() -> None:
    rows = shown(show_history, [job(2, 0.75, training__epochs="3"), job(1)]).splitlines()
    (changed,) = (row for row in rows if "shades-2" in row)
    assert changed.split() == ["shades-2", "Completed", "16:40", "0.50", "0.7500", "0.7600", "training.epochs=3"]
    (first,) = (row for row in rows if "shades-1" in row)
    assert first.split() == ["shades-1", "Failed", "16:40", "0.50", "-", "-"]


def test_jobs_stand_side_by_side() -> None:
    rows = [
        line.split() for line in shown(show_comparison, [job(1, 0.5), job(2, 0.75, training__epochs="3")]).splitlines()
    ]
    assert ["evaluation_accuracy", "0.5000", "0.7500"] in rows
    assert ["training.epochs", "20", "3"] in rows
    assert ["about", "USD", "0.50", "0.50"] in rows


@pytest.mark.parametrize("names", [["a"], ["a", "a"], [str(number) for number in range(9)]])
def test_too_few_or_too_many_are_refused(names: list[str]) -> None:
    with pytest.raises(JobError, match="--compare"):
        check_comparable(names)
