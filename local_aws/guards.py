"""Who may talk to the server: programs on this machine, and no browser.

Loopback is reachable for every web page that the user has open, and a page could make the server run a
program: by DNS rebinding (the attacker's name resolves to 127.0.0.1; the Host header still tells the name) or
by a plain cross-site request (browsers mark these with headers that no AWS client sends).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_BROWSER_HEADERS = {
    "HTTP_ORIGIN": "Origin",
    "HTTP_REFERER": "Referer",
    "HTTP_SEC_FETCH_SITE": "Sec-Fetch-Site",
    "HTTP_SEC_FETCH_MODE": "Sec-Fetch-Mode",
}


def guarded(application: WSGIApplication) -> WSGIApplication:
    """The application, except that a request with a `refusal` gets status 403 and the reason as text."""

    def guard(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        reason = refusal(environ)
        if reason is None:
            return application(environ, start_response)
        body = f"{reason}\n".encode()
        # The unread body would be taken for the next request of a kept-alive connection.
        headers = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        start_response("403 Forbidden", headers)
        return [body]

    return guard


def refusal(environ: WSGIEnvironment) -> str | None:
    """Why the request must not be answered, or None where it may be."""
    host = environ.get("HTTP_HOST", "")
    if not is_loopback(host):
        return (
            f"local_aws answers requests to this machine's loopback only, and this one is for host {host!r}. "
            "Use an endpoint URL with 127.0.0.1 or localhost."
        )
    for variable, header in _BROWSER_HEADERS.items():
        if variable in environ:
            return f"local_aws answers no browser, and this request has the header {header}. Use an AWS client."
    return None


def is_loopback(host: str) -> bool:
    """Whether a Host header (`name`, `name:port`, `[address]:port`) names the loopback interface."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    name = name.lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
