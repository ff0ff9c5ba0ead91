"""Processing jobs as SageMaker shows them. What carries one through its states is `local_aws.processing_runs`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local_aws.processing_requests import ProcessingRequest
from local_aws.stoppable_jobs import StoppableJob

# ExitMessage's greatest length in the service model.
_LONGEST_EXIT_MESSAGE = 1024


class ProcessingJob(StoppableJob[ProcessingRequest]):
    """One processing job."""

    def note_message(self, message: str) -> None:
        """Keeps what the program left as its message."""
        self._move(exit_message=message[:_LONGEST_EXIT_MESSAGE] or None)

    def describe(self) -> dict[str, Any]:
        """The answer of DescribeProcessingJob: every field of the request, and the state."""
        answer: dict[str, Any] = {
            **{name: value for name, value in self.request.document.items() if name != "Tags"},
            **self.summary(),
            "ProcessingStartTime": self.state.start_time,
        }
        return {name: value for name, value in answer.items() if value is not None}

    def summary(self) -> Mapping[str, Any]:
        """The job's entry in the answer of ListProcessingJobs."""
        state = self.state
        entry = {
            "ProcessingJobName": self.request.name,
            "ProcessingJobArn": self.arn,
            "CreationTime": self.creation_time,
            "ProcessingEndTime": state.end_time,
            "LastModifiedTime": state.last_modified_time,
            "ProcessingJobStatus": state.status,
            "FailureReason": state.failure_reason,
            "ExitMessage": state.exit_message,
        }
        return {name: value for name, value in entry.items() if value is not None}
