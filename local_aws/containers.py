"""What a server needs beside itself to run images as containers: an engine, a registry, a janitor."""

from __future__ import annotations

import logging
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from local_aws import docker_engine, janitor, registry
from local_aws.docker_executor import DockerExecutor
from local_aws.lifecycle import Home, clear
from local_aws.repositories import USER, Repositories
from local_aws.settings import Settings

_log = logging.getLogger(__name__)


class UnavailableError(Exception):
    """This machine cannot run containers; the message says what is missing, and how to get it."""


@contextmanager
def running(settings: Settings, home: Home, address: str) -> Iterator[tuple[DockerExecutor, Repositories]]:
    """The executor, and the repositories of its images, with all that they need while the block runs.

    What a killed server of the same home left in the engine is removed.

    Args:
        address: `localhost:PORT` of this server.

    Raises:
        UnavailableError: there is no engine, or no registry that starts.
    """
    server = uuid.uuid4().hex
    with ExitStack() as stack:
        try:
            engine = docker_engine.connect()
            registry.find_program()
            _remove_leftovers(engine, home)
            directory = tempfile.TemporaryDirectory(prefix="local-aws-", ignore_cleanup_errors=True)
            # Short, for the path of a socket.
            short = Path(stack.enter_context(directory))
            stack.enter_context(janitor.watching(server, short))
            store = stack.enter_context(registry.running(home.registry, short / "registry"))
        except (docker_engine.EngineError, registry.RegistryError) as error:
            raise UnavailableError(str(error)) from error
        repositories = Repositories(store, address)
        login = {"username": USER, "password": repositories.password}
        labels = {docker_engine.LABEL_HOME: str(home.path), docker_engine.LABEL_SERVER: server}
        yield DockerExecutor(engine, login, labels, settings.memory_bytes), repositories


def _remove_leftovers(engine: docker_engine.Engine, home: Home) -> None:
    for problem in docker_engine.remove_all(engine, docker_engine.LABEL_HOME, str(home.path)):
        _log.warning("%s", problem)
    # Once more: some files of a killed server's jobs may only now be this user's.
    clear(home)
