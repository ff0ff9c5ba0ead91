"""Fetches the images that requests name by a URL, from hosts that the settings allow, and from nowhere else.

A server that fetches any URL would show the network that it stands in to whoever may send it requests: the
instance's credentials, at a link-local address, before all. So a name is resolved once, what it resolves to is
checked, and that address is asked. Redirects are not followed.
"""

import ipaddress
import socket
import time
from dataclasses import dataclass
from http import HTTPStatus

import certifi
from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool, Timeout
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.util import parse_url

from container.serving.errors import RefusedError, bad_request, too_large

PORTS = {"http": 80, "https": 443}
# Seconds until a host must have taken the connection, sent the next bytes, and sent all of them. SageMaker waits 60 for
# the answer.
CONNECT_SECONDS, READ_SECONDS, WHOLE_SECONDS = 3.0, 5.0, 15.0
CHUNK_BYTES = 2**16


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

    def __init__(self, hosts: tuple[str, ...], max_bytes: int) -> None:
        self._hosts, self._max_bytes = frozenset(host.lower() for host in hosts), max_bytes

    def __call__(self, url: str) -> bytes:
        """Return what lies at a URL; takes some seconds at most.

        Raises:
            RefusedError: the URL is none that may be fetched, or nothing comes from there that is small enough.
        """
        target = _target(url)
        if target.netloc not in self._hosts:
            raise RefusedError(
                HTTPStatus.FORBIDDEN,
                f"images are not fetched from {target.netloc}: serving.url_hosts names the hosts that are allowed",
            )
        pool = _connection(target, _address(target))
        try:
            return self._fetched(pool, target)
        except (HTTPError, OSError, ValueError) as error:
            raise bad_request(f"the image at {target.netloc} cannot be fetched: {type(error).__name__}") from None
        finally:
            pool.close()

    def _fetched(self, pool: HTTPConnectionPool, target: Target) -> bytes:
        ends = time.monotonic() + WHOLE_SECONDS
        response = pool.urlopen(
            "GET",
            target.path,
            headers={"Host": target.netloc, "Accept": "image/*", "User-Agent": "serve"},
            redirect=False,
            retries=False,
            preload_content=False,
            decode_content=False,
        )
        assert isinstance(response, HTTPResponse)
        with response:
            if response.status != HTTPStatus.OK:
                followed = "; redirects are not followed" if 300 <= response.status < 400 else ""
                raise bad_request(f"{target.netloc} answers with status {response.status}{followed}")
            content = bytearray()
            # As they come: a whole chunk of a slow host may take forever.
            while chunk := response.read1(CHUNK_BYTES):
                content += chunk
                if len(content) > self._max_bytes:
                    raise too_large(f"the image at {target.netloc} has more than {self._max_bytes:,} bytes")
                if time.monotonic() > ends:
                    raise bad_request(f"the image at {target.netloc} does not come within {WHOLE_SECONDS:g} seconds")
        return bytes(content)


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
    addresses = [ipaddress.ip_address(str(address[0]).partition("%")[0]) for *_, address in found]
    for address in addresses:
        address = getattr(address, "ipv4_mapped", None) or address
        is_inside = address.is_loopback or address.is_link_local or address.is_unspecified
        if is_inside or address.is_multicast or address.is_reserved:
            raise RefusedError(HTTPStatus.FORBIDDEN, f"images are not fetched from {host}: it is at {address}")
    return str(addresses[0])


def _connection(target: Target, address: str) -> HTTPConnectionPool:
    timeout = Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
    if target.scheme == "http":
        return HTTPConnectionPool(address, target.port, timeout=timeout)
    host = target.host.strip("[]")
    return HTTPSConnectionPool(
        address,
        target.port,
        timeout=timeout,
        cert_reqs="CERT_REQUIRED",
        ca_certs=certifi.where(),
        server_hostname=host,
        assert_hostname=host,
    )
