"""Carrying a transform job from its objects to their outputs, in a thread of its own."""

from __future__ import annotations

import logging
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath

from moto.core.exceptions import ServiceException

from local_aws import execution_parameters, transform_requests
from local_aws.channels import ChannelError, S3Uri, files_of_manifest, files_of_prefix
from local_aws.execution_parameters import EffectiveParameters, ExecutionParameters, ExecutionParametersError
from local_aws.job_logs import LogStream
from local_aws.lifecycle import remove_tree
from local_aws.serving_errors import HealthCheckError, ModelDataError, ServingError
from local_aws.serving_host import HttpRequest
from local_aws.serving_hosts import ServedModel, ServingHosts, ServingSurroundings
from local_aws.storage import Storage
from local_aws.transform_jobs import TransformJob
from local_aws.transform_work import ALGORITHM_ERROR, CLIENT_ERROR, DataLog, TransformObject, TransformWork

_LOG_GROUP = "/aws/sagemaker/TransformJobs"
_DATA_LOG = "/data-log"

# How soon a request to stop is seen.
_POLL_SECONDS = 0.05

_PARAMETERS_SECONDS = 60.0

# SageMaker's own.
_NO_PING = (
    "Model container failed to respond to ping. "
    "Please ensure /ping endpoint is implemented and responds with an HTTP 200 status code"
)
_SEE_LOGS = "See job logs for more information"

_log = logging.getLogger(__name__)


class JobFailedError(Exception):
    """The job cannot go on; the message is its FailureReason."""


class TransformRun:
    """One job's way to its end.

    Args:
        model: gets the job's own variables besides its own.
        surroundings: of the hosts; the job's directory lies beside theirs.
    """

    def __init__(
        self, job: TransformJob, model: ServedModel, storage: Storage, surroundings: ServingSurroundings
    ) -> None:
        self._job = job
        self._request = job.request
        self._model = replace(model, environment={**model.environment, **job.request.container_environment})
        self._storage = storage
        self._surroundings = surroundings
        count = min(job.request.instance_count, surroundings.executor.most_hosts)
        # As the names of instances are.
        self._names = [f"i-{secrets.token_hex(9)[1:]}" for _ in range(count)]
        self._is_over = threading.Event()

    def run(self) -> None:
        """Ends the job in one of its final states, whatever happens, and leaves nothing on the disk.

        To be called once, in a thread of its own.
        """
        try:
            with self._directory() as directory:
                self._transform(directory)
            self._job.end()
        except JobFailedError as error:
            self._job.fail(str(error))
        except Exception as error:
            _log.exception("transform job %s", self._request.name)
            self._job.fail(f"InternalServerError: local_aws failed: {error!r}. Its log has the traceback.")
        state = self._job.state
        _log.info("transform job %s: %s %s", self._request.name, state.status, state.failure_reason or "")

    def _transform(self, directory: Path) -> None:
        objects = self._objects(directory)
        with self._logs() as streams:
            hosts = ServingHosts(
                self._model,
                self._names,
                self._storage,
                self._surroundings,
                lambda name, chunk, source: streams[name].write(chunk, source),
            )

            def say(line: str) -> None:
                streams[self._names[0]].write(f"local_aws: {line}\n".encode(), source=0)

            say(f"{self._request.instance_type}: this machine stands in for it")
            isolation, executor = self._model.network_isolation, self._surroundings.executor
            if isolation and executor.remark_on_isolated_serving:
                say(executor.remark_on_isolated_serving)
            for warning in transform_requests.warnings(self._request, isolation, executor):
                say(f"warning: {warning}")
            with closing(hosts):
                if not self._start(hosts, say):
                    return
                failures = self._work(objects, hosts, self._parameters(hosts, say), streams)
                for name, end in hosts.failed().items():
                    say(f"warning: {name}: {end}")
        if self._surroundings.closing.is_set():
            raise JobFailedError("InternalServerError: local_aws was stopped")
        # SageMaker stores nothing that a stopped job has made.
        if not self._job.is_stopping:
            self._store(objects)
            if failures:
                raise JobFailedError(f"{failures[0]}: {_SEE_LOGS}")

    @contextmanager
    def _directory(self) -> Iterator[Path]:
        directory = Path(tempfile.mkdtemp(dir=self._surroundings.directory, prefix=""))
        try:
            yield directory
        finally:
            remove_tree(directory)

    def _objects(self, directory: Path) -> Sequence[TransformObject]:
        uri = self._request.input.uri
        bucket = uri.bucket
        try:
            files: Mapping[str, PurePosixPath]
            if self._request.input.is_manifest:
                bucket, files = files_of_manifest(self._storage.read(bucket, uri.key) or b"")
            else:
                # For the output a prefix means what it means for a channel: with the prefix `in` as with `in/` the
                # object `in/a/b` becomes `a/b.out`.
                files = files_of_prefix(self._storage.keys(bucket, uri.key), uri.key)
        except ChannelError as error:
            raise JobFailedError(f"{CLIENT_ERROR}: {uri}: {error}") from error
        if not files:
            raise JobFailedError(f'{CLIENT_ERROR}: No S3 objects found under S3 URL "{uri}" given in input data source')
        output = self._request.output.path
        return [
            TransformObject(
                source=S3Uri(bucket, key),
                target=output.below(*path.parent.parts, f"{path.name}.out"),
                output_file=directory / str(number),
            )
            for number, (key, path) in enumerate(sorted(files.items()))
        ]

    @contextmanager
    def _logs(self) -> Iterator[Mapping[str, LogStream]]:
        """The streams of the hosts' programs by the hosts' names, and of their data by `NAME/data-log`."""
        epoch, storage = int(time.time()), self._storage
        with ExitStack() as stack:
            yield {
                f"{name}{kind}": stack.enter_context(
                    closing(
                        LogStream(
                            storage.account_id,
                            storage.region,
                            _LOG_GROUP,
                            f"{self._request.name}/{name}-{epoch}{kind}",
                            lambda *_: None,
                        )
                    )
                )
                for name in self._names
                for kind in ("", _DATA_LOG)
            }

    def _start(self, hosts: ServingHosts, say: Callable[[str], None]) -> bool:
        """Starts the programs; returns whether they are needed still."""
        self._job.begin()
        try:
            hosts.start(self._looks_over)
        except ModelDataError as error:
            raise JobFailedError(f"{CLIENT_ERROR}: {error}") from error
        except HealthCheckError as error:
            say(f"warning: {error}")
            raise JobFailedError(f"{ALGORITHM_ERROR}: {_NO_PING}") from error
        except ServingError as error:
            if self._looks_over():
                return False
            raise JobFailedError(f"InternalServerError: {error}") from error
        return True

    def _parameters(self, hosts: ServingHosts, say: Callable[[str], None]) -> EffectiveParameters:
        asked, told = ExecutionParameters.of_request(self._request), ExecutionParameters()
        if not asked.is_complete:
            try:
                answer = hosts.send(HttpRequest("GET", execution_parameters.PATH), self._names[0], _PARAMETERS_SECONDS)
                # Most programs do not have it.
                told = ExecutionParameters.of_container(answer.body) if answer.status == 200 else told
            except (ServingError, ExecutionParametersError) as error:
                say(f"warning: SageMaker's defaults hold for what the request does not say: {error}")
        effective = asked.completed(told)
        try:
            effective.check()
        except ExecutionParametersError as error:
            raise JobFailedError(f"{CLIENT_ERROR}: {error}") from error
        return effective

    def _work(
        self,
        objects: Sequence[TransformObject],
        hosts: ServingHosts,
        parameters: EffectiveParameters,
        streams: Mapping[str, LogStream],
    ) -> Sequence[str]:
        """Transforms the objects; returns how those failed that did, CLIENT_ERROR or ALGORITHM_ERROR, by their keys."""
        futures: list[Future[str | None]] = []
        with ExitStack() as stack:
            for number, name in enumerate(self._names):
                log = DataLog(streams[f"{name}{_DATA_LOG}"])
                work = TransformWork(self._request, parameters, hosts, name, self._storage, log, self._is_over)
                futures += stack.enter_context(work.running(objects[number :: len(self._names)]))
            for future in futures:
                while wait([future], _POLL_SECONDS).not_done:
                    if self._looks_over() and not self._is_over.is_set():
                        self._is_over.set()
                        hosts.close()
        return [failure for future in futures if (failure := future.result())]

    def _looks_over(self) -> bool:
        return self._job.is_stopping or self._surroundings.closing.is_set()

    def _store(self, objects: Sequence[TransformObject]) -> None:
        for entry in objects:
            if entry.output_file.exists():
                try:
                    self._storage.write(entry.target, entry.output_file.read_bytes())
                except ServiceException as error:
                    raise JobFailedError(f"{CLIENT_ERROR}: cannot write {entry.target}: {error}") from error
