"""Carrying a tuning job from its first trial to its last, in a thread of its own."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from moto.core.exceptions import ServiceException

from local_aws.proposals import Proposal, Proposals
from local_aws.storage import Storage
from local_aws.training_jobs import COMPLETED, STOPPING, StopReason
from local_aws.training_service import TrainingService
from local_aws.tuning_jobs import ObservedObjective, Trial, TuningJob

# How soon a trial's values, its end, and a request to stop are seen.
_POLL_SECONDS = 0.05

# SageMaker gives up after so many trials that came to nothing, and so as few: "No training job succeeded after 5
# attempts". https://github.com/aws/amazon-sagemaker-examples/issues/2437
_ATTEMPTS = 5

_WITH_TUNING_JOB = StopReason("Stopped", "Training job stopped with its hyperparameter tuning job")
_EARLY = StopReason("Stopped", "Training job stopped early by its hyperparameter tuning job")

_log = logging.getLogger(__name__)


class TuningRun:
    """One tuning job's way to its end.

    Args:
        storage: where the account and the region of its training jobs are from.
        training: runs them.
        closing: set when the server ends; what carries the training jobs ends them then.
    """

    def __init__(self, job: TuningJob, storage: Storage, training: TrainingService, closing: threading.Event) -> None:
        self._job = job
        self._request = job.request
        self._storage = storage
        self._training = training
        self._closing = closing
        self._proposals = Proposals(job.request)
        self._running: list[_Running] = []

    def run(self) -> None:
        """Ends the tuning job in one of its final states, whatever happens, unless the server ends first.

        To be called once, in a thread of its own.
        """
        failure_reason = None
        try:
            failure_reason = self._search()
        except ServiceException as error:
            failure_reason = f"ClientError: a training job could not be created: {error}"
        except Exception as error:
            _log.exception("tuning job %s", self._request.name)
            failure_reason = f"InternalServerError: local_aws failed: {error!r}. Its log has the traceback."
        self._stop_all()
        if self._closing.is_set():
            return
        self._job.end(failure_reason)
        state = self._job.state
        _log.info("tuning job %s: %s %s", self._request.name, state.status, state.failure_reason or "")

    def _search(self) -> str | None:
        """Launches and follows trials until there is no reason for more; returns why the tuning job has failed."""
        while not self._closing.wait(_POLL_SECONDS):
            self._follow()
            if failure_reason := self._failure_reason():
                return failure_reason
            if self._is_over():
                return None
            while len(self._running) < self._request.max_parallel_jobs and self._may_launch():
                self._launch()
        return None

    def _may_launch(self) -> bool:
        return len(self._job.trials) < self._request.max_jobs

    def _is_over(self) -> bool:
        is_done = not (self._running or self._may_launch())
        return is_done or self._job.state.status == STOPPING or self._meets_a_criterion()

    def _meets_a_criterion(self) -> bool:
        criteria, best = self._request.criteria, self._job.best
        if criteria.max_runtime_seconds is not None and self._job.seconds > criteria.max_runtime_seconds:
            return True
        if criteria.most_not_improving is not None and self._job.not_improving >= criteria.most_not_improving:
            return True
        result = best.result if best else None
        if criteria.target is None or result is None:
            return False
        return not self._request.objective.is_better(criteria.target, result)

    def _failure_reason(self) -> str | None:
        ended = [trial for trial in self._job.trials if trial.has_ended]
        if any(trial.result is not None for trial in ended) or len(ended) < min(_ATTEMPTS, self._request.max_jobs):
            return None
        if any(trial.job.state.status == COMPLETED for trial in ended):
            return (
                f"No objective metrics found after running {len(ended)} training jobs. Please ensure that the custom "
                "algorithm is emitting the objective metric as defined by the regular expression provided."
            )
        return (
            f"No training job succeeded after {len(ended)} attempts. Please take a look at the training job failures "
            "to get more details."
        )

    def _launch(self) -> None:
        proposal = self._proposals.next()
        name = _trial_name(self._request.name, len(self._job.trials) + 1)
        document = self._request.training_document(name, proposal.hyperparameters)
        admitted = self._training.admit(self._storage.account_id, self._storage.region, document)
        observed = ObservedObjective(self._request.objective)
        job = self._training.start(admitted, self._job.arn, observed.observe)
        trial = Trial(job, proposal.hyperparameters, self._request.objective, observed)
        self._job.add(trial)
        self._running.append(_Running(trial, proposal))

    def _follow(self) -> None:
        """Looks at the trials that run: stops those that are not worth going on, and takes the results of the ended."""
        for running in list(self._running):
            has_ended = running.trial.has_ended
            for epoch, value in running.news():
                if self._proposals.observe(running.proposal, epoch, value):
                    running.trial.job.begin_stopping(_EARLY)
            if has_ended:
                is_completed = running.trial.job.state.status == COMPLETED
                self._proposals.end(running.proposal, running.trial.result, is_completed)
                self._running.remove(running)

    def _stop_all(self) -> None:
        """Stops the trials that run, and waits for their ends."""
        for running in self._running:
            running.trial.job.begin_stopping(_WITH_TUNING_JOB)
        while any(not running.trial.has_ended for running in self._running):
            if self._closing.wait(_POLL_SECONDS):
                return


def _trial_name(tuning_job_name: str, number: int) -> str:
    """The name of a training job as SageMaker makes it: from the tuning job's, a number from 1, and chance."""
    return f"{tuning_job_name}-{number:03}-{secrets.token_hex(4)}"


@dataclass
class _Running:
    trial: Trial
    proposal: Proposal
    epochs: int = 0

    def news(self) -> Iterator[tuple[int, float]]:
        """The epochs, from 1, that have ended since the last call, and the objective after each."""
        for value in self.trial.observed.values[self.epochs :]:
            self.epochs += 1
            yield self.epochs, value
