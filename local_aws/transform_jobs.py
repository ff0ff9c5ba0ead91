"""Transform jobs as SageMaker shows them: their states, and the rules by which these follow each other.

A job's state is one immutable value that is replaced as a whole under the job's lock. What carries a job through its
states is `local_aws.transform_runs`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from local_aws.training_jobs import COMPLETED, FAILED, IN_PROGRESS, LONGEST_FAILURE_REASON, STOPPED, STOPPING
from local_aws.transform_requests import NO_PROCESSING, TransformRequest


@dataclass(frozen=True)
class TransformState:
    """What changes about a job; the attributes are DescribeTransformJob's."""

    status: str
    last_modified_time: datetime
    transform_start_time: datetime | None = None
    transform_end_time: datetime | None = None
    failure_reason: str | None = None


class TransformJob:
    """One transform job. Its methods may be called from any thread.

    moto's own operations (ListTags, AddTags, the tagging API) find it by the attributes `arn` and `tags`.
    """

    def __init__(self, request: TransformRequest, arn: str) -> None:
        now = datetime.now(UTC)
        self.request = request
        self.arn = arn
        self.creation_time = now
        self.tags: list[dict[str, str]] = list(request.document.get("Tags", ()))
        self._lock = threading.Lock()
        self._state = TransformState(IN_PROGRESS, now)

    @property
    def state(self) -> TransformState:
        """The state as it is now."""
        return self._state

    @property
    def is_stopping(self) -> bool:
        """Whether the job is to end before it is done."""
        return self._state.status == STOPPING

    def begin(self) -> None:
        """Notes that the job has its instances."""
        with self._lock:
            self._move(transform_start_time=datetime.now(UTC))

    def begin_stopping(self) -> str | None:
        """Marks the job as Stopping; returns the status that it has where it is no longer in progress."""
        with self._lock:
            if self._state.status != IN_PROGRESS:
                return self._state.status
            self._move(status=STOPPING)
        return None

    def end(self) -> bool:
        """Ends a job that did not fail; whether as Completed, and not as Stopped because it was being stopped."""
        with self._lock:
            is_completed = self._state.status == IN_PROGRESS
            self._move(status=COMPLETED if is_completed else STOPPED, transform_end_time=datetime.now(UTC))
        return is_completed

    def fail(self, reason: str) -> None:
        """Ends the job as Failed, with a reason for a person."""
        with self._lock:
            self._move(
                status=FAILED, transform_end_time=datetime.now(UTC), failure_reason=reason[:LONGEST_FAILURE_REASON]
            )

    def describe(self) -> dict[str, Any]:
        """The answer of DescribeTransformJob: every field of the request, and the state."""
        state, document = self._state, self.request.document
        answer: dict[str, Any] = {
            **{name: value for name, value in document.items() if name != "Tags"},
            "TransformJobArn": self.arn,
            "TransformJobStatus": state.status,
            "TransformInput": {"CompressionType": "None", "SplitType": "None", **document["TransformInput"]},
            "TransformOutput": {"AssembleWith": "None", "KmsKeyId": "", **document["TransformOutput"]},
            "DataProcessing": {**NO_PROCESSING, **document.get("DataProcessing", {})},
            "CreationTime": self.creation_time,
            "TransformStartTime": state.transform_start_time,
            "TransformEndTime": state.transform_end_time,
            "FailureReason": state.failure_reason,
        }
        return {name: value for name, value in answer.items() if value is not None}

    def summary(self) -> Mapping[str, Any]:
        """The job's entry in the answer of ListTransformJobs."""
        state = self._state
        entry = {
            "TransformJobName": self.request.name,
            "TransformJobArn": self.arn,
            "CreationTime": self.creation_time,
            "TransformEndTime": state.transform_end_time,
            "LastModifiedTime": state.last_modified_time,
            "TransformJobStatus": state.status,
            "FailureReason": state.failure_reason,
        }
        return {name: value for name, value in entry.items() if value is not None}

    def _move(self, **changes: Any) -> None:
        self._state = replace(self._state, last_modified_time=datetime.now(UTC), **changes)
