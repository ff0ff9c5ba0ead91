"""Servers that run images as processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import aws as helpers
from tests.aws import Aws, Server, run_local_aws, start_in_foreground
from tests.hosting import Hosting


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests of a worker."""
    server = start_in_foreground(tmp_path_factory.mktemp("home"))
    yield server
    server.process.terminate()
    assert server.process.wait(20) == 0


@pytest.fixture
def aws(server: Server, tmp_path: Path) -> Aws:
    return Aws(server, tmp_path)


@pytest.fixture
def hosting(aws: Aws) -> Iterator[Hosting]:
    """Endpoints, which end with the test."""
    hosting = Hosting(aws)
    yield hosting
    hosting.close()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server that the test may kill."""
    server = start_in_foreground(tmp_path / "home")
    yield server
    server.process.kill()
    server.process.wait()


@pytest.fixture
def own_aws(own_server: Server, tmp_path: Path) -> Aws:
    return Aws(own_server, tmp_path)


@pytest.fixture
def local_aws() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs one command: `local_aws("start", home=...)`."""
    return run_local_aws


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """Waits for a function to return something true, and returns that."""
    return helpers.eventually


@pytest.fixture
def aws_cli(server: Server, tmp_path: Path) -> Callable[..., str]:
    """Runs the `aws` command line against the server, and returns what it prints."""

    def command(*arguments: str) -> str:
        program = shutil.which("aws", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        assert program, "the tests need the aws command line: pip install awscli"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "AWS_ENDPOINT_URL": server.endpoint_url,
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_DEFAULT_REGION": "eu-central-1",
        }
        done = subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return command
