"""What SIGTERM means for a training job: SageMaker sends it on a stop, at the time limit and before a spot reclaim.

SageMaker waits 120 seconds before SIGKILL. The process may be PID 1 of its container, which ignores SIGTERM unless
it handles it.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

STOPPED_EARLY = "the job was stopped before training began: there is no model to save"


class JobStoppedError(BaseException):
    """The job was asked to stop for the second time. What guards against any Exception lets it through."""


class Stop:
    """Whether the job was asked to stop. SIGTERM asks, and ends the process at once if it asked before."""

    def __init__(self) -> None:
        self.requested = False

    def _on_sigterm(self, signal_number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise JobStoppedError("the job was stopped for the second time, before its model was saved")
        self.requested = True


def exit_on_sigterm(failure_file: Path) -> None:
    """From now on, SIGTERM ends the process with exit code 1 and a failure file, since there is no model to save.

    An exception would not do: while modules are imported, one of them may catch it.
    """

    def end(signal_number: int, frame: FrameType | None) -> None:
        try:
            failure_file.write_text(STOPPED_EARLY, encoding="utf-8")
            print(f"ERROR: {STOPPED_EARLY}", flush=True)
        finally:
            os._exit(1)

    signal.signal(signal.SIGTERM, end)


@contextmanager
def deferred_stop() -> Iterator[Stop]:
    """While this runs, SIGTERM only asks: whoever trains looks at `requested` and comes to an end."""
    stop = Stop()
    before = signal.signal(signal.SIGTERM, stop._on_sigterm)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
