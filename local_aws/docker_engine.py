"""The Docker engine of this machine: reaching it, and removing from it what jobs left there.

What this package makes in the engine carries labels, by which it is found again: by the job when that ends, by the
server when that died (`local_aws.janitor`), and by the home directory when the next server starts there.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException, NotFound
from docker.types import LogConfig, Mount
from requests.exceptions import RequestException

LABEL_HOME, LABEL_SERVER, LABEL_JOB = "local-aws.home", "local-aws.server", "local-aws.job"

# The directory of this machine whose parts the container has as its own, and whose (`user:group`) they are to be
# afterwards.
LABEL_DIRECTORY, LABEL_OWNER = "local-aws.directory", "local-aws.owner"

OPT_ML = "/opt/ml"

Engine = docker.APIClient

# What a call to the engine can raise.
ENGINE_ERRORS = (DockerException, RequestException, OSError)

# Starting a container takes long on a machine whose disk is busy.
_TIMEOUT_SECONDS = 120

_log = logging.getLogger(__name__)


class EngineError(Exception):
    """No engine can be used; the message says why, and what to do."""


def connect() -> Engine:
    """The engine that DOCKER_HOST names, else the one of this machine.

    Raises:
        EngineError: it does not answer, or runs on another machine.
    """
    host = os.environ.get("DOCKER_HOST", "")
    if host and not host.startswith("unix://"):
        raise EngineError(
            f"DOCKER_HOST is {host}, and the Docker engine must be one that shares this machine's files, behind a "
            "Unix socket: unset DOCKER_HOST"
        )
    try:
        client = docker.DockerClient.from_env(timeout=_TIMEOUT_SECONDS).api
        client.ping()
    except ENGINE_ERRORS as error:
        raise EngineError(
            f"no Docker engine answers ({explanation(error)}): install and start one (on Debian and Ubuntu "
            "`apt install docker.io`), and see that `docker info` works"
        ) from error
    return client


def explanation(error: Exception) -> str:
    """What the engine says about an error, in one line."""
    text = error.explanation if isinstance(error, APIError) and error.explanation else error
    return " ".join(str(text).split())


def remove_all(engine: Engine, label: str, value: str) -> Sequence[str]:
    """Ends and removes the containers and networks with a label, and gives their files to whose they are to be.

    Returns:
        What could not be done, one sentence each.
    """
    problems: list[str] = []
    chosen = {"label": f"{label}={value}"}
    try:
        for container in engine.containers(all=True, filters=chosen):
            with contextlib.suppress(APIError):
                engine.kill(container["Id"])
                engine.wait(container["Id"])
            problems += _give_back(engine, container["ImageID"], container["Labels"])
            # Somebody else may just be removing it.
            with contextlib.suppress(APIError):
                engine.remove_container(container["Id"], v=True, force=True)
        for network in engine.networks(filters=chosen):
            with contextlib.suppress(NotFound):
                engine.remove_network(network["Id"])
    except ENGINE_ERRORS as error:
        problems.append(f"cannot remove the job's containers: {explanation(error)}")
    return problems


def without_log() -> LogConfig:
    """Keeps the engine from writing a container's output to a file of its own."""
    return LogConfig(type="none")


def _give_back(engine: Engine, image: str, labels: Mapping[str, str]) -> Sequence[str]:
    """Makes all files of a container's host those of their owner to be.

    Programs in containers are root. Where this process is not, it could neither read nor remove what they wrote,
    so that a container of the same image has to change the owner.
    """
    owner, directory = labels.get(LABEL_OWNER, ""), Path(labels.get(LABEL_DIRECTORY, "/nonexistent"))
    user = int(owner.partition(":")[0] or 0)
    if user == 0 or not _has_others_files(directory, user):
        return ()
    complaint = ""
    try:
        complaint = _run_as_root(engine, image, ["chown", "-R", "-h", owner, OPT_ML], directory, labels)
    except ENGINE_ERRORS as error:
        complaint = explanation(error)
    if not _has_others_files(directory, user):
        return ()
    return (
        f"the program wrote files as another user, and `chown` in a container of its image cannot change that "
        f"({complaint}): remove what is left in {directory} yourself",
    )


def _run_as_root(engine: Engine, image: str, command: Sequence[str], directory: Path, labels: Mapping[str, str]) -> str:
    config = engine.create_host_config(
        mounts=[Mount(OPT_ML, str(directory), type="bind")],
        network_mode="none",
        # Otherwise root is no more than any user where the engine maps containers' users to others.
        userns_mode="host",
        log_config=without_log(),
    )
    # The job's labels but not the owner: should this container be left behind, nobody has to run another for it.
    kept = {name: value for name, value in labels.items() if name in (LABEL_HOME, LABEL_SERVER, LABEL_JOB)}
    container: dict[str, Any] = engine.create_container(
        image, entrypoint=[command[0]], command=list(command[1:]), user="0:0", host_config=config, labels=kept
    )
    try:
        engine.start(container["Id"])
        code = engine.wait(container["Id"])["StatusCode"]
    finally:
        engine.remove_container(container["Id"], v=True, force=True)
    return f"exit code {code}"


def _has_others_files(directory: Path, user: int) -> bool:
    for parent, names, files in os.walk(directory):
        for name in (*names, *files):
            with contextlib.suppress(FileNotFoundError):
                if Path(parent, name).lstat().st_uid != user:
                    return True
    return False
