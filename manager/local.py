"""Starts and stops the AWS on this machine, which is a program of its own (`--local`, `--stop_local_aws`)."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from manager.calls import PostCall
from manager.errors import LocalAwsError
from manager.plan import Plan

# Docker's client takes long to import, and most commands do without.
if TYPE_CHECKING:
    from manager.image import Flavor

# Keys of trackers, which jobs on this machine get from the environment in which their AWS was started.
TRACKERS_VARIABLES = (
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_USERNAME",
    "WANDB_API_KEY",
    "WANDB_BASE_URL",
)


@dataclass(frozen=True)
class LocalAws:
    """The AWS on this machine: where it answers, and what runs its jobs."""

    endpoint_url: str
    executor: Literal["process", "docker"]

    @property
    def flavor(self) -> "Flavor":
        """The kind of image that it runs."""
        return "cpu" if self.executor == "docker" else "directory"


def start(project_root: Path) -> LocalAws:
    """Return the AWS that runs on this machine for this project, after starting it if none does.

    Raises:
        LocalAwsError: it cannot be started.
    """
    answer = json.loads(_ask("start", project_root))
    return LocalAws(answer["endpoint_url"], answer["executor"])


def stop(project_root: Path) -> str:
    """Stop the AWS of this project on this machine, and what it runs; return what was done, in words.

    Raises:
        LocalAwsError: it cannot be stopped.
    """
    return _ask("stop", project_root).strip()


def plan_interruption(endpoint_url: str, region: str, job: str) -> Plan:
    """Plan to take the capacity of a spot job away, as AWS may do at any time."""
    url = f"{endpoint_url}/_local_aws/training-jobs/{quote(job, safe='')}/interrupt?region={region}"
    return Plan((PostCall(url, f"take the spot capacity of the training job {job} away"),))


def _ask(command: str, project_root: Path) -> str:
    program = [sys.executable, "-m", "local_aws", command]
    defaults = {
        "LOCAL_AWS_HOME": str(project_root / ".local_aws"),
        "LOCAL_AWS_PASS_ENVIRONMENT": ",".join(TRACKERS_VARIABLES),
    }
    done = subprocess.run(
        program,
        cwd=project_root,
        env=defaults | os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines() or [f"exit code {done.returncode}"]
        hint = "; is `make setup` done?" if "ModuleNotFoundError" in lines[-1] else ""
        raise LocalAwsError(f"the AWS on this machine does not {command}: {lines[-1]}{hint}")
    return done.stdout
