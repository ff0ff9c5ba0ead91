"""An AWS on this machine without a copy of the project, and a wire in front of it."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from manager.console import Terminal
from tests.aws import Server, start_in_foreground
from tests.manager.wire import Wire, listening


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests of a worker."""
    server = start_in_foreground(tmp_path_factory.mktemp("home"))
    yield server
    server.process.terminate()
    assert server.process.wait(20) == 0


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    """A wire to that server."""
    with listening(server.endpoint_url) as wire:
        yield wire


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """A terminal that `shown` reads."""
    return Terminal(out=Console(file=io.StringIO(), width=200), err=Console(file=io.StringIO(), width=200))
