"""What the server fetches from hosts that take their time, or whose names lead where nobody is to look."""

import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from container.serving.errors import RefusedError
from container.serving.fetching import Fetcher, leads_inside

SECONDS = 0.4
HEAD = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def dripping(first: bytes, drop: bytes) -> Iterator[str]:
    """A host that answers at once with a piece, and then with another one again and again; yields its netloc."""
    is_over = threading.Event()

    def drip() -> None:
        with suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.sendall(first)
                while not is_over.wait(SECONDS / 20):
                    connection.sendall(drop)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            is_over.set()
            thread.join()


@pytest.mark.parametrize(
    ("first", "drop"),
    [
        (b"", b""),
        (HEAD, b"X: y\r\n"),
        (HEAD + b"X: ", b"y"),
        (HEAD + b"\r\n", b"z"),
        (HEAD + b"Content-Length: 1000000\r\n\r\n", b"z"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nz\r\n"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_host_that_drips_is_cut_off(scheme: str, first: bytes, drop: bytes) -> None:
    with dripping(first if scheme == "http" else b"", drop) as netloc:
        began = time.monotonic()
        with pytest.raises(RefusedError, match=r"does not come within|cannot be fetched"):
            Fetcher((netloc,), 10**6, SECONDS)(f"{scheme}://{netloc}/a.png")
        assert time.monotonic() - began < 10 * SECONDS


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "169.254.169.254",
        "169.254.170.2",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "fe80::1",
        "::ffff:169.254.169.254",
        "fd00:ec2::254",
        "fd00:ec2::23",
    ],
)
def test_no_name_may_lead_to_the_machine_or_to_the_clouds_own_services(address: str) -> None:
    assert leads_inside(address)


@pytest.mark.parametrize("address", ["10.0.0.7", "172.31.5.4", "192.168.1.2", "fd12:3456::1", "52.95.0.1", "2600::1"])
def test_a_name_that_is_allowed_may_be_a_host_of_the_vpc(address: str) -> None:
    assert not leads_inside(address)


@given(st.ip_addresses(network="fd00:ec2::/32") | st.ip_addresses(network="169.254.0.0/16"))
def test_all_of_the_clouds_own_networks_are_inside(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert leads_inside(str(address))
