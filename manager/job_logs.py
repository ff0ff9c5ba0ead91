"""The logs of jobs in CloudWatch, as far as they are the project's, and their removal."""

from collections.abc import Sequence
from dataclasses import dataclass

from manager.aws import Aws
from manager.plan import ApiCall

# As many as CloudWatch lists at once.
MOST_STREAMS = 50


@dataclass(frozen=True)
class JobLogs:
    """The log streams of some jobs in a log group that all jobs of a kind share."""

    group: str
    streams: tuple[str, ...] = ()
    is_shared: bool = True
    """Whether the group holds other jobs' logs as well, or has settings of its own."""


def read_job_logs(aws: Aws, group: str, jobs: Sequence[str]) -> JobLogs:
    """Return the log streams of jobs.

    Raises:
        AwsError: AWS refuses to tell.
    """
    logs = aws.client("logs")
    pages = logs.get_paginator("describe_log_streams")
    with aws.explained(f"could not list the logs in {group}"):
        groups = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
        found = next((one for one in groups if one["logGroupName"] == group), None)
        if found is None:
            return JobLogs(group)
        own = [
            str(stream["logStreamName"])
            for job in jobs
            for page in pages.paginate(logGroupName=group, logStreamNamePrefix=f"{job}/")
            for stream in page["logStreams"]
        ]
        has_settings = bool(found.get("retentionInDays") or found.get("kmsKeyId") or found.get("metricFilterCount"))
        # One more than ours tells that there are others, however many.
        some = logs.describe_log_streams(logGroupName=group, limit=min(len(own) + 1, MOST_STREAMS))["logStreams"]
        is_shared = has_settings or any(stream["logStreamName"] not in own for stream in some)
    return JobLogs(group, tuple(own), is_shared or len(own) >= MOST_STREAMS)


def log_removals(logs: JobLogs, jobs: str) -> list[ApiCall]:
    """Return the calls that delete log streams, or their group where it holds nothing else.

    Args:
        logs: what there is.
        jobs: what jobs they are of, in words.
    """
    if logs.streams and not logs.is_shared:
        return [group_removal(logs.group)]
    return [
        ApiCall(
            "logs",
            "delete_log_stream",
            {"logGroupName": logs.group, "logStreamName": stream},
            f"delete the log {stream}",
            "deleted",
            f"delete the logs of {jobs}",
        )
        for stream in logs.streams
    ]


def group_removal(group: str) -> ApiCall:
    """Return the call that deletes a log group."""
    return ApiCall("logs", "delete_log_group", {"logGroupName": group}, f"delete the log group {group}", "deleted")
