"""Tuning jobs and their trials as SageMaker shows them. What carries them on is `local_aws.tuning_runs`."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from local_aws.metrics import MetricData
from local_aws.times import this_moment
from local_aws.training_jobs import (
    COMPLETED,
    FAILED,
    IN_PROGRESS,
    LONGEST_FAILURE_REASON,
    STOPPED,
    STOPPING,
    TrainingJob,
)
from local_aws.tuning_requests import Objective, TuningRequest

_ENDED = (COMPLETED, FAILED, STOPPED)

# The least improvement that counts, as a share of the best value so far.
_IMPROVEMENT = 0.01

# How the failure reasons begin of training jobs that a repetition could help.
_RETRYABLE = "InternalServerError"


class ObservedObjective:
    """The values of the objective in the order in which a trial's output shows them. To be shared by threads."""

    def __init__(self, objective: Objective) -> None:
        self._metric_name = objective.metric_name
        self._values: list[float] = []
        self._lock = threading.Lock()

    def observe(self, data: MetricData) -> None:
        """Takes a value of any metric."""
        if data.name == self._metric_name:
            with self._lock:
                self._values.append(data.value)

    @property
    def values(self) -> Sequence[float]:
        with self._lock:
            return tuple(self._values)


@dataclass(frozen=True)
class Trial:
    """A training job that a tuning job has launched.

    Attributes:
        tuned: the values of the tuned hyperparameters.
        observed: the objective while it runs.
    """

    job: TrainingJob
    tuned: Mapping[str, str]
    objective: Objective
    observed: ObservedObjective = field(repr=False)

    @property
    def has_ended(self) -> bool:
        return self.job.state.status in _ENDED

    @property
    def result(self) -> float | None:
        """The last value of the objective in the trial's output; None while it runs, without one, and for a failed one.

        A trial that was stopped has one too: SageMaker takes whatever the trial came to.
        """
        state = self.job.state
        if state.status not in (COMPLETED, STOPPED):
            return None
        return next((data.value for data in state.final_metrics if data.name == self.objective.metric_name), None)

    def summary(self, tuning_job_name: str, definition_name: str | None) -> dict[str, Any]:
        """The trial's entry in the answer of ListTrainingJobsForHyperParameterTuningJob."""
        state, result = self.job.state, self.result
        entry: dict[str, Any] = {
            "TrainingJobDefinitionName": definition_name,
            "TrainingJobName": self.job.request.name,
            "TrainingJobArn": self.job.arn,
            "TuningJobName": tuning_job_name,
            "CreationTime": self.job.creation_time,
            "TrainingStartTime": state.training_start_time,
            "TrainingEndTime": state.training_end_time,
            "TrainingJobStatus": state.status,
            "TunedHyperParameters": self.tuned,
            "FailureReason": state.failure_reason,
            "ObjectiveStatus": self.objective_status,
        }
        if result is not None:
            entry["FinalHyperParameterTuningJobObjectiveMetric"] = {
                "Type": self.objective.type,
                "MetricName": self.objective.metric_name,
                "Value": result,
            }
        return {name: value for name, value in entry.items() if value is not None}

    @property
    def objective_status(self) -> str:
        """Which of ObjectiveStatusCounters counts it."""
        if not self.has_ended:
            return "Pending"
        return "Failed" if self.result is None else "Succeeded"

    @property
    def status_counter(self) -> str:
        """Which of TrainingJobStatusCounters counts it."""
        state = self.job.state
        if state.status == FAILED:
            is_retryable = (state.failure_reason or "").startswith(_RETRYABLE)
            return "RetryableError" if is_retryable else "NonRetryableError"
        return IN_PROGRESS if state.status == STOPPING else state.status


@dataclass(frozen=True)
class TuningState:
    """What changes about a tuning job besides its trials."""

    status: str
    last_modified_time: datetime
    end_time: datetime | None = None
    failure_reason: str | None = None


class TuningJob:
    """One tuning job. Its methods may be called from any thread.

    moto's own operations (ListTags, AddTags, the tagging API) find it by the attributes `arn` and `tags`.
    """

    def __init__(self, request: TuningRequest, arn: str) -> None:
        self.request = request
        self.arn = arn
        self.creation_time = this_moment()
        self.tags: list[dict[str, str]] = list(request.document.get("Tags", ()))
        self._lock = threading.Lock()
        self._trials: tuple[Trial, ...] = ()
        self._state = TuningState(IN_PROGRESS, self.creation_time)

    @property
    def state(self) -> TuningState:
        """The state as it is now."""
        return self._state

    @property
    def trials(self) -> Sequence[Trial]:
        """In the order of their launches."""
        return self._trials

    @property
    def best(self) -> Trial | None:
        """The trial with the best result so far, of equal ones the one that ended first; None where none has one."""
        best = None
        for trial, result in self._results():
            if best is None or self.request.objective.is_better(result, best[1]):
                best = trial, result
        return best[0] if best else None

    @property
    def not_improving(self) -> int:
        """How many trials in a row have ended since one was better than all before it by 1% or more."""
        best: float | None = None
        count = 0
        for _, result in self._results():
            is_better = best is None or self.request.objective.is_better(result, best)
            is_by_far = best is None or abs(result - best) >= _IMPROVEMENT * abs(best)
            count = 0 if is_better and is_by_far else count + 1
            if is_better:
                best = result
        return count

    @property
    def seconds(self) -> float:
        """How long it took so far, or in all."""
        return ((self._state.end_time or this_moment()) - self.creation_time).total_seconds()

    def add(self, trial: Trial) -> None:
        """Takes a trial that was launched."""
        with self._lock:
            self._trials = (*self._trials, trial)

    def begin_stopping(self) -> str | None:
        """Marks the job as Stopping; returns the status that it has where it is no longer in progress."""
        with self._lock:
            if self._state.status != IN_PROGRESS:
                return self._state.status
            self._state = TuningState(STOPPING, this_moment())
        return None

    def end(self, failure_reason: str | None = None) -> None:
        """Ends the job, all of whose trials have ended: as Failed for that reason, as Stopped or as Completed."""
        now = this_moment()
        with self._lock:
            status = STOPPED if self._state.status == STOPPING else COMPLETED
            self._state = replace(self._state, status=status, last_modified_time=now, end_time=now)
            if failure_reason is not None:
                reason = failure_reason[:LONGEST_FAILURE_REASON]
                self._state = replace(self._state, status=FAILED, failure_reason=reason)

    def describe(self) -> dict[str, Any]:
        """The answer of DescribeHyperParameterTuningJob."""
        document, state, best = self.request.document, self._state, self.best
        answer = {
            "HyperParameterTuningJobName": self.request.name,
            "HyperParameterTuningJobArn": self.arn,
            "HyperParameterTuningJobConfig": document["HyperParameterTuningJobConfig"],
            "TrainingJobDefinition": document["TrainingJobDefinition"],
            "HyperParameterTuningJobStatus": state.status,
            "CreationTime": self.creation_time,
            "HyperParameterTuningEndTime": state.end_time,
            "LastModifiedTime": state.last_modified_time,
            **self._counters(),
            "BestTrainingJob": self.trial_summary(best) if best else None,
            "FailureReason": state.failure_reason,
            "TuningJobCompletionDetails": {"NumberOfTrainingJobsObjectiveNotImproving": self.not_improving},
            "ConsumedResources": {"RuntimeInSeconds": math.ceil(self.seconds)},
        }
        return {name: value for name, value in answer.items() if value is not None}

    def summary(self) -> dict[str, Any]:
        """The job's entry in the answer of ListHyperParameterTuningJobs."""
        state, config = self._state, self.request.document["HyperParameterTuningJobConfig"]
        entry = {
            "HyperParameterTuningJobName": self.request.name,
            "HyperParameterTuningJobArn": self.arn,
            "HyperParameterTuningJobStatus": state.status,
            "Strategy": self.request.strategy,
            "CreationTime": self.creation_time,
            "HyperParameterTuningEndTime": state.end_time,
            "LastModifiedTime": state.last_modified_time,
            **self._counters(),
            "ResourceLimits": config["ResourceLimits"],
        }
        return {name: value for name, value in entry.items() if value is not None}

    def trial_summary(self, trial: Trial) -> dict[str, Any]:
        """The entry of one of its trials in lists."""
        return trial.summary(self.request.name, self.request.definition.get("DefinitionName"))

    def _counters(self) -> Mapping[str, Mapping[str, int]]:
        trials = self._trials
        statuses = Counter(trial.status_counter for trial in trials)
        objectives = Counter(trial.objective_status for trial in trials)
        names = ("Completed", "InProgress", "RetryableError", "NonRetryableError", "Stopped")
        return {
            "TrainingJobStatusCounters": {name: statuses[name] for name in names},
            "ObjectiveStatusCounters": {name: objectives[name] for name in ("Succeeded", "Pending", "Failed")},
        }

    def _results(self) -> Sequence[tuple[Trial, float]]:
        """The trials that have results, and these, in the order in which the trials ended."""
        ended = [(trial, trial.result, trial.job.state.training_end_time) for trial in self._trials]
        found = [(trial, result, end) for trial, result, end in ended if result is not None and end is not None]
        return [(trial, result) for trial, result, _ in sorted(found, key=lambda entry: entry[2])]
