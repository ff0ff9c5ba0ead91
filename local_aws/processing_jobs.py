"""Processing jobs as SageMaker shows them: their states, and the rules by which these follow each other.

A job's state is one immutable value that is replaced as a whole under the job's lock. What carries a job through its
states is `local_aws.processing_runs`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from local_aws.processing_requests import ProcessingRequest
from local_aws.training_jobs import COMPLETED, FAILED, IN_PROGRESS, LONGEST_FAILURE_REASON, STOPPED, STOPPING

# ExitMessage's greatest length in the service model.
_LONGEST_EXIT_MESSAGE = 1024


@dataclass(frozen=True)
class ProcessingState:
    """What changes about a job; the attributes are DescribeProcessingJob's."""

    status: str
    last_modified_time: datetime
    processing_start_time: datetime | None = None
    processing_end_time: datetime | None = None
    exit_message: str | None = None
    failure_reason: str | None = None


class ProcessingJob:
    """One processing job. Its methods may be called from any thread.

    moto's own operations (ListTags, AddTags, the tagging API) find it by the attributes `arn` and `tags`.
    """

    def __init__(self, request: ProcessingRequest, arn: str) -> None:
        now = datetime.now(UTC)
        self.request = request
        self.arn = arn
        self.creation_time = now
        self.tags: list[dict[str, str]] = list(request.document.get("Tags", ()))
        self._lock = threading.Lock()
        self._state = ProcessingState(IN_PROGRESS, now)

    @property
    def state(self) -> ProcessingState:
        """The state as it is now."""
        return self._state

    @property
    def is_stopping(self) -> bool:
        """Whether the job is to end before it is done."""
        return self._state.status == STOPPING

    def begin(self) -> None:
        """Notes that the program starts."""
        with self._lock:
            self._move(processing_start_time=datetime.now(UTC))

    def begin_stopping(self) -> str | None:
        """Marks the job as Stopping; returns the status that it has where it is no longer in progress."""
        with self._lock:
            if self._state.status != IN_PROGRESS:
                return self._state.status
            self._move(status=STOPPING)
        return None

    def note_message(self, message: str) -> None:
        """Keeps what the program left as its message."""
        with self._lock:
            self._move(exit_message=message[:_LONGEST_EXIT_MESSAGE] or None)

    def end(self) -> None:
        """Ends a job that did not fail: as Completed, or as Stopped where it was being stopped."""
        with self._lock:
            is_completed = self._state.status == IN_PROGRESS
            self._move(status=COMPLETED if is_completed else STOPPED, processing_end_time=datetime.now(UTC))

    def fail(self, reason: str) -> None:
        """Ends the job as Failed, with a reason for a person."""
        with self._lock:
            self._move(
                status=FAILED, processing_end_time=datetime.now(UTC), failure_reason=reason[:LONGEST_FAILURE_REASON]
            )

    def describe(self) -> dict[str, Any]:
        """The answer of DescribeProcessingJob: every field of the request, and the state."""
        answer: dict[str, Any] = {
            **{name: value for name, value in self.request.document.items() if name != "Tags"},
            **self.summary(),
            "ProcessingStartTime": self._state.processing_start_time,
        }
        return {name: value for name, value in answer.items() if value is not None}

    def summary(self) -> Mapping[str, Any]:
        """The job's entry in the answer of ListProcessingJobs."""
        state = self._state
        entry = {
            "ProcessingJobName": self.request.name,
            "ProcessingJobArn": self.arn,
            "CreationTime": self.creation_time,
            "ProcessingEndTime": state.processing_end_time,
            "LastModifiedTime": state.last_modified_time,
            "ProcessingJobStatus": state.status,
            "FailureReason": state.failure_reason,
            "ExitMessage": state.exit_message,
        }
        return {name: value for name, value in entry.items() if value is not None}

    def _move(self, **changes: Any) -> None:
        self._state = replace(self._state, last_modified_time=datetime.now(UTC), **changes)
