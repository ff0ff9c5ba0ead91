"""Starting a server in the background, finding it again, and stopping it.

The truth about whether a server runs is a lock that it holds on a file for as long as it lives: the kernel
lets go of it whatever way the process ends, so that a state file left by a killed server, or a process id
that something else has by now, can never be taken for a running one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

START_SECONDS = 60.0
STOP_SECONDS = 15.0
_POLL_SECONDS = 0.02

# How the command line begins the one line that it has for an error.
ERROR_PREFIX = "local_aws: "


class LifecycleError(Exception):
    """A server could not be started, found or stopped; the message tells which, and what to look at."""


@dataclass(frozen=True)
class Home:
    """The files of a server: one server per home directory."""

    path: Path

    @property
    def state_file(self) -> Path:
        """What `RunningServer` says, as JSON; only there while a server runs, or after one was killed."""
        return self.path / "server.json"

    @property
    def log_file(self) -> Path:
        """Standard output and error of the server that `start` made."""
        return self.path / "server.log"

    @property
    def images(self) -> Path:
        """Snapshots of the directory images that were pushed."""
        return self.path / "images"

    @property
    def registry(self) -> Path:
        """Files of the registry that holds Docker images; they stay when a server ends."""
        return self.path / "registry"

    @property
    def port_file(self) -> Path:
        """The port that the last server had."""
        return self.path / "port"

    @property
    def jobs(self) -> Path:
        """One directory per running job."""
        return self.path / "jobs"

    @property
    def running_lock(self) -> Path:
        """Locked exclusively by the running server."""
        return self.path / "running.lock"

    @property
    def starting_lock(self) -> Path:
        """Locked by whoever is just starting a server in the background."""
        return self.path / "starting.lock"


@dataclass(frozen=True)
class RunningServer:
    """A server that answers. `log_file` is None where it runs in the foreground."""

    endpoint_url: str
    pid: int
    log_file: str | None
    executor: str

    def as_json(self) -> str:
        """One line: the keys are the attributes."""
        return json.dumps(asdict(self))


def start(home: Home, port: int = 0, executor: str | None = None) -> RunningServer:
    """The server of `home`: the one that runs, else a new one in the background, once it answers.

    Args:
        port: of a new server; 0 means any that is free. A server that runs already keeps its own.
        executor: that the server must have; None means that any will do.

    Raises:
        LifecycleError: the new server ended or stayed silent, and the message has the end of its log; or the one
            that runs has another executor.
    """
    home.path.mkdir(parents=True, exist_ok=True)
    with _locked(home.starting_lock):
        server = find(home)
        if server and executor not in (None, server.executor):
            raise LifecycleError(
                f"a local_aws with the executor {server.executor} runs in {home.path}, and LOCAL_AWS_EXECUTOR is "
                f"{executor}: stop that one first (python -m local_aws stop); it forgets what it holds"
            )
        return server or _spawn(home, port)


def find(home: Home) -> RunningServer | None:
    """The server of `home`, or None; waits for one that is just starting.

    Raises:
        LifecycleError: a process holds the home directory but does not begin to answer.
    """
    deadline = time.monotonic() + START_SECONDS
    while _is_held(home.running_lock):
        server = _read(home.state_file)
        if server and _answers(server):
            return server
        if time.monotonic() > deadline:
            who = f"process {server.pid}" if server else "a process"
            raise LifecycleError(f"{who} holds {home.path} but does not answer; see {home.log_file}")
        time.sleep(_POLL_SECONDS)
    return None


def stop(home: Home) -> RunningServer | None:
    """Ends the server of `home`, its jobs with it, and returns what ran; None where nothing did.

    Raises:
        LifecycleError: the server survived SIGTERM and SIGKILL.
    """
    server = find(home)
    if server is None:
        return None
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.pid, signal_number)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            if not _is_held(home.running_lock):
                return server
            time.sleep(_POLL_SECONDS)
    raise LifecycleError(f"local_aws (process {server.pid}) does not end; see {home.log_file}")


@contextlib.contextmanager
def claimed(home: Home) -> Iterator[None]:
    """Makes this process the server of `home` while the block runs.

    What a killed server left there is cleared away.

    Raises:
        LifecycleError: another server has the home directory.
    """
    home.path.mkdir(parents=True, exist_ok=True)
    with home.running_lock.open("w") as lock:
        deadline = time.monotonic() + 1.0
        # Whoever asks whether a server runs holds a shared lock for an instant; only an exclusive one lasts.
        while not _try_lock(lock.fileno(), fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise LifecycleError(
                    f"a local_aws runs in {home.path} already. Use that one (python -m local_aws status), "
                    "stop it (python -m local_aws stop), or set LOCAL_AWS_HOME to another directory."
                )
            time.sleep(_POLL_SECONDS)
        clear(home)
        try:
            yield
        finally:
            clear(home)


def publish(home: Home, server: RunningServer) -> None:
    """Tells the others of a server that listens already; to be called inside `claimed`."""
    home.port_file.write_text(f"{urlsplit(server.endpoint_url).port}\n")
    beside = home.state_file.with_suffix(".new")
    beside.write_text(server.as_json() + "\n")
    beside.replace(home.state_file)


def clear(home: Home) -> None:
    """Removes what a server keeps in its home while it runs."""
    home.state_file.unlink(missing_ok=True)
    remove_tree(home.jobs)
    remove_tree(home.images)


def remove_tree(directory: Path) -> None:
    """Removes a directory even where a program took away its own permission to."""
    if not directory.is_dir():
        return
    # What belongs to another user stays as it is; rmtree passes over it.
    with contextlib.suppress(PermissionError):
        directory.chmod(0o700)
        for parent, names, _ in os.walk(directory):
            for child in (Path(parent, name) for name in names):
                if not child.is_symlink():
                    child.chmod(0o700)
    shutil.rmtree(directory, ignore_errors=True)


def _spawn(home: Home, port: int) -> RunningServer:
    package_parent = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, [package_parent, os.environ.get("PYTHONPATH")]))
    with home.log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", __package__, "--port", str(port), "--log_file", str(home.log_file)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": path, "LOCAL_AWS_HOME": str(home.path)},
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        server = _read(home.state_file)
        if server and server.pid == process.pid:
            return server
        time.sleep(_POLL_SECONDS)
    process.kill()
    process.wait()
    tail = home.log_file.read_text(errors="replace").strip().splitlines()[-5:]
    if tail and tail[-1].startswith(ERROR_PREFIX):
        raise LifecycleError(tail[-1].removeprefix(ERROR_PREFIX))
    raise LifecycleError("\n".join([f"local_aws did not start; the end of {home.log_file}:", *tail]))


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_held(path: Path) -> bool:
    try:
        with path.open() as lock:
            return not _try_lock(lock.fileno(), fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(state_file: Path) -> RunningServer | None:
    try:
        return RunningServer(**json.loads(state_file.read_text()))
    except FileNotFoundError:
        return None


def _answers(server: RunningServer) -> bool:
    address = urlsplit(server.endpoint_url)
    try:
        socket.create_connection((address.hostname, address.port), timeout=1).close()
    except OSError:
        return False
    return True
