"""Removes a server's containers when the server is gone, in a process of its own.

    python -m local_aws.janitor SERVER DIRECTORY

Its standard input is a pipe from the server. The kernel closes the pipe when the server ends, be it by SIGKILL; then
the containers and networks labeled with the server's name are removed, and its temporary directory. The engine would
let the containers run on.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

# A request of the server's may have been on its way when the server died.
_ROUNDS = 3
_PAUSE_SECONDS = 1.0

_END_SECONDS = 10.0


@contextlib.contextmanager
def watching(server: str, directory: Path) -> Iterator[None]:
    """Has a janitor while the block runs, and lets it do its work at the end.

    Args:
        server: the value of `docker_engine.LABEL_SERVER` on all that is this server's.
        directory: is removed where this process cannot do that itself any more.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "local_aws.janitor", server, str(directory)],
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)},
        # Ctrl-C in the server's terminal is not for it.
        start_new_session=True,
    )
    assert process.stdin
    try:
        yield
    finally:
        process.stdin.write(b".")
        process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)


def main(server: str, directory: str) -> None:
    """Waits for the server's end and removes what it left."""
    # The byte says that the server ended in good order, and asks for nothing more of the engine.
    in_good_order = bool(os.read(0, 1))
    if not in_good_order:
        shutil.rmtree(directory, ignore_errors=True)
    # The SDK is loaded when it is needed: until then this process is a small one.
    from local_aws import docker_engine

    with contextlib.suppress(docker_engine.EngineError):
        engine = docker_engine.connect()
        for number in range(1 if in_good_order else _ROUNDS):
            if number:
                time.sleep(_PAUSE_SECONDS)
            docker_engine.remove_all(engine, docker_engine.LABEL_SERVER, server)


if __name__ == "__main__":
    main(*sys.argv[1:])
