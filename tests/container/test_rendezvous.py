"""The hosts of a job wait for each other, and tell who did not come."""

import socket
import threading
from collections.abc import Callable

import pytest

from container.modeling.rendezvous import HostMissingError, meet

HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")


@pytest.fixture
def port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("", 0)) as server:
        return int(server.getsockname()[1])


def together(*calls: Callable[[], None]) -> list[str]:
    """Make all calls at once; return what the error of each says, in order; empty where there is none."""
    errors = [""] * len(calls)

    def call(number: int) -> None:
        try:
            calls[number]()
        except HostMissingError as error:
            errors[number] = str(error)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_all_go_on_when_all_are_there_and_the_port_is_free_again(port: int) -> None:
    for _ in range(2):
        assert together(*(lambda host=host: meet(HOSTS, host, port, "job", 20) for host in (2, 0, 1))) == ["", "", ""]
    socket.create_server(("", port)).close()


@pytest.mark.slow
def test_who_does_not_come_is_named(port: int) -> None:
    chief, other = together(lambda: meet(HOSTS, 0, port, "job", 2), lambda: meet(HOSTS, 1, port, "job", 2))
    assert chief.startswith("127.0.0.3 of the job's 3 hosts did not come within 2 seconds")
    assert "another host did not come" in other


def test_without_the_first_host_nobody_goes_on(port: int) -> None:
    (error,) = together(lambda: meet(HOSTS, 1, port, "job", 1))
    assert error.startswith(f"127.0.0.1, the first of the job's hosts, did not answer on port {port} within 1 seconds")


@pytest.mark.slow
def test_who_is_of_another_job_or_none_is_not_let_in(port: int) -> None:
    def stranger() -> None:
        for _ in range(200):
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                    connection.sendall(b"GET / HTTP/1.1\r\n")
                    connection.recv(1)
                return
            except OSError:
                threading.Event().wait(0.01)

    calls = [lambda: meet(HOSTS[:2], 0, port, "job", 2), lambda: meet(HOSTS[:2], 1, port, "other job", 2), stranger]
    chief, other, _ = together(*calls)
    assert chief.startswith("127.0.0.2 of the job's 2 hosts did not come")
    assert other
