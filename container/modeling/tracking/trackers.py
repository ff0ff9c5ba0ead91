"""The trackers that the settings ask for, as one observer of the training.

A tracker is imported only where it is asked for, and never in the training's way: an error, a missing package or a
server that does not answer ends the tracker, with one warning in the log.
"""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import keras

from container.modeling.job import Job
from container.modeling.optimization.observing import ObservedEpoch
from container.modeling.settings import ContainerSettings
from container.modeling.stopping import Stop
from container.modeling.tracking.keys import KeysError, hide_keys, read_keys
from container.modeling.tracking.tracker import BackgroundGuard, Guard, Results
from container.report.facts import Metrics

logger = logging.getLogger(__name__)

# How long the end of a job may wait for what is still being sent: results and model, or what a failed job leaves. After
# a request to stop SageMaker gives two minutes for everything.
RESULTS_SECONDS, STOPPED_SECONDS, FAILED_SECONDS = 300.0, 20.0, 10.0
POLL_SECONDS = 0.05


class Trackers:
    """All trackers of a training: an Observer."""

    def __init__(self, guards: Sequence[Guard], stop: Stop) -> None:
        self._guards, self._stop = guards, stop
        self._is_over = False
        for guard in guards:
            guard.call(guard.tracker.begin)

    def before_steps(self, first: int, count: int) -> None:
        """Take note that training steps come, numbered from 1 over all epochs."""
        for guard in self._guards:
            # Those on the network do not profile.
            if not isinstance(guard, BackgroundGuard):
                guard.call(partial(guard.tracker.before_steps, first, count))

    def after_epoch(self, epoch: ObservedEpoch) -> None:
        """Show an epoch."""
        for guard in self._guards:
            guard.call(partial(guard.tracker.log_epoch, epoch))

    def finish(self, metrics: Metrics, folder: Path) -> None:
        """Show what came of the training, once all files of model.tar.gz lie in their folder; wait until it is sent."""
        self._end(Results(metrics, folder), RESULTS_SECONDS)

    def close(self) -> None:
        """End the trackers of a training that failed; after `finish` this does nothing."""
        self._end(None, FAILED_SECONDS)

    def _end(self, results: Results | None, seconds: float) -> None:
        if self._is_over:
            return
        self._is_over = True
        for guard in self._guards:
            guard.call(partial(guard.tracker.finish, results))
            guard.end()
        began, stopped = time.monotonic(), None
        while not all(guard.is_over for guard in self._guards):
            # It may come before the wait, or amid.
            if self._stop.requested and stopped is None:
                stopped = time.monotonic()
            deadlines = [began + seconds] + ([stopped + STOPPED_SECONDS] if stopped is not None else [])
            if time.monotonic() >= min(deadlines):
                break
            time.sleep(POLL_SECONDS)
        for guard in self._guards:
            guard.give_up(time.monotonic() - began)


@contextmanager
def open_trackers(
    settings: ContainerSettings, job: Job, model: keras.Model, classes: Sequence[str], stop: Stop
) -> Iterator[Trackers]:
    """Open the trackers that the settings ask for; there may be none.

    Args:
        settings: which they are, and what they show of the settings.
        job: names the runs; a job that was interrupted goes on in the runs that it began.
        model: that is trained.
        classes: names, in the order of the model's outputs.
        stop: shortens the wait at the end.
    """
    trackers = Trackers(_guards(settings, job, model, classes), stop)
    try:
        yield trackers
    finally:
        trackers.close()


def _guards(settings: ContainerSettings, job: Job, model: keras.Model, classes: Sequence[str]) -> list[Guard]:
    guards: list[Guard] = []
    tracking = settings.tracking
    if tracking.tensorboard:
        from container.modeling.tracking.tensorboard_events import TensorBoardEvents

        guards.append(Guard(TensorBoardEvents(tracking, job.opt_ml.tensorboard_dir, model, classes)))
    if tracking.secret and tracking.online:
        _take_keys(tracking.secret)
    if tracking.mlflow_uri:
        from container.modeling.tracking.mlflow_run import MlflowRun

        guards.append(BackgroundGuard(MlflowRun(settings, job.name, model)))
    if tracking.wandb_project:
        from container.modeling.tracking.wandb_run import WandbRun

        guards.append(BackgroundGuard(WandbRun(settings, job.name)))
    return guards


def _take_keys(secret: str) -> None:
    try:
        # Where the trackers' own packages look for them.
        os.environ.update(read_keys(secret))
    except KeysError as error:
        logger.warning(
            "the secret %s gives no keys to the trackers: %s; does it exist in the job's region, and did "
            "--init_s3_buckets run since tracking.secret was set, which lets the job's role read it?",
            secret,
            hide_keys(" ".join(str(error).split())),
        )
