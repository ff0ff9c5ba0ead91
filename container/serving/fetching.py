"""Fetches the images that requests name by a URL, from hosts that the settings allow, and from nowhere else.

A server that fetches any URL would show the network that it stands in to whoever may send it requests: the
instance's credentials, at a link-local address, before all. So a name is resolved once, what it resolves to is
checked, and that address is asked. Redirects are not followed.
"""

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException

import certifi
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.util import parse_url

from container.serving.errors import RefusedError, bad_request, too_large

PORTS = {"http": 80, "https": 443}
# Seconds until a host must have taken the connection, sent the next bytes, and sent all of them. SageMaker waits 60 for
# the answer.
CONNECT_SECONDS, READ_SECONDS, WHOLE_SECONDS = 3.0, 5.0, 15.0
CHUNK_BYTES = 2**16
# Where EC2's own services are in IPv6, the instance's credentials among them; as unique local addresses they are none
# of the link. https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html
EC2_SERVICES = ipaddress.ip_network("fd00:ec2::/32")


@dataclass(frozen=True)
class Target:
    """What a URL names."""

    scheme: str
    host: str
    port: int
    path: str
    """With the query."""

    @property
    def netloc(self) -> str:
        """The host, with the port where it is not the scheme's own."""
        return self.host if self.port == PORTS[self.scheme] else f"{self.host}:{self.port}"


class Fetcher:
    """Fetches images from the hosts that `serving.url_hosts` names."""

    def __init__(self, hosts: tuple[str, ...], max_bytes: int, whole_seconds: float = WHOLE_SECONDS) -> None:
        self._hosts, self._max_bytes = frozenset(host.lower() for host in hosts), max_bytes
        self._whole_seconds = whole_seconds

    def __call__(self, url: str) -> bytes:
        """Return what lies at a URL.

        From the connection on it takes `whole_seconds` at most, less what it took to find the host's address; how long
        that may take is the resolver's own.

        Raises:
            RefusedError: the URL is none that may be fetched, or nothing comes from there that is small enough.
        """
        target = _target(url)
        if target.netloc not in self._hosts:
            raise RefusedError(
                HTTPStatus.FORBIDDEN,
                f"images are not fetched from {target.netloc}: serving.url_hosts names the hosts that are allowed",
            )
        ends = time.monotonic() + self._whole_seconds
        try:
            with _connected(target, _address(target), ends) as connection:
                content = self._fetched(connection, target)
        except (HTTPError, HTTPException, OSError, ValueError) as error:
            self._check_time(target, ends)
            raise bad_request(f"the image at {target.netloc} cannot be fetched: {type(error).__name__}") from None
        # What was cut off may look whole.
        self._check_time(target, ends)
        return content

    def _fetched(self, connection: HTTPConnection, target: Target) -> bytes:
        headers = {"Host": target.netloc, "Accept": "image/*", "User-Agent": "serve"}
        connection.request("GET", target.path, headers=headers, preload_content=False, decode_content=False)
        with connection.getresponse() as response:
            if response.status != HTTPStatus.OK:
                followed = "; redirects are not followed" if 300 <= response.status < 400 else ""
                raise bad_request(f"{target.netloc} answers with status {response.status}{followed}")
            content = bytearray()
            while chunk := response.read1(CHUNK_BYTES):
                content += chunk
                if len(content) > self._max_bytes:
                    raise too_large(f"the image at {target.netloc} has more than {self._max_bytes:,} bytes")
        return bytes(content)

    def _check_time(self, target: Target, ends: float) -> None:
        if time.monotonic() >= ends:
            raise bad_request(f"the image at {target.netloc} does not come within {self._whole_seconds:g} seconds")


def _target(url: str) -> Target:
    try:
        parsed = parse_url(url)
    except (LocationParseError, ValueError):
        raise bad_request("the URL cannot be read") from None
    if parsed.scheme not in PORTS or not parsed.host:
        raise bad_request("the URL must begin with https:// or http://, and name a host")
    if parsed.auth is not None:
        raise bad_request("the URL must not hold a user or a password")
    return Target(parsed.scheme, parsed.host.lower(), parsed.port or PORTS[parsed.scheme], parsed.request_uri)


def _address(target: Target) -> str:
    """Return the address of a host. One that is allowed as an address is taken as it is; a name must lead outside."""
    host = target.host.strip("[]")
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise bad_request(f"there is no host {host}") from None
    addresses = [str(address[0]).partition("%")[0] for *_, address in found]
    for address in addresses:
        if leads_inside(address):
            raise RefusedError(HTTPStatus.FORBIDDEN, f"images are not fetched from {host}: it is at {address}")
    return addresses[0]


def leads_inside(text: str) -> bool:
    """Return whether an address is the machine itself, its own link's or its cloud's, or no host's at all.

    Private addresses are not inside: hosts of a VPC have them, and the settings name their names.
    """
    address = ipaddress.ip_address(text)
    address = getattr(address, "ipv4_mapped", None) or address
    is_inside = address.is_loopback or address.is_link_local or address.is_unspecified or address in EC2_SERVICES
    return is_inside or address.is_multicast or address.is_reserved


@contextmanager
def _connected(target: Target, address: str, ends: float) -> Iterator[HTTPConnection]:
    """Yield a connection that is cut off when its time ends, whatever the host sends until then."""
    seconds = max(0.0, ends - time.monotonic())
    with ExitStack() as stack:
        # It cannot be cut off before there is one.
        plain = socket.create_connection((address, target.port), min(CONNECT_SECONDS, seconds))
        stack.enter_context(plain)
        # Another name of the same connection: TLS takes the first one over.
        other = stack.enter_context(plain.dup())
        timer = threading.Timer(max(0.0, ends - time.monotonic()), _cut_off, (other,))
        timer.daemon = True
        timer.start()
        stack.callback(timer.cancel)
        plain.settimeout(READ_SECONDS)
        connection = HTTPConnection(address, target.port, timeout=READ_SECONDS)
        connection.sock = plain
        if target.scheme == "https":
            context = ssl.create_default_context(cafile=certifi.where())
            connection.sock = context.wrap_socket(plain, server_hostname=target.host.strip("[]"))
        stack.callback(connection.close)
        yield connection


def _cut_off(connection: socket.socket) -> None:
    # It may have been closed from the other side, or here just now.
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
