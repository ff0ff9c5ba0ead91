"""SageMaker's operations on transform jobs, on moto's SageMaker backend as their store."""

from __future__ import annotations

import threading
from typing import Any, cast

from moto.sagemaker.exceptions import ValidationError
from moto.sagemaker.models import FakeTransformJob, sagemaker_backends

from local_aws import admission, stoppable_jobs
from local_aws.models import ModelService
from local_aws.run_threads import RunThreads
from local_aws.serving_hosts import ServingSurroundings
from local_aws.storage import Storage
from local_aws.transform_jobs import TransformJob
from local_aws.transform_requests import parse
from local_aws.transform_runs import TransformRun

_CLOSE_SECONDS = 5.0


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
        return stoppable_jobs.answer_list("Transform", _jobs(account_id, region), body)

    def close(self) -> None:
        """Waits for the end of all running jobs, whose programs the closing of their surroundings kills."""
        self._surroundings.closing.set()
        self._threads.join(_CLOSE_SECONDS)


def _find(operation: str, account_id: str, region: str, body: str) -> TransformJob:
    return stoppable_jobs.find(operation, "Transform", _jobs(account_id, region), body)


def _jobs(account_id: str, region: str) -> dict[str, TransformJob]:
    # moto's tag operations look for jobs in this dictionary.
    return cast("dict[str, TransformJob]", sagemaker_backends[account_id][region].transform_jobs)
