"""How long a job may run and wait: the StoppingCondition of its request.

MaxRuntimeInSeconds is for the time in which the job's program runs, in all attempts together; MaxWaitTimeInSeconds for
all the time since the job was accepted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from local_aws.training_jobs import MAX_RUNTIME, MAX_WAIT_TIME, StopReason
from local_aws.training_requests import TrainingRequest


class TimeLimits:
    """What is left of a job's time, whose waiting begins now."""

    def __init__(self, request: TrainingRequest) -> None:
        self._runtime_left = float(request.max_runtime_seconds)
        self._runtime_deadline = math.inf
        wait = math.inf if request.max_wait_seconds is None else request.max_wait_seconds
        self._wait_deadline = time.monotonic() + wait

    @contextmanager
    def running(self) -> Iterator[None]:
        """While the block runs, the program does."""
        began = time.monotonic()
        self._runtime_deadline = began + self._runtime_left
        yield
        self._runtime_left -= time.monotonic() - began
        self._runtime_deadline = math.inf

    def exceeded(self) -> StopReason | None:
        """Which limit is exceeded, if any."""
        now = time.monotonic()
        # The wait holds the running too: where both are over at one look, it was over first.
        if now > self._wait_deadline:
            return MAX_WAIT_TIME
        return MAX_RUNTIME if now > self._runtime_deadline else None
