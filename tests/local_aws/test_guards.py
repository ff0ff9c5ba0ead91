"""Who is answered: loopback and no browser, tried on the wire."""

from __future__ import annotations

import http.client
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_aws.guards import is_loopback


def ask(server: Any, host: str | None, **headers: str) -> tuple[int, str]:
    address = urlsplit(server.endpoint_url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
    connection.putrequest("GET", "/", skip_host=True)
    if host is not None:
        connection.putheader("Host", host.replace("PORT", str(address.port)))
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


@pytest.mark.parametrize("host", ["127.0.0.1:PORT", "localhost:PORT", "LOCALHOST", "[::1]:PORT", "bucket.localhost"])
def test_loopback_hosts_are_answered(server: Any, host: str) -> None:
    # A host below localhost names a bucket, which is missing here.
    assert ask(server, host)[0] == (404 if host == "bucket.localhost" else 200)


@pytest.mark.parametrize(
    "host",
    ["attacker.example", "attacker.example:PORT", "127.0.0.1.attacker.example", "localhost.attacker.example",
     "192.168.0.1", "0.0.0.0", "", None],
)  # fmt: skip
def test_other_hosts_are_refused(server: Any, host: str | None) -> None:
    status, body = ask(server, host)
    assert status == 403
    assert "loopback" in body


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Origin", "https://attacker.example"),
        ("Origin", "null"),
        ("Referer", "https://attacker.example/page"),
        ("Sec_Fetch_Site", "cross-site"),
        ("Sec_Fetch_Mode", "no-cors"),
    ],
)
def test_browsers_are_refused(server: Any, header: str, value: str) -> None:
    status, body = ask(server, "127.0.0.1", **{header: value})
    assert status == 403
    assert header.replace("_", "-") in body


def test_a_refused_upload_does_not_disturb_the_next_request(aws: Any, server: Any) -> None:
    address = urlsplit(server.endpoint_url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
    connection.request("PUT", f"/{aws.bucket}/stolen", b"x" * 100_000, {"Origin": "https://attacker.example"})
    assert connection.getresponse().status == 403
    connection.close()
    assert aws.keys() == []


def test_an_engine_that_tries_tls_first_is_told_that_this_is_http(server: Any) -> None:
    address = urlsplit(server.endpoint_url)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        # A handshake record with a line feed in it, as every one has: 00 0A is the number of an extension.
        connection.sendall(b"\x16\x03\x01\x00\x05\x01\x00\x00\x00\n")
        assert connection.recv(100).startswith(b"HTTP/1.0 400 ")


@given(st.ip_addresses())
def test_addresses_are_loopback_only_where_they_are(address: Any) -> None:
    host = f"[{address}]:80" if address.version == 6 else f"{address}:80"
    assert is_loopback(host) == address.is_loopback
