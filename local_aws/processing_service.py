"""SageMaker's operations on processing jobs, on moto's SageMaker backend as their store."""

from __future__ import annotations

import threading
from typing import Any, cast

from moto.sagemaker.exceptions import ResourceInUseException
from moto.sagemaker.models import FakeProcessingJob, sagemaker_backends

from local_aws import admission, stoppable_jobs
from local_aws.images import ImageSource
from local_aws.processing_jobs import ProcessingJob
from local_aws.processing_requests import ProcessingRequest, parse
from local_aws.processing_runs import ProcessingRun
from local_aws.programs import Surroundings
from local_aws.run_threads import RunThreads
from local_aws.storage import Storage
from local_aws.training_jobs import IN_PROGRESS, STOPPING
from local_aws.training_requests import require

_CLOSE_SECONDS = 5.0


class ProcessingService:
    """The processing jobs of a server. Its methods take a request's JSON text and return the answer's document.

    Safe to share by threads. All raise moto's ServiceException with SageMaker's error codes.
    """

    def __init__(self, images: ImageSource, surroundings: Surroundings) -> None:
        self._images = images
        self._surroundings = surroundings
        self._threads = RunThreads()
        self._lock = threading.Lock()

    def create(self, account_id: str, region: str, body: str) -> dict[str, Any]:
        """CreateProcessingJob: accepts the job, or refuses it, and starts it."""
        request = parse(admission.check_document("CreateProcessingJob", body))
        storage, jobs = Storage(account_id, region), _jobs(account_id, region)
        arn = FakeProcessingJob.arn_formatter(request.name, account_id, region)
        admission.check_job_name(request.name in jobs, arn)
        admission.check_role(request.role_arn, account_id, region)
        most = self._surroundings.executor.most_hosts
        # A program that shares its work among so many hosts would leave a part of it undone by fewer.
        require(
            request.instance_count <= most,
            f"local_aws has {most} hosts at most for a processing job: its InstanceCount must not be "
            f"{request.instance_count}",
        )
        image = admission.find_image(request.image_uri, request.role_arn, self._images, self._surroundings.executor)
        require(
            image.directory is None or bool(request.entrypoint or request.arguments),
            f"The directory image {request.image_uri} has no ENTRYPOINT: AppSpecification must have a "
            "ContainerEntrypoint",
        )
        _check_buckets(request, storage)
        job = ProcessingJob(request, arn)
        with self._lock:
            admission.check_job_name(request.name in jobs, arn)
            jobs[request.name] = job
            self._threads.start(ProcessingRun(job, image, storage, self._surroundings).run)
        return {"ProcessingJobArn": arn}

    def describe(self, account_id: str, region: str, body: str) -> dict[str, Any]:
        """DescribeProcessingJob."""
        return _find("DescribeProcessingJob", account_id, region, body).describe()

    def stop(self, account_id: str, region: str, body: str) -> None:
        """StopProcessingJob: asks the job to stop; it is Stopped some time later."""
        status = _find("StopProcessingJob", account_id, region, body).begin_stopping()
        require(not status, f"The request was rejected because the processing job is in status {status}.")

    def delete(self, account_id: str, region: str, body: str) -> None:
        """DeleteProcessingJob: forgets a job that has ended."""
        job = _find("DeleteProcessingJob", account_id, region, body)
        if job.state.status in (IN_PROGRESS, STOPPING):
            raise ResourceInUseException(
                message=f"The processing job {job.arn} is in status {job.state.status}: stop it first."
            )
        _jobs(account_id, region).pop(job.request.name, None)

    def list(self, account_id: str, region: str, body: str) -> dict[str, Any]:
        """ListProcessingJobs, with its filters, its orders and its pages."""
        return stoppable_jobs.answer_list("Processing", _jobs(account_id, region), body)

    def close(self) -> None:
        """Kills the programs of all running jobs, and waits for the end of these jobs."""
        self._surroundings.closing.set()
        self._threads.join(_CLOSE_SECONDS)


def _check_buckets(request: ProcessingRequest, storage: Storage) -> None:
    for entry in request.inputs:
        admission.check_objects(entry.objects.uri, request.role_arn, storage)
    for output in request.outputs:
        admission.check_bucket(output.directory.field, output.directory.uri, storage)


def _find(operation: str, account_id: str, region: str, body: str) -> ProcessingJob:
    return stoppable_jobs.find(operation, "Processing", _jobs(account_id, region), body)


def _jobs(account_id: str, region: str) -> dict[str, ProcessingJob]:
    # moto's tag operations look for jobs in this dictionary.
    return cast("dict[str, ProcessingJob]", sagemaker_backends[account_id][region].processing_jobs)
