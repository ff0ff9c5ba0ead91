"""SageMaker's operations on hyperparameter tuning jobs, on moto's SageMaker backend as their store."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from moto.sagemaker.exceptions import ResourceInUseException, ResourceNotFound, ValidationError
from moto.sagemaker.models import sagemaker_backends
from moto.sagemaker.utils import arn_formatter

from local_aws import admission, listing
from local_aws.run_threads import RunThreads
from local_aws.storage import Storage
from local_aws.training_jobs import IN_PROGRESS, STOPPING
from local_aws.training_service import TrainingService
from local_aws.tuning_jobs import Trial, TuningJob
from local_aws.tuning_requests import parse

if TYPE_CHECKING:
    pass

_CLOSE_SECONDS = 5.0

_JOB_KEYS: dict[str, Callable[[TuningJob], Any]] = {
    "Name": lambda job: job.request.name,
    "CreationTime": lambda job: job.creation_time,
    "Status": lambda job: job.state.status,
}

_TRIAL_KEYS: dict[str, Callable[[Trial], Any]] = {
    "Name": lambda trial: trial.job.request.name,
    "CreationTime": lambda trial: trial.job.creation_time,
    "Status": lambda trial: trial.job.state.status,
    "FinalObjectiveMetricValue": lambda trial: trial.result,
}


class TuningService:
    """The tuning jobs of a server. Its methods take a request's JSON text and return the answer's document.

    Safe to share by threads. All raise moto's ServiceException with SageMaker's error codes.

    Args:
        training: runs the training jobs.
    """

    def __init__(self, training: TrainingService) -> None:
        self._training = training
        self._closing = threading.Event()
        self._threads = RunThreads()
        self._lock = threading.Lock()

    def create(self, account_id: str, region: str, body: str) -> dict[str, Any]:
        """CreateHyperParameterTuningJob: accepts the job, or refuses it, and starts it."""
        request = parse(admission.check_document("CreateHyperParameterTuningJob", body))
        arn = arn_formatter("hyper-parameter-tuning-job", request.name, account_id, region)
        _check_unused(account_id, region, request.name)
        # Of the trials only the names and the tuned values differ, and neither can make one refused.
        self._training.admit(account_id, region, request.training_document(f"{request.name}-001-00000000", {}))
        # A quarter of a second to load, which a server need not wait for that never tunes.
        from local_aws.tuning_runs import TuningRun

        job = TuningJob(request, arn)
        run = TuningRun(job, Storage(account_id, region), self._training, self._closing)
        with self._lock:
            _check_unused(account_id, region, request.name)
            _jobs(account_id, region)[request.name] = job
            self._threads.start(run.run)
        return {"HyperParameterTuningJobArn": arn}

    def describe(self, account_id: str, region: str, body: str) -> dict[str, Any]:
        """DescribeHyperParameterTuningJob."""
        return _find("DescribeHyperParameterTuningJob", account_id, region, body)[0].describe()

    def stop(self, account_id: str, region: str, body: str) -> None:
        """StopHyperParameterTuningJob: asks the job and its trials to stop; it is Stopped some time later."""
        job, _ = _find("StopHyperParameterTuningJob", account_id, region, body)
        status = job.begin_stopping()
        if status:
            raise ValidationError(message=f"The request was rejected because the tuning job is in status {status}.")

    def delete(self, account_id: str, region: str, body: str) -> None:
        """DeleteHyperParameterTuningJob: forgets a job that has ended; its training jobs stay."""
        job, _ = _find("DeleteHyperParameterTuningJob", account_id, region, body)
        if job.state.status in (IN_PROGRESS, STOPPING):
            raise ResourceInUseException(
                message=f"The tuning job {job.arn} is in status {job.state.status}: stop it first."
            )
        _jobs(account_id, region).pop(job.request.name, None)

    def list(self, account_id: str, region: str, body: str) -> dict[str, Any]:
        """ListHyperParameterTuningJobs, with its filters, its orders and its pages."""
        document = admission.check_document("ListHyperParameterTuningJobs", body)
        found = [job for job in list(_jobs(account_id, region).values()) if _matches(job, document)]
        found.sort(key=_JOB_KEYS[document.get("SortBy", "Name")], reverse=listing.is_descending(document))
        return listing.page("HyperParameterTuningJobSummaries", [job.summary() for job in found], document)

    def list_training_jobs(self, account_id: str, region: str, body: str) -> dict[str, Any]:
        """ListTrainingJobsForHyperParameterTuningJob, with its filter, its orders and its pages."""
        job, document = _find("ListTrainingJobsForHyperParameterTuningJob", account_id, region, body)
        found = [
            trial
            for trial in job.trials
            if document.get("StatusEquals", trial.job.state.status) == trial.job.state.status
        ]
        sort_by = document.get("SortBy", "Name")
        if sort_by == "FinalObjectiveMetricValue":
            found = [trial for trial in found if trial.result is not None]
        found.sort(key=_TRIAL_KEYS[sort_by], reverse=listing.is_descending(document))
        return listing.page("TrainingJobSummaries", [job.trial_summary(trial) for trial in found], document)

    def close(self) -> None:
        """Lets no tuning job launch any more; to be called before the training jobs are ended."""
        self._closing.set()
        self._threads.join(_CLOSE_SECONDS)


def _check_unused(account_id: str, region: str, name: str) -> None:
    # The name is not case sensitive.
    for used, job in list(_jobs(account_id, region).items()):
        if used.lower() == name.lower():
            raise ResourceInUseException(
                message="Tuning job names must be unique within an AWS account and region, and a tuning job with this "
                f"name already exists ({job.arn})"
            )


def _find(operation: str, account_id: str, region: str, body: str) -> tuple[TuningJob, dict[str, Any]]:
    document = admission.check_document(operation, body)
    job = _jobs(account_id, region).get(document["HyperParameterTuningJobName"])
    if job is None:
        raise ResourceNotFound(message="Requested resource not found.")
    return job, document


def _jobs(account_id: str, region: str) -> dict[str, TuningJob]:
    # moto's tag operations look for jobs in this dictionary.
    return cast("dict[str, TuningJob]", sagemaker_backends[account_id][region].hyper_parameter_tuning_jobs)


def _matches(job: TuningJob, document: dict[str, Any]) -> bool:
    state = job.state
    return listing.is_listed(job.request.name, job.creation_time, state.last_modified_time, state.status, document)
