"""A copy of the project in a folder of its own, used by its command lines as a person uses it."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

ROOT = Path(__file__).resolve().parent.parent
PARTS = (
    "container",
    "manager",
    "local_aws",
    "project_manager.py",
    "data_handler.py",
    "training-job-config-template.json",
    "tuning-job-config-template.json",
    "pyproject.toml",
)
REGION = "us-east-1"


@dataclass(frozen=True)
class Project:
    """The project's folder, and the environment that its commands run in."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run project_manager.py to its end."""
        return self.run("project_manager.py", *arguments)

    def manage_local(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run project_manager.py against the AWS on this machine; it must succeed."""
        done = self.manage("--local", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a Python program of the project to its end."""
        return subprocess.run(
            [sys.executable, *command],
            cwd=self.root,
            env=self.environment,
            # No question may wait for whoever runs the tests.
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a Python program of the project."""
        return subprocess.Popen(
            [sys.executable, "-u", *command],
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def endpoint_url(self) -> str:
        """Where the project's AWS on this machine answers."""
        started = self.run("-m", "local_aws", "start")
        assert started.returncode == 0, started.stderr
        return str(json.loads(started.stdout)["endpoint_url"])

    def client(self, service: str) -> Any:
        """Return a boto3 client of the project's AWS on this machine, made without the project's code."""
        return boto3.client(  # type: ignore[call-overload]
            service,
            endpoint_url=self.endpoint_url,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )


def copy_project(root: Path) -> Project:
    """Return a copy of the project below `root`, with an AWS on this machine of its own."""
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, root / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, root / part)
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    # No test may reach a real account, whatever the machine is configured for.
    isolated = {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(root / "no-aws-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(root / "no-aws-credentials"),
    }
    local = {"LOCAL_AWS_HOME": str(root / ".local_aws"), "LOCAL_AWS_EXECUTOR": "process"}
    return Project(root, kept | isolated | local | {"COLUMNS": "120"})
