"""Carrying a training job from its channels to its artifacts, in a thread of its own."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from moto.core.exceptions import ServiceException

from local_aws import training_requests
from local_aws.artifacts import Artifact
from local_aws.channels import ChannelError
from local_aws.checkpoints import HostCheckpoints
from local_aws.executors import Ending, Execution, ExecutorError, Host, Output, Program
from local_aws.images import Image
from local_aws.inputs import DownloadError, Inputs
from local_aws.job_logs import log_streams
from local_aws.metrics import FinalMetrics, MetricData
from local_aws.opt_ml import OptMl
from local_aws.programs import POLL_SECONDS, Surroundings, failure_reason, first_failure
from local_aws.storage import Storage
from local_aws.synced_directories import SyncedDirectory, kept_in_s3
from local_aws.time_limits import TimeLimits
from local_aws.training_jobs import TrainingJob

_LOG_GROUP = "/aws/sagemaker/TrainingJobs"

_log = logging.getLogger(__name__)


class JobFailedError(Exception):
    """The job cannot go on; the message is its FailureReason."""


class TrainingRun:
    """One job's way through Downloading, Training and Uploading to its end, more than once where it is interrupted.

    Args:
        on_metric: gets each value of a metric when the program's output shows it, from any thread.
    """

    def __init__(
        self,
        job: TrainingJob,
        image: Image,
        storage: Storage,
        surroundings: Surroundings,
        on_metric: Callable[[MetricData], None],
    ) -> None:
        self._job = job
        self._request = job.request
        self._image = image
        self._storage = storage
        self._surroundings = surroundings
        self._metrics = FinalMetrics(job.request.metric_definitions, on_metric)
        self._time = TimeLimits(job.request)
        # Of the log streams' names.
        self._epoch = 0

    def run(self) -> None:
        """Ends the job in one of its final states, whatever happens, and leaves nothing on the disk.

        To be called once, in a thread of its own.
        """
        try:
            while self._attempt():
                pass
            self._job.end(self._metrics.data())
        except (JobFailedError, DownloadError) as error:
            self._job.fail(str(error), self._metrics.data())
        except Exception as error:
            _log.exception("training job %s", self._request.name)
            self._job.fail(f"InternalServerError: local_aws failed: {error!r}. Its log has the traceback.")
        state = self._job.state
        _log.info("training job %s: %s %s", self._request.name, state.secondary_status, state.failure_reason or "")

    def _attempt(self) -> bool:
        """Carries the job as far as its instances last; returns whether they were taken away."""
        with self._surroundings.job_directory() as directory:
            hosts = self._hosts(directory)
            checkpoints, events = self._checkpoints(hosts), self._events(hosts)
            self._job.advance("Downloading", "Downloading input data")
            self._download(hosts, checkpoints)
            if self._is_stopping():
                return False
            self._job.advance("Training", "Training image download completed. Training in progress.")
            is_interrupted = self._train(hosts, (*checkpoints, *events))
            if is_interrupted and self._job.begin_next_attempt():
                return True
            self._job.advance("Uploading", "Uploading generated training model")
            self._upload(hosts, directory)
            return False

    def _is_stopping(self) -> bool:
        """Whether the job is to end before it is done; notes it where its time has run out."""
        reason = self._time.exceeded()
        if reason and not self._job.is_stopping:
            self._job.begin_stopping(reason)
        return self._job.is_stopping

    def _hosts(self, directory: Path) -> Sequence[Host]:
        hosts = self._surroundings.hosts(self._request.instance_count, directory)
        for host in hosts:
            OptMl(host.opt_ml).create()
        return hosts

    def _checkpoints(self, hosts: Sequence[Host]) -> Sequence[HostCheckpoints]:
        config = self._request.checkpoints
        return HostCheckpoints.of_job(hosts, config, self._storage) if config else ()

    def _events(self, hosts: Sequence[Host]) -> Sequence[SyncedDirectory]:
        config = self._request.tensorboard
        directories = [SyncedDirectory(host, config, self._storage) for host in hosts] if config else []
        for directory in directories:
            directory.create()
        return directories

    def _download(self, hosts: Sequence[Host], checkpoints: Sequence[HostCheckpoints]) -> None:
        interface, closing = self._surroundings.executor.network_interface, self._surroundings.closing
        inputs = Inputs(self._request, self._storage, interface, lambda: self._is_stopping() or closing.is_set())
        for number in range(len(hosts)):
            inputs.put(hosts, number)
        for host in checkpoints:
            try:
                host.restore()
            except (ChannelError, OSError) as error:
                raise JobFailedError(f"ClientError: Data download failed: checkpoints: {error}") from error

    def _train(self, hosts: Sequence[Host], directories: Sequence[SyncedDirectory]) -> bool:
        """Runs the program to its end; returns whether it was ended by an interruption."""
        # Each attempt has streams of its own, even where two begin in the same second.
        self._epoch = max(int(time.time()), self._epoch + 1)
        with log_streams(
            self._storage, _LOG_GROUP, self._request.name, hosts, self._epoch, self._metrics.observe
        ) as streams:

            def say(line: str) -> None:
                streams[hosts[0].name].write(f"local_aws: {line}\n".encode(), source=0)

            for line in self._head(hosts):
                say(line)
            try:
                with kept_in_s3(directories, lambda problem: say(f"warning: {problem}")):
                    outcome = self._run_program(hosts, lambda host, chunk, source: streams[host].write(chunk, source))
            except ExecutorError as error:
                raise JobFailedError(f"InternalServerError: {error}") from error
            if outcome.failed:
                host, ending = outcome.failed
                raise JobFailedError(failure_reason(host.name, ending, OptMl(host.opt_ml).failure_text()))
            if outcome.is_interrupted:
                say("the spot capacity was taken away")
                return True
            model, output = _artifacts(hosts)
            if model.is_empty:
                say(f"warning: the program left nothing in model/, so there is no {model.name}")
            for artifact in (model, output):
                for path in artifact.clashes:
                    say(f"warning: the hosts left different files {path}: {artifact.name} has the last host's")
            return False

    def _head(self, hosts: Sequence[Host]) -> Iterator[str]:
        executor = self._surroundings.executor
        yield from self._surroundings.remarks(self._request.instance_type, hosts, self._request.network_isolation)
        for channel in self._request.channels:
            if channel.input_mode == "FastFile":
                yield f"FastFile channel {channel.name}: all objects were copied beforehand, not each when it is read"
        if self._request.is_spot:
            interrupt = f"{self._surroundings.endpoint_url}/_local_aws/training-jobs/{self._request.name}/interrupt"
            yield f"the spot capacity is taken away on request only: curl -X POST {interrupt}"
        for warning in training_requests.warnings(self._request, executor):
            yield f"warning: {warning}"

    def _run_program(self, hosts: Sequence[Host], output: Output) -> _Outcome:
        with closing(self._surroundings.executor.start(self._program(), hosts, output)) as execution:
            return self._until_the_end(execution, hosts)

    def _program(self) -> Program:
        outer = (directory.local_path for directory in self._request.directories_in_s3 if not directory.is_below_opt_ml)
        environment = dict(self._surroundings.environment(self._storage.region, self._request.network_isolation))
        environment |= self._request.environment
        environment |= {"TRAINING_JOB_NAME": self._request.name, "TRAINING_JOB_ARN": self._job.arn}
        return Program(
            image=self._image,
            entrypoint=self._request.entrypoint,
            arguments=self._request.arguments,
            environment=environment,
            network_isolation=self._request.network_isolation,
            # A mount for each: two fields may name the same one.
            outer_directories=tuple(dict.fromkeys(outer)),
            read_only=tuple(
                PurePosixPath("input", "data", channel.name)
                for channel in self._request.channels
                if channel.input_mode == "FastFile"
            ),
        )

    def _until_the_end(self, execution: Execution, hosts: Sequence[Host]) -> _Outcome:
        with self._time.running():
            while not execution.wait(POLL_SECONDS):
                if self._surroundings.closing.is_set():
                    execution.kill()
                elif self._is_stopping():
                    self._surroundings.terminate(execution)
                elif self._job.interruption_requested:
                    self._surroundings.terminate(execution)
                    # Whatever it ended with: what an interrupted program leaves is not the job's result.
                    return _Outcome(is_interrupted=not self._surroundings.closing.is_set())
                elif first_failure(execution, hosts):
                    # The other hosts wait for the failed one, or fail without it.
                    self._surroundings.terminate(execution)
                    return _Outcome(first_failure(execution, hosts))
        return _Outcome(None if self._job.is_stopping else first_failure(execution, hosts))

    def _upload(self, hosts: Sequence[Host], directory: Path) -> None:
        for artifact in _artifacts(hosts):
            if artifact.is_empty or self._surroundings.closing.is_set():
                continue
            target, archive = self._request.output.below(artifact.name), directory / artifact.name
            try:
                artifact.pack(archive)
                self._storage.write(target, archive.read_bytes())
            except (OSError, ServiceException) as error:
                raise JobFailedError(f"ClientError: Artifact upload failed: {target}: {error}") from error


@dataclass(frozen=True)
class _Outcome:
    """On which host the program failed first and how, if it did, or whether it was interrupted instead."""

    failed: tuple[Host, Ending] | None = None
    is_interrupted: bool = False


def _artifacts(hosts: Sequence[Host]) -> tuple[Artifact, Artifact]:
    try:
        return Artifact.of_job([OptMl(host.opt_ml) for host in hosts])
    except OSError as error:
        raise JobFailedError(f"ClientError: Artifact upload failed: {error}") from error
