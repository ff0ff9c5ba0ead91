"""SageMaker's operations on training jobs, on moto's SageMaker backend as their store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from moto.sagemaker.exceptions import ResourceInUseException, ResourceNotFound, ValidationError
from moto.sagemaker.models import FakeTrainingJob, sagemaker_backends

from local_aws import admission, listing
from local_aws.executors import Executor
from local_aws.images import Image, ImageSource
from local_aws.metrics import MetricData
from local_aws.programs import Surroundings
from local_aws.run_threads import RunThreads
from local_aws.storage import Storage
from local_aws.training_jobs import IN_PROGRESS, REQUESTED, STOPPING, NotInterruptibleError, TrainingJob
from local_aws.training_requests import TrainingRequest, parse
from local_aws.training_runs import TrainingRun

_CLOSE_SECONDS = 5.0

_SORT_KEYS: dict[str, Callable[[TrainingJob], Any]] = {
    "Name": lambda job: job.request.name,
    "CreationTime": lambda job: job.creation_time,
    "Status": lambda job: job.state.status,
}


@dataclass(frozen=True)
class AdmittedJob:
    """A job that nothing is wrong with as far as can be told before it starts."""

    request: TrainingRequest
    image: Image
    storage: Storage
    arn: str


class TrainingService:
    """The training jobs of a server. Its methods take a request's JSON text and return the answer's document.

    Safe to share by threads. All raise moto's ServiceException with SageMaker's error codes.
    """

    def __init__(
        self,
        *,
        jobs_directory: Path,
        images: ImageSource,
        executor: Executor,
        endpoint_url: str,
        stop_grace_seconds: float,
        passed_variables: Mapping[str, str],
    ) -> None:
        jobs_directory.mkdir(parents=True, exist_ok=True)
        self._images = images
        self._executor = executor
        self._closing = threading.Event()
        self._surroundings = Surroundings(
            executor, jobs_directory, endpoint_url, stop_grace_seconds, passed_variables, self._closing
        )
        self._threads = RunThreads()
        self._lock = threading.Lock()

    @property
    def surroundings(self) -> Surroundings:
        """What its jobs run in, and jobs of other kinds may."""
        return self._surroundings

    def create(self, account_id: str, region: str, body: str) -> dict[str, Any]:
        """CreateTrainingJob: accepts the job, or refuses it, and starts it."""
        document = admission.check_document("CreateTrainingJob", body)
        return {"TrainingJobArn": self.start(self.admit(account_id, region, document)).arn}

    def admit(self, account_id: str, region: str, document: Mapping[str, Any]) -> AdmittedJob:
        """Accepts a job, or refuses it as CreateTrainingJob does; it is not there before it is started.

        Args:
            document: of the request, in agreement with the service model.
        """
        request = parse(document)
        storage = Storage(account_id, region)
        arn = FakeTrainingJob.arn_formatter(request.name, account_id, region)
        admission.check_unused(request.name in _jobs(account_id, region), arn)
        admission.check_role(request.role_arn, account_id, region)
        image = admission.find_image(request.image_uri, request.role_arn, self._images, self._executor)
        admission.check_directories(request, self._executor)
        admission.check_buckets(request, storage)
        return AdmittedJob(request, image, storage, arn)

    def start(
        self,
        admitted: AdmittedJob,
        tuning_job_arn: str | None = None,
        on_metric: Callable[[MetricData], None] = lambda _: None,
    ) -> TrainingJob:
        """Starts a job.

        Args:
            tuning_job_arn: of the tuning job that it is a trial of, if it is one.
            on_metric: gets each value of a metric when the program's output shows it, from any thread.
        """
        request, storage = admitted.request, admitted.storage
        jobs = _jobs(storage.account_id, storage.region)
        job = TrainingJob(request, admitted.arn, tuning_job_arn)
        with self._lock:
            admission.check_unused(request.name in jobs, admitted.arn)
            jobs[request.name] = job
            self._threads.start(TrainingRun(job, admitted.image, storage, self._surroundings, on_metric).run)
        return job

    def describe(self, account_id: str, region: str, body: str) -> dict[str, Any]:
        """DescribeTrainingJob."""
        document = admission.check_document("DescribeTrainingJob", body)
        job = _jobs(account_id, region).get(document["TrainingJobName"])
        if job is None:
            # DescribeTrainingJob's own code for this, unlike the other operations'.
            raise ValidationError(message="Requested resource not found.")
        return job.describe()

    def stop(self, account_id: str, region: str, body: str) -> None:
        """StopTrainingJob: asks the job to stop; it is Stopped some time later."""
        document = admission.check_document("StopTrainingJob", body)
        job = _find(account_id, region, document["TrainingJobName"])
        status = job.begin_stopping(REQUESTED)
        if status:
            raise ValidationError(message=f"The request was rejected because the training job is in status {status}.")

    def interrupt(self, name: str, region: str | None) -> None:
        """Takes the capacity of a spot job away, as AWS may do at any time; it trains again a little later.

        Args:
            region: of the job; None means whichever has it.

        Raises:
            ResourceNotFound: there is no such job.
            NotInterruptibleError: it is no spot job, or not Training, or one of several regions' jobs of this name.
        """
        found = [
            backend.training_jobs[name]
            for account in list(sagemaker_backends.values())
            for backend in list(account.values())
            if name in backend.training_jobs and region in (None, backend.region_name)
        ]
        if not found:
            raise ResourceNotFound(message="Requested resource not found.")
        if len(found) > 1:
            raise NotInterruptibleError(f"several regions have a training job {name}: add ?region=REGION")
        found[0].interrupt()

    def delete(self, account_id: str, region: str, body: str) -> None:
        """DeleteTrainingJob: forgets a job that has ended."""
        document = admission.check_document("DeleteTrainingJob", body)
        job = _find(account_id, region, document["TrainingJobName"])
        if job.state.status in (IN_PROGRESS, STOPPING):
            raise ResourceInUseException(
                message=f"The training job {job.arn} is in status {job.state.status}: stop it first."
            )
        _jobs(account_id, region).pop(job.request.name, None)

    def list(self, account_id: str, region: str, body: str) -> dict[str, Any]:
        """ListTrainingJobs, with its filters, its orders and its pages."""
        document = admission.check_document("ListTrainingJobs", body)
        found = [job for job in list(_jobs(account_id, region).values()) if _matches(job, document)]
        found.sort(key=_SORT_KEYS[document.get("SortBy", "CreationTime")], reverse=listing.is_descending(document))
        return listing.page("TrainingJobSummaries", [job.summary() for job in found], document)

    def close(self) -> None:
        """Kills the programs of all running jobs, and waits for the end of these jobs."""
        self._closing.set()
        self._threads.join(_CLOSE_SECONDS)


def _find(account_id: str, region: str, name: str) -> TrainingJob:
    job = _jobs(account_id, region).get(name)
    if job is None:
        raise ResourceNotFound(message="Requested resource not found.")
    return job


def _jobs(account_id: str, region: str) -> dict[str, TrainingJob]:
    # moto's tag and search operations look for jobs in this dictionary.
    return cast("dict[str, TrainingJob]", sagemaker_backends[account_id][region].training_jobs)


def _matches(job: TrainingJob, document: dict[str, Any]) -> bool:
    state = job.state
    return listing.is_listed(job.request.name, job.creation_time, state.last_modified_time, state.status, document)
