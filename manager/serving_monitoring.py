"""Follows an endpoint until it serves, or is gone, and a transform job until its end."""

import time
from datetime import datetime
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from container.words import plural_are
from manager import names
from manager.aws import Aws
from manager.calls import ObjectPath
from manager.console import Terminal
from manager.endpoint import EndpointState, describe_endpoint
from manager.errors import JobError
from manager.monitoring import ENDED, LogReader, Look, ctrl_c_as_event, duration, follow_job, looks
from manager.plan import is_gone

LAST_LINES = 20
# In which the newest of them can be, where an endpoint has several instances.
LAST_STREAMS = 4
OUTPUT_SUFFIX = ".out"
STOPPED = "Stopped"
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_StopTransformJob.html
STORES_NOTHING = "SageMaker stores nothing of a transform job that is stopped"


def wait_for_endpoint(aws: Aws, name: str, terminal: Terminal) -> tuple[bool, EndpointState | None]:
    """Show how an endpoint comes along until nothing of it changes any more; Ctrl-C ends the showing, nothing else.

    Returns:
        Whether it was followed to that moment, and what the last look at it told; None: it is gone, or was never
        looked at.

    Raises:
        AwsError: AWS does not answer.
    """
    began, shown, state = time.monotonic(), "", None
    with ctrl_c_as_event() as leave, terminal.status() as set_status:
        for state in looks(lambda: describe_endpoint(aws, name), leave, set_status):
            status = state.status if state else "gone"
            if status != shown:
                terminal.heading(f"{datetime.now():%H:%M:%S} {status}")
                shown = status
            if state is None or not state.is_busy:
                return True, state
            set_status(f"{status} for {duration(time.monotonic() - began)}")
    return False, state


def last_log_lines(aws: Aws, endpoint: str) -> tuple[str, ...]:
    """Return the last lines that the containers of an endpoint printed, the oldest one first.

    Raises:
        AwsError: AWS refuses to tell.
    """
    logs, group = aws.client("logs"), names.endpoint_log_group(endpoint)
    with aws.explained(f"could not read the log of the endpoint {endpoint}"):
        try:
            streams = logs.describe_log_streams(
                logGroupName=group, orderBy="LastEventTime", descending=True, limit=LAST_STREAMS
            )["logStreams"]
        except ClientError as error:
            if is_gone(error):
                return ()
            raise
        events = [
            event
            for stream in streams
            for event in logs.get_log_events(
                logGroupName=group, logStreamName=stream["logStreamName"], limit=LAST_LINES
            )["events"]
        ]
    newest = sorted(events, key=lambda event: event["timestamp"])[-LAST_LINES:]
    return tuple(str(event["message"]) for event in newest)


def describe_transform_job(aws: Aws, job: str) -> Any:
    """Return AWS's description of a transform job.

    Raises:
        JobError: there is no such job.
        AwsError: AWS refuses to tell.
    """
    with aws.explained(f"could not look at the transform job {job}"):
        try:
            return aws.client("sagemaker").describe_transform_job(TransformJobName=job)
        except ClientError as error:
            if is_gone(error):
                raise JobError(
                    f"there is no transform job {job!r} in this account and region: --batch_transform launches one"
                ) from None
            raise


def follow_transform_job(aws: Aws, job: str, terminal: Terminal) -> Any:
    """Show a transform job's log and how many images are done until it ends; Ctrl-C ends the showing, never the job.

    Returns:
        AWS's description of the job as it ended; None: it goes on.

    Raises:
        JobError: there is no such job.
        AwsError: AWS does not answer.
    """
    reader = LogReader(aws, job, names.TRANSFORM_JOBS_LOG_GROUP)
    return follow_job(partial(_look_at_transform_job, aws, job, reader), reader, terminal)


def wait_for_transform_job(aws: Aws, job: str, terminal: Terminal) -> bool:
    """Wait until a transform job is over; Ctrl-C ends the waiting, nothing else. Return whether it is over.

    Raises:
        JobError: there is no such job.
        AwsError: AWS does not answer.
    """
    with ctrl_c_as_event() as leave, terminal.status() as set_status:
        for description in looks(partial(describe_transform_job, aws, job), leave, set_status):
            status = description["TransformJobStatus"]
            if status in ENDED:
                terminal.heading(f"{datetime.now():%H:%M:%S} {status}")
                return True
            set_status(status)
    return False


def input_name(description: Any) -> str:
    """Return the name of the folder that a transform job predicts."""
    return input_folder(description).key.rstrip("/").rpartition("/")[2]


def input_folder(description: Any) -> ObjectPath:
    """Return where the images of a transform job lie, or lay."""
    source = description["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"]
    return ObjectPath.parse(source).as_folder()


def output_folder(description: Any) -> ObjectPath:
    """Return where a transform job's outputs lie."""
    return ObjectPath.parse(description["TransformOutput"]["S3OutputPath"]).as_folder()


def output_keys(aws: Aws, folder: ObjectPath) -> tuple[str, ...]:
    """Return the keys of a transform job's outputs.

    Raises:
        AwsError: AWS refuses to tell.
    """
    pages = aws.client("s3").get_paginator("list_objects_v2")
    with aws.explained(f"could not list {folder}"):
        return tuple(
            str(item["Key"])
            for page in pages.paginate(Bucket=folder.bucket, Prefix=folder.key)
            for item in page.get("Contents", [])
            if item["Key"].endswith(OUTPUT_SUFFIX)
        )


def _look_at_transform_job(aws: Aws, job: str, reader: LogReader) -> Look:
    description = describe_transform_job(aws, job)
    lines, done = tuple(reader.new_lines()), len(output_keys(aws, output_folder(description)))
    return Look(description, description["TransformJobStatus"], lines, f", {plural_are(done, 'image')} done")
