"""Training jobs as SageMaker shows them: their states, and the rules by which these follow each other.

A job's state is one immutable value that is replaced as a whole under the job's lock, so that a request never
sees half of a transition. What carries a job through its states is `local_aws.training_runs`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from local_aws.metrics import MetricData
from local_aws.times import this_moment
from local_aws.training_requests import TrainingRequest

IN_PROGRESS, COMPLETED, FAILED, STOPPING, STOPPED = "InProgress", "Completed", "Failed", "Stopping", "Stopped"

_STARTING = "Preparing the instances for training"
_INTERRUPTED = "Training job interrupted: the managed spot training instances were taken away"

# FailureReason's greatest length in the service model.
LONGEST_FAILURE_REASON = 1024

# What spot capacity costs, as a share of what the same time costs on demand: on AWS it changes by the hour, here it
# stands for any.
_SPOT_PRICE = 0.5


class NotInterruptibleError(Exception):
    """A job cannot be interrupted now; the message says why."""


@dataclass(frozen=True)
class StopReason:
    """Why a job is stopped: the secondary status that it ends with, and that one's message."""

    secondary_status: str
    message: str


REQUESTED = StopReason("Stopped", "Training job stopped")
MAX_RUNTIME = StopReason("MaxRuntimeExceeded", "Training job runtime exceeded MaxRuntimeInSeconds provided")
MAX_WAIT_TIME = StopReason("MaxWaitTimeExceeded", "Training job wait time exceeded MaxWaitTimeInSeconds provided")


@dataclass(frozen=True)
class Transition:
    """One entry of SecondaryStatusTransitions."""

    status: str
    start_time: datetime
    end_time: datetime | None
    message: str


@dataclass(frozen=True)
class JobState:
    """What changes about a job; the attributes are DescribeTrainingJob's, but for the last ones.

    Attributes:
        attempt_start_time: when the job got the instances that it has now; None while it has none.
        earlier_seconds: how long it had those that were taken away.
        stop_reason: why it is being stopped.
    """

    status: str
    secondary_status: str
    last_modified_time: datetime
    transitions: tuple[Transition, ...]
    training_start_time: datetime | None = None
    training_end_time: datetime | None = None
    failure_reason: str | None = None
    final_metrics: tuple[MetricData, ...] = ()
    attempt_start_time: datetime | None = None
    earlier_seconds: float = 0.0
    stop_reason: StopReason | None = None

    def seconds_until(self, now: datetime) -> float:
        """How long the job had instances until then."""
        current = (now - self.attempt_start_time).total_seconds() if self.attempt_start_time else 0.0
        return self.earlier_seconds + current

    def moved(self, secondary_status: str, message: str, now: datetime, **changes: Any) -> JobState:
        """The state after a transition to a secondary status, with other attributes changed along with it."""
        last = replace(self.transitions[-1], end_time=now)
        ended = changes.get("status") in (COMPLETED, FAILED, STOPPED)
        transition = Transition(secondary_status, now, now if ended else None, message)
        return replace(
            self,
            secondary_status=secondary_status,
            last_modified_time=now,
            transitions=(*self.transitions[:-1], last, transition),
            **changes,
        )


class TrainingJob:
    """One training job. Its methods may be called from any thread.

    moto's own operations (ListTags, AddTags, Search, the tagging API) find it by the attributes `arn`, `tags`
    and `gen_response_object`.

    Args:
        tuning_job_arn: of the tuning job that it is a trial of, if it is one.
    """

    def __init__(self, request: TrainingRequest, arn: str, tuning_job_arn: str | None) -> None:
        now = this_moment()
        self.request = request
        self.arn = arn
        self.tuning_job_arn = tuning_job_arn
        self.creation_time = now
        self.tags: list[dict[str, str]] = list(request.document.get("Tags", ()))
        self._lock = threading.Lock()
        self._interruption_requested = threading.Event()
        self._state = JobState(IN_PROGRESS, "Starting", now, (Transition("Starting", now, None, _STARTING),))

    @property
    def state(self) -> JobState:
        """The state as it is now."""
        return self._state

    @property
    def is_stopping(self) -> bool:
        """Whether the job is to end before it is done."""
        return self._state.stop_reason is not None

    @property
    def interruption_requested(self) -> bool:
        """Whether the capacity of this spot job is to be taken away."""
        return self._interruption_requested.is_set()

    def advance(self, secondary_status: str, message: str) -> None:
        """Moves on to the next phase. A job that is being stopped stays so while it uploads what it has."""
        now = this_moment()
        with self._lock:
            state = self._state
            if state.attempt_start_time is None:
                first = state.training_start_time or now
                state = replace(state, training_start_time=first, attempt_start_time=now)
            if state.status == IN_PROGRESS or secondary_status == "Uploading":
                state = state.moved(secondary_status, message, now)
            self._state = state

    def begin_stopping(self, reason: StopReason) -> str | None:
        """Marks the job as Stopping; returns the status that it has where it is no longer in progress."""
        with self._lock:
            if self._state.status != IN_PROGRESS:
                return self._state.status
            self._state = self._state.moved(
                "Stopping", "Stopping the training job", this_moment(), status=STOPPING, stop_reason=reason
            )
        return None

    def interrupt(self) -> None:
        """Asks for an interruption: what carries the job ends its program, and begins anew.

        Raises:
            NotInterruptibleError: it is no spot job, or not Training.
        """
        name = self.request.name
        with self._lock:
            status = self._state.secondary_status
            if not self.request.is_spot:
                raise NotInterruptibleError(
                    f"{name} is no spot job (EnableManagedSpotTraining), and nothing but spot capacity is taken away"
                )
            if status != "Training":
                raise NotInterruptibleError(f"{name} is {status}: only a job that is Training can be interrupted")
            if self._interruption_requested.is_set():
                raise NotInterruptibleError(f"{name} is being interrupted already")
            self._interruption_requested.set()

    def begin_next_attempt(self) -> bool:
        """Moves on from Training, interrupted, to Starting; returns False where the job is being stopped instead."""
        now = this_moment()
        with self._lock:
            self._interruption_requested.clear()
            if self._state.status != IN_PROGRESS:
                return False
            seconds = self._state.seconds_until(now)
            interrupted = self._state.moved("Interrupted", _INTERRUPTED, now)
            self._state = interrupted.moved(
                "Starting", _STARTING, now, attempt_start_time=None, earlier_seconds=seconds
            )
        return True

    def end(self, metrics: tuple[MetricData, ...]) -> None:
        """Ends a job that did not fail: as Completed, or as Stopped where it was being stopped."""
        with self._lock:
            if self._state.status == IN_PROGRESS:
                self._finish(COMPLETED, "Completed", "Training job completed", final_metrics=metrics)
            else:
                reason = self._state.stop_reason or REQUESTED
                self._finish(STOPPED, reason.secondary_status, reason.message, final_metrics=metrics)

    def fail(self, reason: str, metrics: tuple[MetricData, ...] = ()) -> None:
        """Ends the job as Failed, with a reason for a person."""
        with self._lock:
            self._finish(
                FAILED,
                "Failed",
                "Training job failed",
                failure_reason=reason[:LONGEST_FAILURE_REASON],
                final_metrics=metrics,
            )

    def describe(self) -> dict[str, Any]:
        """The answer of DescribeTrainingJob: every field of the request, and the state."""
        state = self._state
        request = {name: value for name, value in self.request.document.items() if name != "Tags"}
        answer: dict[str, Any] = {
            "EnableNetworkIsolation": False,
            "EnableInterContainerTrafficEncryption": False,
            "EnableManagedSpotTraining": False,
            **request,
            "TrainingJobArn": self.arn,
            "TuningJobArn": self.tuning_job_arn,
            "TrainingJobStatus": state.status,
            "SecondaryStatus": state.secondary_status,
            "SecondaryStatusTransitions": [_transition(transition) for transition in state.transitions],
            "CreationTime": self.creation_time,
            "LastModifiedTime": state.last_modified_time,
            "ModelArtifacts": {"S3ModelArtifacts": str(self.request.output.below("model.tar.gz"))},
            "TrainingStartTime": state.training_start_time,
            "TrainingEndTime": state.training_end_time,
            "FailureReason": state.failure_reason,
        }
        if state.training_start_time and state.training_end_time:
            # SageMaker counts whole seconds, and takes what spot capacity saves off the billable ones.
            seconds = math.ceil(state.seconds_until(state.training_end_time))
            billable = math.ceil(seconds * _SPOT_PRICE) if self.request.is_spot else seconds
            answer |= {"TrainingTimeInSeconds": seconds, "BillableTimeInSeconds": billable}
        if state.final_metrics:
            answer["FinalMetricDataList"] = [_metric(data) for data in state.final_metrics]
        return {name: value for name, value in answer.items() if value is not None}

    def summary(self) -> dict[str, Any]:
        """The job's entry in the answer of ListTrainingJobs."""
        state = self._state
        return {
            "TrainingJobName": self.request.name,
            "TrainingJobArn": self.arn,
            "CreationTime": self.creation_time,
            "TrainingEndTime": state.training_end_time,
            "LastModifiedTime": state.last_modified_time,
            "TrainingJobStatus": state.status,
            "SecondaryStatus": state.secondary_status,
        }

    def gen_response_object(self) -> dict[str, Any]:
        """What moto's Search operation shows."""
        return {**self.describe(), "Tags": self.tags}

    def _finish(self, status: str, secondary_status: str, message: str, **changes: Any) -> None:
        now = this_moment()
        self._state = self._state.moved(secondary_status, message, now, status=status, training_end_time=now, **changes)


def _transition(transition: Transition) -> Mapping[str, object]:
    entry = {
        "Status": transition.status,
        "StartTime": transition.start_time,
        "EndTime": transition.end_time,
        "StatusMessage": transition.message,
    }
    return {name: value for name, value in entry.items() if value is not None}


def _metric(data: MetricData) -> Mapping[str, object]:
    return {"MetricName": data.name, "Value": data.value, "Timestamp": data.timestamp}
