"""Running images that are directories as processes of this machine and of this user."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from local_aws import supervisor
from local_aws.executors import Ending, ExecutorError, Host, HttpAddress, Output, Program
from local_aws.images import Image

_STANDARD_DIRECTORIES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ProcessExecutor:
    """Runs directory images as processes; one process, and what it starts, is one host.

    Several hosts of a job are loopback addresses, and these are their names too: processes share this machine's names,
    so that `algo-2` would mean nothing without a change of /etc/hosts or of the program. Linux answers for all of
    127.0.0.0/8, of which each job takes a part of its own, so that jobs side by side may listen on the same ports. A
    program that listens on all of its machine's addresses, as TensorFlow's servers do, needs another port on each host.

    The program finds its /opt/ml by SAGEMAKER_BASE_DIR, the variable by which sagemaker-training itself is
    told of a moved one, and itself first on PATH. Its environment holds nothing of the server's. The
    interpreter that runs the server comes next on PATH, so that `#!/usr/bin/env python3` is the same Python.

    One that answers HTTP is told a free port by SAGEMAKER_BIND_TO_PORT, SageMaker's own variable for containers that
    share a host, and by BIND_TO_ADDRESS that nothing outside this machine is to reach it.
    """

    name = "process"
    most_hosts = 8
    network_interface = "lo"
    has_own_root = False
    reaches_server = True
    remark_on_isolated_serving = None
    cannot_honor: Mapping[str, str] = {
        "EnableNetworkIsolation": "a process keeps its network; it only gets no AWS endpoint",
    }

    def addresses(self, names: Sequence[str]) -> Sequence[str]:
        if len(names) == 1:
            return names
        # Any of 65,024: two jobs, of this server or of another one, hardly ever meet. 127.0 holds addresses that other
        # programs use, such as those of this machine's name and of its resolver.
        network = f"127.{random.randint(1, 254)}.{random.randint(0, 255)}"
        return [f"{network}.{number}" for number, _ in enumerate(names, start=1)]

    def refusal(self, image: Image) -> str | None:
        if image.directory:
            return None
        return (
            f"{image.uri} is no directory image, and without a container engine local_aws can run no other. "
            "Put an image whose manifest has the annotation local-aws.image-directory"
        )

    def start(self, program: Program, hosts: Sequence[Host], output: Output) -> _Processes:
        execution = _Processes()
        try:
            for host in hosts:
                address = _free_address() if program.serves_http else None
                execution.add(host, _popen(program, host, address), output, address)
        except OSError as error:
            execution.close()
            raise ExecutorError(f"cannot start {program.image.uri}: {error}") from error
        return execution


class _Processes:
    def __init__(self) -> None:
        self._hosts: dict[str, Host] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._addresses: dict[str, HttpAddress | None] = {}
        self._endings: dict[str, Ending] = {}
        self._readers: list[threading.Thread] = []

    def add(self, host: Host, process: subprocess.Popen[bytes], output: Output, address: HttpAddress | None) -> None:
        self._hosts[host.name] = host
        self._addresses[host.name] = address
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
        for name, process in self._processes.items():
            code = process.poll()
            if name not in self._endings and code is not None:
                self._endings[name] = Ending(_shell_code(code), _end_time(self._hosts[name]))
        return dict(self._endings)

    def http_address(self, host: str) -> HttpAddress:
        address = self._addresses.get(host)
        if address is None:
            raise ExecutorError(f"the program of {host} answers no HTTP")
        return address

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


def _free_address() -> HttpAddress:
    # One of ten thousands: that another program takes it before this one listens is rare.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return HttpAddress(*listener.getsockname())


def _popen(program: Program, host: Host, address: HttpAddress | None) -> subprocess.Popen[bytes]:
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
    if address:
        environment |= {"SAGEMAKER_BIND_TO_PORT": str(address.port), "BIND_TO_ADDRESS": address.host}
    name, *arguments = (*program.entrypoint, *program.arguments)
    # Found here as docker finds it: the first file of that name, even where its interpreter then is missing.
    # Python's own search would go on to the next directory on PATH and run another program of that name.
    command = [shutil.which(name, path=environment["PATH"]) or name, *arguments]
    return subprocess.Popen(
        supervisor.command_line(*command, end_file=str(_end_file(host))),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
        cwd=host.directory / "home",
        env=environment,
        start_new_session=True,
    )


def _end_file(host: Host) -> Path:
    return host.directory / "end"


def _end_time(host: Host) -> float:
    try:
        return float(_end_file(host).read_text())
    except (OSError, ValueError):
        # There was no such program, or the supervisor was killed.
        return time.monotonic()


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
