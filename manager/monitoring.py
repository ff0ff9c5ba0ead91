"""Follows a training job: its log lines as CloudWatch has them, its status, its progress (`--monitor`)."""

import contextlib
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from manager import names
from manager.aws import Aws, error_code
from manager.console import Terminal
from manager.errors import AwsError, JobError

# Between two looks at a job: often at first, rarely when it takes hours.
POLL_SECONDS, MOST_POLL_SECONDS = 1.0, 10.0
# How long AWS may not answer while a job is followed.
PATIENCE_SECONDS = 300.0
ENDED = ("Completed", "Failed", "Stopped")

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """What the container's line of an epoch tells."""

    epoch: int
    epochs: int
    seconds: float
    """Duration of that epoch."""
    metrics: str
    """The line's metrics of the validation set, as they stand there."""

    @classmethod
    def read(cls, line: str) -> "Progress | None":
        """Return what a log line tells of progress; None: it is no epoch's line."""
        match = re.search(r"\bepoch=(\d+) epochs=(\d+) seconds=([.\d]+) (.*)", line)
        if match is None:
            return None
        metrics = [word for word in match[4].split() if word.startswith("val_")]
        return cls(int(match[1]), int(match[2]), float(match[3]), " ".join(metrics))

    def __str__(self) -> str:
        left = (self.epochs - self.epoch) * self.seconds
        return f"epoch {self.epoch} of {self.epochs}, at most {duration(left)} left, {self.metrics}"


@dataclass
class LogReader:
    """Reads what is new in the log streams of a job; one stream per instance and attempt, or more."""

    aws: Aws
    job: str
    group: str = names.TRAINING_JOBS_LOG_GROUP
    delay: float = 0.0
    """The most seconds that a line took so far to come into CloudWatch."""
    _tokens: dict[str, str] = field(default_factory=dict)

    def new_lines(self) -> Iterator[str]:
        """Yield the lines that came since the last call, in the order of each stream.

        Raises:
            AwsError: AWS refuses to tell.
        """
        logs = self.aws.client("logs")
        with self.aws.explained(f"could not read the log of {self.job}"):
            for stream in self._streams(logs):
                yield from self._new_lines_of(logs, stream)

    def _streams(self, logs: Any) -> list[str]:
        pages = logs.get_paginator("describe_log_streams").paginate(
            logGroupName=self.group, logStreamNamePrefix=f"{self.job}/"
        )
        try:
            return [stream["logStreamName"] for page in pages for stream in page["logStreams"]]
        except ClientError as error:
            # The group comes into being with the account's first job.
            if error_code(error) == "ResourceNotFoundException":
                return []
            raise

    def _new_lines_of(self, logs: Any, stream: str) -> Iterator[str]:
        while True:
            token = {"nextToken": self._tokens[stream]} if stream in self._tokens else {}
            page = logs.get_log_events(logGroupName=self.group, logStreamName=stream, startFromHead=True, **token)
            for event in page["events"]:
                self.delay = max(self.delay, (event["ingestionTime"] - event["timestamp"]) / 1000)
                yield event["message"]
            # At the end of a stream CloudWatch answers with the token that it was asked with.
            if self._tokens.get(stream) == page["nextForwardToken"]:
                return
            self._tokens[stream] = page["nextForwardToken"]


def describe_job(aws: Aws, job: str) -> Any:
    """Return AWS's description of a training job.

    Raises:
        JobError: there is no such job.
    """
    with aws.explained(f"could not look at the training job {job}"):
        try:
            return aws.client("sagemaker").describe_training_job(TrainingJobName=job)
        except ClientError as error:
            if "not found" in str(error) or error_code(error) == "ResourceNotFound":
                raise JobError(
                    f"there is no training job {job!r} in this account and region: --status shows the last ones"
                ) from None
            raise


def follow(aws: Aws, job: str, terminal: Terminal, stop_hint: str) -> bool:
    """Show a training job's log and status until it ends; Ctrl-C ends the showing, never the job.

    Args:
        aws: where the job runs.
        job: its name.
        terminal: where it is shown.
        stop_hint: how to follow the job again and how to stop it, for somebody who pressed Ctrl-C.

    Returns:
        Whether the job was followed to its end.

    Raises:
        JobError: the job failed or was stopped; the error has the reason.
    """
    with ctrl_c_as_event() as leave:
        description = _show_until_end(aws, job, terminal, leave)
    if description is None:
        terminal.prose(f"\n{job} goes on. {stop_hint}")
        return False
    status = description["TrainingJobStatus"]
    if status == "Failed":
        raise JobError(f"{job} failed: {description.get('FailureReason', 'SageMaker gives no reason')}")
    if status == "Stopped":
        results = (
            "; what it has so far can be fetched by --download_results" if description.get("ModelArtifacts") else ""
        )
        resume = f"; --resume {job} goes on from its checkpoints" if description.get("CheckpointConfig") else ""
        raise JobError(f"{job} was stopped ({description['SecondaryStatus']}) before it was done{results}{resume}")
    terminal.done(f"{job} completed after {_ran(description)}")
    return True


@contextlib.contextmanager
def ctrl_c_as_event() -> Iterator[threading.Event]:
    """Make the first Ctrl-C set the event that this yields; a second one raises KeyboardInterrupt, as it always does.

    An exception in the midst of printing can leave rich's console holding back all that is printed after it.
    """
    pressed = threading.Event()

    def note(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, before)
        pressed.set()

    before = signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def looks(look: Callable[[], T], leave: threading.Event, say: Callable[[str], None]) -> Iterator[T]:
    """Yield what AWS tells, again and again, often at first and then rarely, until `leave` is set.

    A job of hours outlives a short loss of the connection; at the first look it is an error like any.

    Args:
        look: asks AWS.
        leave: ends the looking.
        say: tells the user why there is nothing new.

    Raises:
        AwsError: AWS does not answer, at the first look or for minutes.
    """
    began, answered = time.monotonic(), None
    while not leave.is_set():
        try:
            seen = look()
        except AwsError as error:
            if answered is None or time.monotonic() - answered > PATIENCE_SECONDS:
                raise
            say(f"{error}; trying again")
            leave.wait(MOST_POLL_SECONDS)
            continue
        answered = time.monotonic()
        yield seen
        leave.wait(min(POLL_SECONDS + (answered - began) / 300, MOST_POLL_SECONDS))


@dataclass(frozen=True)
class Look:
    """What was seen of a job at one moment."""

    description: Any
    """AWS's."""
    status: str
    lines: tuple[str, ...]
    """Those that its log has since the last look."""
    progress: str = ""
    """How far it is, to stand behind its status."""


def follow_job(look: Callable[[], Look], reader: LogReader, terminal: Terminal) -> Any:
    """Show a job's log and status until it ends; Ctrl-C ends the showing, never the job.

    Args:
        look: asks AWS.
        reader: of the job's log.
        terminal: where it is shown.

    Returns:
        AWS's description of the job as it ended; None: it goes on.

    Raises:
        AwsError: AWS does not answer.
    """
    begun, shown = time.monotonic(), ""
    with ctrl_c_as_event() as leave, terminal.status() as set_status:
        for seen in looks(look, leave, set_status):
            for line in seen.lines:
                terminal.prose(line)
            if seen.status in ENDED:
                show_last_lines(reader, terminal)
            if seen.status != shown:
                terminal.heading(f"{datetime.now():%H:%M:%S} {seen.status}")
                shown = seen.status
            if seen.status in ENDED:
                return seen.description
            set_status(f"{seen.status} for {duration(time.monotonic() - begun)}{seen.progress}")
    return None


def _show_until_end(aws: Aws, job: str, terminal: Terminal, leave: threading.Event) -> Any:
    """Show the job until it ends and return AWS's last description of it; None: `leave` was set before that."""
    reader, shown, progress = LogReader(aws, job), 0, ""
    with terminal.status() as set_status:
        for description, lines in looks(lambda: (describe_job(aws, job), list(reader.new_lines())), leave, set_status):
            for line in lines:
                terminal.prose(line)
                progress = str(Progress.read(line) or progress)
            ended = description["TrainingJobStatus"] in ENDED
            if ended:
                show_last_lines(reader, terminal)
            shown = _show_transitions(description, shown, terminal)
            if ended:
                return description
            set_status(f"{description['SecondaryStatus']} {progress}")
    return None


def _show_transitions(description: Any, shown: int, terminal: Terminal) -> int:
    """Show the statuses that the job went through since `shown` of them were shown; return how many are now."""
    transitions = description.get("SecondaryStatusTransitions", [])
    for transition in transitions[shown:]:
        terminal.heading(f"{transition['StartTime'].astimezone():%H:%M:%S} {transition['Status']}")
    return len(transitions)


def show_last_lines(reader: LogReader, terminal: Terminal) -> None:
    """Show what comes after the job's end: a line is in CloudWatch some seconds after it was written."""
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < min(POLL_SECONDS + 2 * reader.delay, MOST_POLL_SECONDS):
        time.sleep(POLL_SECONDS / 2)
        for line in reader.new_lines():
            terminal.prose(line)
            quiet_since = time.monotonic()


def _ran(description: Any) -> str:
    seconds, billable = description.get("TrainingTimeInSeconds"), description.get("BillableTimeInSeconds")
    if seconds is None:
        return "an unknown time"
    return duration(seconds) + (f" ({billable:,} s billable)" if billable is not None else "")


def duration(seconds: float) -> str:
    """Return a time as `1:02:03`, or `2:03` if it is less than an hour."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
