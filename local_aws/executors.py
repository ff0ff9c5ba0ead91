"""Running an image's program: the seam between what a job is and how its program is run on this machine.

An executor starts one program on each of a job's hosts and hands out what they write. `ProcessExecutor` runs
images that are directories as plain processes; `local_aws.docker_executor` runs images as containers.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from local_aws import supervisor
from local_aws.images import Image

# A host's name, some bytes for its log, and who they are from: 1 and 2 are the program's output and standard error (1
# both, where the two are one), 0 is the executor.
Output = Callable[[str, bytes, int], None]

_STANDARD_DIRECTORIES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


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
        read_only_channels: names of the channels that the program must not write to.
        outer_directories: directories outside /opt/ml that the program has from its host's directory too; none where
            it `has_own_root` not.
    """

    image: Image
    entrypoint: tuple[str, ...]
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    network_isolation: bool = False
    read_only_channels: tuple[str, ...] = ()
    outer_directories: tuple[PurePosixPath, ...] = ()


@dataclass(frozen=True)
class Host:
    """One machine of a job.

    Attributes:
        name: `algo-1` and so on; the others reach it by this name where the executor can do that.
        directory: its own; `opt/ml` in it is the program's /opt/ml, and so with the program's outer directories. The
            rest of it is the executor's.
    """

    name: str
    directory: Path

    @property
    def opt_ml(self) -> Path:
        return self.directory / "opt" / "ml"

    def path(self, inside: PurePosixPath) -> Path:
        """Where on this machine something lies whose path the program knows."""
        return self.directory / inside.relative_to("/")


@dataclass(frozen=True)
class Ending:
    """How a program ended.

    Attributes:
        exit_code: 128 + n after signal n.
        out_of_memory: whether the kernel killed it, or a process of it, for using more memory than it may.
    """

    exit_code: int
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
    def has_own_root(self) -> bool:
        """Whether a program has a file system of its own, in which any path can be given to it."""

    @property
    def reaches_server(self) -> bool:
        """Whether a program that is not isolated can be a client of this machine's AWS."""

    def refusal(self, image: Image) -> str | None:
        """Why the image cannot be run, or None where it can."""

    def start(self, program: Program, hosts: Sequence[Host], output: Output) -> Execution:
        """Starts the program on each host.

        Args:
            output: gets what the programs write, in one thread for each host.

        Raises:
            ExecutorError: a program could not be started; none is left running.
        """


class ProcessExecutor:
    """Runs directory images as processes of this machine and of this user.

    The program finds its /opt/ml by SAGEMAKER_BASE_DIR, the variable by which sagemaker-training itself is
    told of a moved one, and itself first on PATH. Its environment holds nothing of the server's. The
    interpreter that runs the server comes next on PATH, so that `#!/usr/bin/env python3` is the same Python.
    """

    name = "process"
    most_hosts = 1
    has_own_root = False
    reaches_server = True
    cannot_honor: Mapping[str, str] = {
        "EnableNetworkIsolation": "a process keeps its network; it only gets no AWS endpoint",
    }

    def refusal(self, image: Image) -> str | None:
        if image.directory:
            return None
        return (
            f"{image.uri} is no directory image, and without a container engine local_aws can run no other. "
            "Put an image whose manifest has the annotation local-aws.image-directory"
        )

    def start(self, program: Program, hosts: Sequence[Host], output: Output) -> Execution:
        execution = _Processes()
        try:
            for host in hosts:
                execution.add(host, _popen(program, host), output)
        except OSError as error:
            execution.close()
            raise ExecutorError(f"cannot start {program.image.uri}: {error}") from error
        return execution


class _Processes:
    def __init__(self) -> None:
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._readers: list[threading.Thread] = []

    def add(self, host: Host, process: subprocess.Popen[bytes], output: Output) -> None:
        self._processes[host.name] = process
        reader = threading.Thread(target=_read_to_the_end, args=(host.name, process, output), daemon=True)
        self._readers.append(reader)
        reader.start()

    def wait(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        for reader in self._readers:
            reader.join(max(0.0, deadline - time.monotonic()))
        return not any(reader.is_alive() for reader in self._readers)

    def endings(self) -> Mapping[str, Ending]:
        codes = {name: process.poll() for name, process in self._processes.items()}
        return {name: Ending(_shell_code(code)) for name, code in codes.items() if code is not None}

    def terminate(self) -> None:
        self._command(supervisor.TERMINATE)

    def kill(self) -> None:
        self._command(supervisor.KILL)

    def close(self) -> None:
        self.kill()
        for reader in self._readers:
            reader.join()

    def _command(self, command: bytes) -> None:
        for process in self._processes.values():
            # The supervisor may have ended just now, and its pipe with it.
            with contextlib.suppress(OSError, ValueError):
                assert process.stdin
                process.stdin.write(command)


def _popen(program: Program, host: Host) -> subprocess.Popen[bytes]:
    assert program.image.directory
    for name in ("home", "tmp"):
        (host.directory / name).mkdir()
    environment = {
        "PATH": f"{program.image.directory}:{Path(sys.executable).parent}:{_STANDARD_DIRECTORIES}",
        "HOME": str(host.directory / "home"),
        "TMPDIR": str(host.directory / "tmp"),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        **program.environment,
        "SAGEMAKER_BASE_DIR": str(host.opt_ml),
    }
    name, *arguments = (*program.entrypoint, *program.arguments)
    # Found here as docker finds it: the first file of that name, even where its interpreter then is missing.
    # Python's own search would go on to the next directory on PATH and run another program of that name.
    command = [shutil.which(name, path=environment["PATH"]) or name, *arguments]
    return subprocess.Popen(
        [sys.executable, "-I", "-S", supervisor.__file__, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
        cwd=host.directory / "home",
        env=environment,
        start_new_session=True,
    )


def _read_to_the_end(name: str, process: subprocess.Popen[bytes], output: Output) -> None:
    assert process.stdout
    assert process.stdin
    with process.stdout:
        while chunk := os.read(process.stdout.fileno(), 65536):
            output(name, chunk, 1)
    process.wait()
    process.stdin.close()


def _shell_code(code: int) -> int:
    return code if code >= 0 else 128 - code
