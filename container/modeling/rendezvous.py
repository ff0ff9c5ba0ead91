"""Brings the hosts of a job together before TensorFlow connects them.

TensorFlow's strategy waits for the other hosts without an end and without running any Python meanwhile, be it a
handler of SIGTERM. So it is built only when all hosts are there.
"""

import logging
import select
import socket
import time
from collections.abc import Sequence

from container.errors import ProjectError

logger = logging.getLogger(__name__)

# What the chief answers when all are there.
ALL_THERE = b"all there\n"
# How long a host waits before it tries to reach the chief again, and for the chief's words, in seconds.
RETRY_SECONDS = 0.5
# How long who connects may take to say who it is.
HELLO_SECONDS = 5.0
MAX_HELLO = 1024


class HostMissingError(ProjectError):
    """A host of the job did not come."""


def meet(hosts: Sequence[str], host: int, port: int, job: str, seconds: float) -> None:
    """Return as soon as all hosts of a job have called this.

    Args:
        hosts: their names, which need not resolve yet; the first one is the chief, whom the others connect to.
        host: position of this one.
        port: where the chief listens meanwhile; it is free again afterwards.
        job: who says another name is of another job, and is not let in.
        seconds: how long to wait.

    Raises:
        HostMissingError: not all came in time; those who did not are named.
        OSError: the port is taken.
    """
    deadline = time.monotonic() + seconds
    if host == 0:
        _gather(hosts, port, job, deadline, seconds)
    else:
        _join(hosts[0], port, f"{job} {host}\n".encode(), deadline, seconds)


def _gather(hosts: Sequence[str], port: int, job: str, deadline: float, seconds: float) -> None:
    there: dict[int, socket.socket] = {}
    try:
        with socket.create_server(("", port), backlog=len(hosts)) as server:
            while len(there) < len(hosts) - 1:
                server.settimeout(_left(deadline))
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    missing = [name for number, name in enumerate(hosts) if number and number not in there]
                    raise HostMissingError(
                        f"{', '.join(missing)} of the job's {len(hosts)} hosts did not come within {seconds:g} "
                        "seconds: see the logs of these hosts"
                    ) from None
                number = _number(connection, job, len(hosts))
                if number is None:
                    connection.close()
                    continue
                if number in there:
                    there[number].close()
                there[number] = connection
                for gone in [number for number, known in there.items() if _is_closed(known)]:
                    there.pop(gone).close()
        # The port is free before anybody goes on.
        for connection in there.values():
            connection.sendall(ALL_THERE)
            # Who closes first keeps the port for a while.
            connection.settimeout(HELLO_SECONDS)
            connection.recv(1)
    except (ConnectionError, TimeoutError) as error:
        raise HostMissingError(f"a host of the job went away at the start ({error}): see the hosts' logs") from None
    finally:
        for connection in there.values():
            connection.close()


def _join(chief: str, port: int, hello: bytes, deadline: float, seconds: float) -> None:
    reason = "no answer"
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection((chief, port), timeout=min(left, HELLO_SECONDS)) as connection:
                connection.sendall(hello)
                connection.settimeout(_left(deadline))
                if connection.recv(len(ALL_THERE), socket.MSG_WAITALL) == ALL_THERE:
                    return
        # The name may not resolve yet, and the chief not listen.
        except OSError as error:
            reason = str(error)
        time.sleep(RETRY_SECONDS)
    raise HostMissingError(
        f"{chief}, the first of the job's hosts, did not answer on port {port} within {seconds:g} seconds ({reason}), "
        "or another host did not come: see the logs of the hosts"
    )


def _number(connection: socket.socket, job: str, hosts: int) -> int | None:
    """Return which host of the job connected; None: it is none."""
    connection.settimeout(HELLO_SECONDS)
    try:
        with connection.makefile("rb") as file:
            name, _, number = file.readline(MAX_HELLO).decode(errors="replace").strip().rpartition(" ")
    except OSError:
        return None
    is_ours = name == job and number.isdecimal() and 0 < int(number) < hosts
    return int(number) if is_ours else None


def _is_closed(connection: socket.socket) -> bool:
    """Whether who waits at the other end is gone: it has nothing more to say."""
    return bool(select.select([connection], [], [], 0)[0])


def _left(deadline: float) -> float:
    # A timeout of 0 would mean not to wait at all.
    return max(deadline - time.monotonic(), 0.001)
