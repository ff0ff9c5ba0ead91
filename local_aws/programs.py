"""What all jobs have in common about their programs: where these run, what they are told, and how they end."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from local_aws.executors import Ending, Execution, Executor, Host
from local_aws.lifecycle import remove_tree
from local_aws.settings import CREDENTIALS
from local_aws.training_jobs import LONGEST_FAILURE_REASON

# How soon a request to stop is seen; the end of a program is seen at once.
POLL_SECONDS = 0.05

# SageMaker's own advice, and what there is to do here.
_MORE_MEMORY = (
    "Please use an instance type with more memory, or reduce the size of job data processed on an instance. "
    "(Here LOCAL_AWS_MEMORY sets how much the job may use.)"
)


@dataclass(frozen=True)
class Surroundings:
    """What every job of a server runs in.

    Attributes:
        executor: runs the programs.
        directory: gets one directory for each running job.
        endpoint_url: this server's, for programs that are clients of AWS themselves.
        stop_grace_seconds: time between SIGTERM and SIGKILL.
        passed_variables: environment variables that programs have from this machine's user; keys, which nothing shows.
        closing: set when the server ends; running programs are killed then.
    """

    executor: Executor
    directory: Path
    endpoint_url: str
    stop_grace_seconds: float
    passed_variables: Mapping[str, str] = field(repr=False)
    closing: threading.Event

    @contextmanager
    def job_directory(self) -> Iterator[Path]:
        """A directory for one job, removed after the block."""
        # Short names: a program's temporary directory may hold sockets, whose paths can have 107 characters
        # at most.
        directory = Path(tempfile.mkdtemp(dir=self.directory, prefix=""))
        try:
            yield directory
        finally:
            remove_tree(directory)

    def hosts(self, count: int, directory: Path) -> Sequence[Host]:
        """The hosts of a job that asks for so many instances, as many as the executor can have; nothing is made."""
        names = [f"algo-{number + 1}" for number in range(min(count, self.executor.most_hosts))]
        return [
            Host(name, address, directory / str(number))
            for number, (name, address) in enumerate(zip(names, self.executor.addresses(names), strict=True), start=1)
        ]

    def environment(self, region: str, is_isolated: bool) -> Mapping[str, str]:
        """The variables that every program has, of a job in that region."""
        environment = {"AWS_REGION": region, "AWS_DEFAULT_REGION": region}
        if not is_isolated and self.executor.reaches_server:
            environment |= {"AWS_ENDPOINT_URL": self.endpoint_url, **CREDENTIALS}
        if not is_isolated:
            environment |= self.passed_variables
        return environment

    def remarks(self, instance_type: str, hosts: Sequence[Host], is_isolated: bool) -> Iterator[str]:
        """How these hosts differ from SageMaker's, one sentence each."""
        yield f"{instance_type}: this machine stands in for it"
        if any(host.address != host.name for host in hosts):
            yield f"the hosts' names here: {', '.join(f'{host.name} is {host.address}' for host in hosts)}"
        if not is_isolated and not self.executor.reaches_server:
            yield "a container cannot reach this machine's AWS, so it gets no AWS_ENDPOINT_URL and no credentials"

    def terminate(self, execution: Execution) -> None:
        """Ends all programs as SageMaker does: by SIGTERM, and after some time by SIGKILL."""
        execution.terminate()
        deadline = time.monotonic() + self.stop_grace_seconds
        while not execution.wait(POLL_SECONDS):
            if time.monotonic() > deadline or self.closing.is_set():
                execution.kill()


def first_failure(execution: Execution, hosts: Sequence[Host]) -> tuple[Host, Ending] | None:
    """On which host the program failed first and how; None where none has failed."""
    endings = execution.endings()
    failed = [(host, endings[host.name]) for host in hosts if host.name in endings and endings[host.name].exit_code]
    return min(failed, key=lambda failure: failure[1].time, default=None)


def failure_reason(host: str, ending: Ending, text: str = "") -> str:
    """The FailureReason of a job whose program failed on that host, with what the program itself says about it."""
    # SageMaker's wording, with nothing before the comma where the program said nothing.
    prefix, suffix = "AlgorithmError: ", f", exit code: {ending.exit_code}"
    if ending.out_of_memory:
        prefix = f"ClientError: {host} ran out of memory. {_MORE_MEMORY} "
    room = LONGEST_FAILURE_REASON - len(prefix) - len(suffix)
    return f"{prefix}{text[:room]}{suffix}"
