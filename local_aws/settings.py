"""What a server is told by environment variables, read once at the edge."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_HOME = ".local_aws"
DEFAULT_REGION = "us-east-1"
EXECUTORS = ("process", "docker")

# Any would do: no signature is checked.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "local-aws", "AWS_SECRET_ACCESS_KEY": "local-aws"}

# SageMaker's own times between SIGTERM and SIGKILL, of a job and of a program that serves.
STOP_GRACE_SECONDS = 120.0
SERVING_STOP_GRACE_SECONDS = 30.0

# SageMaker's own time for a serving program from its start to its first good health check.
HEALTH_CHECK_SECONDS = 480.0

# SageMaker's own time between two health checks of a program in service.
PING_INTERVAL_SECONDS = 5.0

# What `docker run --memory` takes as well.
_BYTES = re.compile(r"(?P<number>\d+)(?P<unit>[bkmg]?)", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}

_PASSED = re.compile(r"(?!AWS_)[A-Za-z_][A-Za-z0-9_]*")

# The engine refuses less for a container.
_LEAST_MEMORY = 6 << 20


class SettingsError(ValueError):
    """An environment variable has a value that cannot be used; the message names it and what it may be."""


@dataclass(frozen=True)
class Settings:
    """How one server runs.

    Attributes:
        home: directory of everything that the server keeps on disk, absolute (`LOCAL_AWS_HOME`).
        region: the region printed for clients that have none yet (`AWS_REGION`, `AWS_DEFAULT_REGION`);
            requests may name any.
        executor: how an image's program is run, one of `EXECUTORS` (`LOCAL_AWS_EXECUTOR`); None means docker
            where that is possible, else process.
        memory_bytes: what the containers of one job, or of one deployment of an endpoint, may use together
            (`LOCAL_AWS_MEMORY`); None means most of the machine's memory.
        passed_variables: environment variables that jobs' programs get from whoever starts the server, such as keys of
            other services (their names, separated by commas: `LOCAL_AWS_PASS_ENVIRONMENT`). No request, answer or log
            shows them.
        stop_grace_seconds: time that a stopped program has between SIGTERM and SIGKILL
            (`LOCAL_AWS_STOP_GRACE_SECONDS`).
        health_check_seconds: time that a serving program has from its start until /ping says 200
            (`LOCAL_AWS_HEALTH_CHECK_SECONDS`).
        ping_interval_seconds: time between two health checks of a program that an endpoint has in service
            (`LOCAL_AWS_PING_INTERVAL_SECONDS`).
    """

    home: Path
    region: str = DEFAULT_REGION
    executor: str | None = None
    memory_bytes: int | None = None
    passed_variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    stop_grace_seconds: float = STOP_GRACE_SECONDS
    health_check_seconds: float = HEALTH_CHECK_SECONDS
    ping_interval_seconds: float = PING_INTERVAL_SECONDS

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Reads the variables named above; an absent or empty one means its default.

        Raises:
            SettingsError: a variable's value is none that it may have.
        """
        executor = environment.get("LOCAL_AWS_EXECUTOR") or None
        if executor and executor not in EXECUTORS:
            raise SettingsError(f"LOCAL_AWS_EXECUTOR is {executor!r}; it can be: {', '.join(EXECUTORS)}")
        return cls(
            home=Path(environment.get("LOCAL_AWS_HOME") or DEFAULT_HOME).absolute(),
            region=environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or DEFAULT_REGION,
            executor=executor,
            memory_bytes=_bytes(environment, "LOCAL_AWS_MEMORY"),
            passed_variables=_passed(environment, "LOCAL_AWS_PASS_ENVIRONMENT"),
            stop_grace_seconds=_seconds(environment, "LOCAL_AWS_STOP_GRACE_SECONDS", STOP_GRACE_SECONDS),
            health_check_seconds=_seconds(environment, "LOCAL_AWS_HEALTH_CHECK_SECONDS", HEALTH_CHECK_SECONDS),
            ping_interval_seconds=_seconds(environment, "LOCAL_AWS_PING_INTERVAL_SECONDS", PING_INTERVAL_SECONDS),
        )


def _passed(environment: Mapping[str, str], name: str) -> Mapping[str, str]:
    names = [part.strip() for part in environment.get(name, "").split(",") if part.strip()]
    for passed in names:
        if not _PASSED.fullmatch(passed):
            raise SettingsError(
                f"{name} has {passed!r}; it must be names of variables, separated by commas, such as WANDB_API_KEY, "
                "and none that begins with AWS_: jobs here have credentials of this AWS only"
            )
    return {passed: environment[passed] for passed in names if environment.get(passed)}


def _bytes(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name)
    if not text:
        return None
    match = _BYTES.fullmatch(text)
    size = int(match["number"]) * _UNITS[match["unit"].lower()] if match else 0
    if size < _LEAST_MEMORY:
        raise SettingsError(f"{name} is {text!r}; it must be a size of 6m or more, such as 512m or 8g")
    return size


def _seconds(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name) or str(default)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise SettingsError(f"{name} is {text!r}; it must be a number of seconds, 0 or more")
    return seconds
