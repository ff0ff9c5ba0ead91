"""SageMaker's operations on transform jobs, on moto's SageMaker backend as their store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, cast

from moto.sagemaker.exceptions import ValidationError
from moto.sagemaker.models import FakeTransformJob, sagemaker_backends

from local_aws import admission, listing
from local_aws.models import ModelService
from local_aws.run_threads import RunThreads
from local_aws.serving_hosts import ServingSurroundings
from local_aws.storage import Storage
from local_aws.transform_jobs import TransformJob
from local_aws.transform_requests import parse
from local_aws.transform_runs import TransformRun

_CLOSE_SECONDS = 5.0

_SORT_KEYS: dict[str, Callable[[TransformJob], Any]] = {
    "Name": lambda job: job.request.name,
    "CreationTime": lambda job: job.creation_time,
    "Status": lambda job: job.state.status,
}


class TransformService:
    """The transform jobs of a server. Its methods take a request's JSON text and return the answer's document.

    Safe to share by threads. All raise moto's ServiceException with SageMaker's error codes.
    """

    def __init__(self, models: ModelService, surroundings: ServingSurroundings) -> None:
        self._models = models
        self._surroundings = surroundings
        self._threads = RunThreads()
        self._lock = threading.Lock()

    def create(self, account_id: str, region: str, body: str) -> dict[str, Any]:
        """CreateTransformJob: accepts the job, or refuses it, and starts it."""
        request = parse(admission.check_document("CreateTransformJob", body))
        storage, jobs = Storage(account_id, region), _jobs(account_id, region)
        arn = FakeTransformJob.arn_formatter(request.name, account_id, region)
        admission.check_job_name(request.name in jobs, arn)
        model = self._models.served(account_id, region, request.model_name)
        admission.check_objects(request.input.uri, model.role_arn, storage)
        admission.check_bucket("S3OutputPath", request.output.path, storage)
        job = TransformJob(request, arn)
        with self._lock:
            admission.check_job_name(request.name in jobs, arn)
            jobs[request.name] = job
            self._threads.start(TransformRun(job, model, storage, self._surroundings).run)
        return {"TransformJobArn": arn}

    def describe(self, account_id: str, region: str, body: str) -> dict[str, Any]:
        """DescribeTransformJob."""
        return _find("DescribeTransformJob", account_id, region, body).describe()

    def stop(self, account_id: str, region: str, body: str) -> None:
        """StopTransformJob: asks the job to stop; it is Stopped some time later."""
        status = _find("StopTransformJob", account_id, region, body).begin_stopping()
        if status:
            raise ValidationError(message=f"The request was rejected because the transform job is in status {status}.")

    def list(self, account_id: str, region: str, body: str) -> dict[str, Any]:
        """ListTransformJobs, with its filters, its orders and its pages."""
        # Unlike those of training jobs the newest come first.
        document = {"SortOrder": "Descending", **admission.check_document("ListTransformJobs", body)}
        found = [job for job in list(_jobs(account_id, region).values()) if _matches(job, document)]
        found.sort(key=_SORT_KEYS[document.get("SortBy", "CreationTime")], reverse=listing.is_descending(document))
        return listing.page("TransformJobSummaries", [job.summary() for job in found], document)

    def close(self) -> None:
        """Waits for the end of all running jobs, whose programs the closing of their surroundings kills."""
        self._surroundings.closing.set()
        self._threads.join(_CLOSE_SECONDS)


def _find(operation: str, account_id: str, region: str, body: str) -> TransformJob:
    name = admission.check_document(operation, body)["TransformJobName"]
    job = _jobs(account_id, region).get(name)
    if job is None:
        # SageMaker's own code and words for this, which differ from those for training jobs.
        raise ValidationError(message=f"Could not find requested job with name: {name}")
    return job


def _jobs(account_id: str, region: str) -> dict[str, TransformJob]:
    # moto's tag operations look for jobs in this dictionary.
    return cast("dict[str, TransformJob]", sagemaker_backends[account_id][region].transform_jobs)


def _matches(job: TransformJob, document: Mapping[str, Any]) -> bool:
    state = job.state
    return listing.is_listed(job.request.name, job.creation_time, state.last_modified_time, state.status, document)
