"""What transform jobs and processing jobs have in common: their states, and the rules by which these follow each other.

A job's state is one immutable value that is replaced as a whole under the job's lock. (Training jobs have secondary
states and interruptions beside, in `local_aws.training_jobs`.)
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from moto.sagemaker.exceptions import ValidationError

from local_aws import admission, listing
from local_aws.times import this_moment
from local_aws.training_jobs import COMPLETED, FAILED, IN_PROGRESS, LONGEST_FAILURE_REASON, STOPPED, STOPPING


class JobRequest(Protocol):
    """What asks for a job."""

    @property
    def document(self) -> Mapping[str, Any]:
        """The request as it came."""

    @property
    def name(self) -> str:
        """The job's."""


@dataclass(frozen=True)
class JobState:
    """What changes about a job. `exit_message` is what its program left for a person, where it can leave something."""

    status: str
    last_modified_time: datetime
    start_time: datetime | None = None
    end_time: datetime | None = None
    failure_reason: str | None = None
    exit_message: str | None = None


Request = TypeVar("Request", bound=JobRequest)


class StoppableJob(ABC, Generic[Request]):
    """A job that runs to its end unless it is stopped. Its methods may be called from any thread.

    moto's own operations (ListTags, AddTags, the tagging API) find it by the attributes `arn` and `tags`.
    """

    def __init__(self, request: Request, arn: str) -> None:
        now = this_moment()
        self.request = request
        self.arn = arn
        self.creation_time = now
        self.tags: list[dict[str, str]] = list(request.document.get("Tags", ()))
        self._lock = threading.Lock()
        self._state = JobState(IN_PROGRESS, now)

    @property
    def state(self) -> JobState:
        """The state as it is now."""
        return self._state

    @property
    def is_stopping(self) -> bool:
        """Whether the job is to end before it is done."""
        return self._state.status == STOPPING

    def begin(self) -> None:
        """Notes that the job has its instances."""
        self._move(start_time=this_moment())

    def begin_stopping(self) -> str | None:
        """Marks the job as Stopping; returns the status that it has where it is no longer in progress."""
        with self._lock:
            if self._state.status != IN_PROGRESS:
                return self._state.status
            self._state = self._moved(status=STOPPING)
        return None

    def end(self) -> bool:
        """Ends a job that did not fail; whether as Completed, and not as Stopped because it was being stopped."""
        with self._lock:
            is_completed = self._state.status == IN_PROGRESS
            self._state = self._moved(status=COMPLETED if is_completed else STOPPED, end_time=this_moment())
        return is_completed

    def fail(self, reason: str) -> None:
        """Ends the job as Failed, with a reason for a person."""
        self._move(status=FAILED, end_time=this_moment(), failure_reason=reason[:LONGEST_FAILURE_REASON])

    @abstractmethod
    def summary(self) -> Mapping[str, Any]:
        """The job's entry in the answer of the List operation."""

    def _move(self, **changes: Any) -> None:
        with self._lock:
            self._state = self._moved(**changes)

    def _moved(self, **changes: Any) -> JobState:
        return replace(self._state, last_modified_time=this_moment(), **changes)


Job = TypeVar("Job", bound=StoppableJob[Any])

_SORT_KEYS: dict[str, Callable[[StoppableJob[Any]], Any]] = {
    "Name": lambda job: job.request.name,
    "CreationTime": lambda job: job.creation_time,
    "Status": lambda job: job.state.status,
}


def find(operation: str, kind: str, jobs: Mapping[str, Job], body: str) -> Job:
    """The job that a request names.

    Args:
        operation: of the request.
        kind: as SageMaker names the jobs: Transform, Processing.
        jobs: those that there are, by their names.
        body: the request's JSON text.

    Raises:
        ValidationError: there is none of that name.
    """
    name = admission.check_document(operation, body)[f"{kind}JobName"]
    job = jobs.get(name)
    if job is None:
        # SageMaker's own code and words for this, which differ from those for training jobs.
        raise ValidationError(message=f"Could not find requested job with name: {name}")
    return job


def answer_list(kind: str, jobs: Mapping[str, StoppableJob[Any]], body: str) -> dict[str, Any]:
    """The answer of a List operation, with its filters, its orders and its pages; arguments as of `find`."""
    # Unlike those of training jobs the newest come first.
    document = {"SortOrder": "Descending", **admission.check_document(f"List{kind}Jobs", body)}
    found = [job for job in list(jobs.values()) if _matches(job, document)]
    found.sort(key=_SORT_KEYS[document.get("SortBy", "CreationTime")], reverse=listing.is_descending(document))
    return listing.page(f"{kind}JobSummaries", [job.summary() for job in found], document)


def _matches(job: StoppableJob[Any], document: Mapping[str, Any]) -> bool:
    state = job.state
    return listing.is_listed(job.request.name, job.creation_time, state.last_modified_time, state.status, document)
