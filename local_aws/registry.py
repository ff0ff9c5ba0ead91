"""The store of pushed images: Debian's docker-registry, run by this server for itself.

It listens on a Unix socket that only this user can reach. Clients see it through `local_aws.registry_api`, which
checks who asks, and knows what ECR's repositories and tags are.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from local_aws import supervisor
from local_aws.lifecycle import remove_tree

PROGRAM = "docker-registry"

# Of layers from earlier servers, which nobody can tell to be needed again. The CPU image of a training framework has
# about half a gigabyte.
_MOST_BYTES = 5 << 30

_START_SECONDS = 20.0
_POLL_SECONDS = 0.02
_REQUEST_SECONDS = 300.0

# Layers are many megabytes: the default of 16 KiB would cost more time than the copying itself.
BLOCK_BYTES = 1 << 20


class RegistryError(Exception):
    """The registry cannot be run, or does not answer; the message says why, and what to do."""


@dataclass(frozen=True)
class Registry:
    """A running registry: what it is asked goes over its socket."""

    socket_path: Path

    @contextlib.contextmanager
    def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | IO[bytes] | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """The answer to one request of the registry's HTTP API, whose body can be read while the block runs.

        Args:
            target: path and query.
            body: a file is sent in chunks unless the headers have its length.

        Raises:
            RegistryError: there is no answer.
        """
        connection = _Connection(self.socket_path)
        with contextlib.closing(connection):
            try:
                connection.request(method, target, body, dict(headers or {}))
                answer = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise RegistryError(f"the registry does not answer: {error!r}") from error
            yield answer


def find_program() -> str:
    """The path of the registry's program.

    Raises:
        RegistryError: it is not installed.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        raise RegistryError(
            f"the program {PROGRAM}, which stores images, is not on PATH: install it (on Debian and Ubuntu "
            f"`apt install {PROGRAM}`)"
        )
    return program


@contextlib.contextmanager
def running(directory: Path, socket_path: Path) -> Iterator[Registry]:
    """Runs a registry that keeps its files in a directory while the block runs; it never outlives this process.

    Layers that it has from before need not be pushed again, unless they have become too many.

    Args:
        socket_path: of its socket, with 107 characters at most, in a directory that is this user's alone.

    Raises:
        RegistryError: it does not start.
    """
    program = find_program()
    _tidy(directory)
    registry = Registry(socket_path)
    config, log_file = directory / "config.json", directory / "registry.log"
    config.write_text(json.dumps(_configuration(directory / "images", socket_path)))
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            supervisor.command_line(program, "serve", str(config)),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Its variables would change the configuration.
            env={},
            start_new_session=True,
        )
    assert process.stdin
    try:
        _wait_for(registry, process, log_file)
        yield registry
    finally:
        process.stdin.close()
        process.wait()


def _tidy(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    size = sum(Path(parent, name).stat().st_size for parent, _, names in os.walk(directory) for name in names)
    if size > _MOST_BYTES:
        remove_tree(directory / "images")
    for unfinished in directory.glob("images/**/_uploads"):
        remove_tree(unfinished)


def _configuration(images: Path, socket_path: Path) -> Mapping[str, object]:
    # JSON is YAML, which the registry reads.
    return {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(images)},
            "cache": {"blobdescriptor": "inmemory"},
            "maintenance": {"uploadpurging": {"enabled": False}},
        },
        "http": {
            "net": "unix",
            "addr": str(socket_path),
            "secret": secrets.token_hex(),
            # It does not know the address by which clients see it.
            "relativeurls": True,
        },
    }


def _wait_for(registry: Registry, process: subprocess.Popen[bytes], log_file: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(RegistryError), registry.request("GET", "/v2/") as answer:
            if answer.status == http.HTTPStatus.OK:
                return
        time.sleep(_POLL_SECONDS)
    tail = log_file.read_text(errors="replace").strip().splitlines()[-1:]
    raise RegistryError(f"{PROGRAM} does not start; the end of its log: {' '.join(tail)}")


class _Connection(http.client.HTTPConnection):
    def __init__(self, socket_path: Path) -> None:
        super().__init__("localhost", timeout=_REQUEST_SECONDS, blocksize=BLOCK_BYTES)
        self._socket_path = socket_path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._socket_path))
