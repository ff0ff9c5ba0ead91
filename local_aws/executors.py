"""Running an image's program: the seam between what a job is and how its program is run on this machine.

An executor starts one program on each of a job's hosts and hands out what they write. `local_aws.process_executor`
runs images that are directories as plain processes, `local_aws.docker_executor` runs images as containers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from local_aws.images import Image

# A host's name, some bytes for its log, and who they are from: 1 and 2 are the program's output and standard error (1
# both, where the two are one), 0 is the executor.
Output = Callable[[str, bytes, int], None]


class ExecutorError(Exception):
    """A program could not be started; the message says why, for a person."""


@dataclass(frozen=True)
class Program:
    """What every host of a job runs.

    Attributes:
        image: the image that the request names.
        entrypoint: replaces the image's own where it is not empty, as `docker run --entrypoint` does.
        arguments: what follows the image in `docker run IMAGE ...`.
        environment: the job's variables and the request's.
        network_isolation: whether the program may reach nothing over a network but the job's other hosts.
        read_only: directories below /opt/ml that the program must not write to.
        outer_directories: directories outside /opt/ml that the program has from its host's directory too; none where
            it `has_own_root` not.
        serves_http: whether the program answers HTTP, at port 8080 or where SAGEMAKER_BIND_TO_PORT says, and this
            machine is to reach it.
        hosts_beside: how many more hosts run the program, started by themselves; this machine's memory is for all.
    """

    image: Image
    entrypoint: tuple[str, ...]
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    network_isolation: bool = False
    read_only: tuple[PurePosixPath, ...] = ()
    outer_directories: tuple[PurePosixPath, ...] = ()
    serves_http: bool = False
    hosts_beside: int = 0


@dataclass(frozen=True)
class Host:
    """One machine of a job.

    Attributes:
        name: `algo-1` and so on, as its log stream has it.
        address: the name or the IP address at which the programs of the job's hosts reach it.
        directory: its own; `opt/ml` in it is the program's /opt/ml, and so with the program's outer directories. The
            rest of it is the executor's.
    """

    name: str
    address: str
    directory: Path

    @property
    def opt_ml(self) -> Path:
        return self.directory / "opt" / "ml"

    def path(self, inside: PurePosixPath) -> Path:
        """Where on this machine something lies whose path the program knows."""
        return self.directory / inside.relative_to("/")


@dataclass(frozen=True)
class HttpAddress:
    """Where this machine reaches a program that answers HTTP."""

    host: str
    port: int


@dataclass(frozen=True)
class Ending:
    """How a program ended.

    Attributes:
        exit_code: 128 + n after signal n.
        time: when, in seconds; to be compared among the hosts of one execution only.
        out_of_memory: whether the kernel killed it, or a process of it, for using more memory than it may.
    """

    exit_code: int
    time: float
    out_of_memory: bool = False


class Execution(Protocol):
    """Programs that were started, one for each host of a job."""

    def wait(self, seconds: float) -> bool:
        """Waits, at most so long, for the end of all programs and of all their output; whether that came."""

    def endings(self) -> Mapping[str, Ending]:
        """How the programs ended, by their hosts' names; only those that have.

        Raises:
            ExecutorError: nobody knows how one of them ended.
        """

    def http_address(self, host: str) -> HttpAddress:
        """Where the program of a host, of that name, answers HTTP; it may not listen yet.

        Raises:
            ExecutorError: it `serves_http` not, or has no address any more.
        """

    def terminate(self) -> None:
        """Sends SIGTERM to every program: to process 1, not to what it started."""

    def kill(self) -> None:
        """Ends every program and all that it started, with SIGKILL."""

    def close(self) -> None:
        """Ends what still runs, and removes what the executor made for the programs.

        What the programs wrote below their /opt/ml is this user's afterwards.
        """


class Executor(Protocol):
    """A way to run programs."""

    @property
    def name(self) -> str:
        """What `LOCAL_AWS_EXECUTOR` calls it."""

    @property
    def cannot_honor(self) -> Mapping[str, str]:
        """Fields of a request (`Parent.Child`) that have no effect here, and what happens instead."""

    @property
    def most_hosts(self) -> int:
        """How many hosts one job can have."""

    @property
    def network_interface(self) -> str:
        """The network interface by which the programs of a job's hosts reach each other."""

    @property
    def has_own_root(self) -> bool:
        """Whether a program has a file system of its own, in which any path can be given to it."""

    @property
    def reaches_server(self) -> bool:
        """Whether a program that is not isolated can be a client of this machine's AWS."""

    @property
    def remark_on_isolated_serving(self) -> str | None:
        """What a program reaches over a network that is isolated and `serves_http`; None where nothing, or where
        `cannot_honor` says it."""

    def addresses(self, names: Sequence[str]) -> Sequence[str]:
        """At which name or IP address each host of a new job, of these names, will be reached by the others."""

    def refusal(self, image: Image) -> str | None:
        """Why the image cannot be run, or None where it can."""

    def start(self, program: Program, hosts: Sequence[Host], output: Output) -> Execution:
        """Starts the program on each host.

        Args:
            output: gets what the programs write, in one thread for each host.

        Raises:
            ExecutorError: a program could not be started; none is left running.
        """
