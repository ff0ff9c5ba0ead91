"""Transform jobs as SageMaker shows them. What carries one through its states is `local_aws.transform_runs`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local_aws.stoppable_jobs import StoppableJob
from local_aws.transform_requests import NO_PROCESSING, TransformRequest


class TransformJob(StoppableJob[TransformRequest]):
    """One transform job."""

    def describe(self) -> dict[str, Any]:
        """The answer of DescribeTransformJob: every field of the request, and the state."""
        state, document = self.state, self.request.document
        answer: dict[str, Any] = {
            **{name: value for name, value in document.items() if name != "Tags"},
            "TransformJobArn": self.arn,
            "TransformJobStatus": state.status,
            "TransformInput": {"CompressionType": "None", "SplitType": "None", **document["TransformInput"]},
            "TransformOutput": {"AssembleWith": "None", "KmsKeyId": "", **document["TransformOutput"]},
            "DataProcessing": {**NO_PROCESSING, **document.get("DataProcessing", {})},
            "CreationTime": self.creation_time,
            "TransformStartTime": state.start_time,
            "TransformEndTime": state.end_time,
            "FailureReason": state.failure_reason,
        }
        return {name: value for name, value in answer.items() if value is not None}

    def summary(self) -> Mapping[str, Any]:
        """The job's entry in the answer of ListTransformJobs."""
        state = self.state
        entry = {
            "TransformJobName": self.request.name,
            "TransformJobArn": self.arn,
            "CreationTime": self.creation_time,
            "TransformEndTime": state.end_time,
            "LastModifiedTime": state.last_modified_time,
            "TransformJobStatus": state.status,
            "FailureReason": state.failure_reason,
        }
        return {name: value for name, value in entry.items() if value is not None}
