"""Servers that run images as processes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import aws as helpers
from tests.aws import Aws, Server, run_local_aws, start_in_foreground


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
