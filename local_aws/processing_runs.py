"""Carrying a processing job from its inputs to its outputs, in a thread of its own."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import PurePosixPath
from typing import Any

from local_aws import processing_requests
from local_aws.channels import ChannelError
from local_aws.executors import Ending, Execution, ExecutorError, Host, Output, Program
from local_aws.images import Image
from local_aws.job_logs import log_streams
from local_aws.opt_ml import ProcessingOptMl
from local_aws.processing_jobs import ProcessingJob
from local_aws.processing_requests import ProcessingOutput
from local_aws.programs import POLL_SECONDS, Surroundings, failure_reason, first_failure
from local_aws.storage import Storage
from local_aws.synced_directories import SyncedDirectory, kept_in_s3

_LOG_GROUP = "/aws/sagemaker/ProcessingJobs"

# The request's fields in processingjobconfig.json.
# https://docs.aws.amazon.com/sagemaker/latest/dg/byoc-config.html
_CONFIG_FIELDS = (
    "ProcessingJobName",
    "AppSpecification",
    "Environment",
    "ProcessingInputs",
    "ProcessingOutputConfig",
    "ProcessingResources",
    "RoleArn",
    "StoppingCondition",
)

_log = logging.getLogger(__name__)


class JobFailedError(Exception):
    """The job cannot go on; the message is its FailureReason."""


class ProcessingRun:
    """One job's way to its end."""

    def __init__(self, job: ProcessingJob, image: Image, storage: Storage, surroundings: Surroundings) -> None:
        self._job = job
        self._request = job.request
        self._image = image
        self._storage = storage
        self._surroundings = surroundings

    def run(self) -> None:
        """Ends the job in one of its final states, whatever happens, and leaves nothing on the disk.

        To be called once, in a thread of its own.
        """
        try:
            self._process()
            self._job.end()
        except JobFailedError as error:
            self._job.fail(str(error))
        except Exception as error:
            _log.exception("processing job %s", self._request.name)
            self._job.fail(f"InternalServerError: local_aws failed: {error!r}. Its log has the traceback.")
        state = self._job.state
        _log.info("processing job %s: %s %s", self._request.name, state.status, state.failure_reason or "")

    def _process(self) -> None:
        with self._surroundings.job_directory() as directory:
            hosts = self._surroundings.hosts(self._request.instance_count, directory)
            outputs = [
                (output, SyncedDirectory(host, output.directory, self._storage))
                for output in self._request.outputs
                for host in hosts
            ]
            self._put_inputs(hosts)
            for _, synced in outputs:
                synced.create()
            failed = None if self._is_over() else self._run_and_upload(hosts, outputs)
            if self._surroundings.closing.is_set():
                raise JobFailedError("InternalServerError: local_aws was stopped")
            if failed:
                host, ending = failed
                raise JobFailedError(failure_reason(host.name, ending))

    def _put_inputs(self, hosts: Sequence[Host]) -> None:
        addresses = [host.address for host in hosts]
        document = self._request.document
        job_config = {name: document[name] for name in _CONFIG_FIELDS if name in document}
        for number, host in enumerate(hosts):
            opt_ml = ProcessingOptMl(host.opt_ml)
            opt_ml.create()
            opt_ml.write_config("processingjobconfig", {"ProcessingJobArn": self._job.arn, **job_config})
            opt_ml.write_config("resourceconfig", {"current_host": host.address, "hosts": addresses})
            for entry in self._request.inputs:
                target = host.path(entry.local_path)
                try:
                    entry.objects.download(self._storage, target, number, len(hosts), self._is_over)
                except (ChannelError, OSError) as error:
                    raise JobFailedError(
                        f"ClientError: Data download failed: input {entry.name} ({entry.objects.uri}): {error}"
                    ) from error

    def _run_and_upload(
        self, hosts: Sequence[Host], outputs: Sequence[tuple[ProcessingOutput, SyncedDirectory]]
    ) -> tuple[Host, Ending] | None:
        """Runs the program to its end; returns on which host it failed first and how, if it did."""
        with log_streams(self._storage, _LOG_GROUP, self._request.name, hosts, int(time.time())) as streams:

            def say(line: str) -> None:
                streams[hosts[0].name].write(f"local_aws: {line}\n".encode(), source=0)

            for line in self._head(hosts):
                say(line)
            continuous = [synced for output, synced in outputs if output.is_continuous]
            try:
                with kept_in_s3(continuous, lambda problem: say(f"warning: {problem}")):
                    failed = self._run_program(hosts, lambda host, chunk, source: streams[host].write(chunk, source))
            except ExecutorError as error:
                raise JobFailedError(f"InternalServerError: {error}") from error
            self._note_message(hosts)
            if not self._surroundings.closing.is_set():
                # Whatever the program ended with: what it has left may be what tells why.
                self._upload(outputs, say)
            return failed

    def _head(self, hosts: Sequence[Host]) -> Iterator[str]:
        surroundings, isolation = self._surroundings, self._request.network_isolation
        yield from surroundings.remarks(self._request.instance_type, hosts, isolation)
        for warning in processing_requests.warnings(self._request, surroundings.executor):
            yield f"warning: {warning}"

    def _run_program(self, hosts: Sequence[Host], output: Output) -> tuple[Host, Ending] | None:
        request = self._request
        environment = self._surroundings.environment(self._storage.region, request.network_isolation)
        program = Program(
            image=self._image,
            entrypoint=request.entrypoint,
            arguments=request.arguments,
            environment={**environment, **request.environment},
            network_isolation=request.network_isolation,
        )
        self._job.begin()
        with closing(self._surroundings.executor.start(program, hosts, output)) as execution:
            return self._until_the_end(execution, hosts)

    def _until_the_end(self, execution: Execution, hosts: Sequence[Host]) -> tuple[Host, Ending] | None:
        deadline = time.monotonic() + self._request.max_runtime_seconds
        while not execution.wait(POLL_SECONDS):
            if time.monotonic() > deadline:
                # SageMaker's end of such a job is Stopped, as if somebody had asked for it.
                self._job.begin_stopping()
            if self._surroundings.closing.is_set():
                execution.kill()
            elif self._job.is_stopping:
                self._surroundings.terminate(execution)
            elif failed := first_failure(execution, hosts):
                # The other hosts wait for the failed one, or fail without it.
                self._surroundings.terminate(execution)
                return failed
        return None if self._job.is_stopping else first_failure(execution, hosts)

    def _upload(self, outputs: Sequence[tuple[ProcessingOutput, SyncedDirectory]], say: Callable[[str], None]) -> None:
        problems = [problem for _, synced in outputs for problem in synced.sync(is_last=True)]
        if problems:
            raise JobFailedError(f"ClientError: Failed to upload output: {problems[0]}")
        written: Mapping[tuple[str, PurePosixPath], Any] = Counter(
            (output.name, path) for output, synced in outputs for path in synced.synced
        )
        for (name, path), count in written.items():
            if count > 1:
                say(f"warning: {count} hosts wrote {path} of the output {name}: S3 has one of them")

    def _note_message(self, hosts: Sequence[Host]) -> None:
        try:
            messages = [ProcessingOptMl(host.opt_ml).message_text() for host in hosts]
        except UnicodeDecodeError as error:
            raise JobFailedError(f"ClientError: the text in /opt/ml/output/message is not UTF-8: {error}") from error
        self._job.note_message("".join(messages))

    def _is_over(self) -> bool:
        return self._job.is_stopping or self._surroundings.closing.is_set()
