"""The body of a request while it comes in: kept only as far as it is taken."""

import asyncio
from http import HTTPStatus

from starlette.requests import Request

from container.serving.admission import Ticket
from container.serving.errors import RefusedError, too_large

# Seconds that a client may take to send a body; SageMaker itself waits as long for the answer.
SECONDS = 60.0
# How much of a body that is refused already is still read, in seconds and in multiples of the largest body: a client
# that sends without listening would see a broken connection instead of the answer.
DRAIN_SECONDS, DRAIN_BODIES = 2.0, 4


class IncomingBody:
    """The body of one request."""

    def __init__(self, request: Request, max_bytes: int) -> None:
        self._request, self._max_bytes = request, max_bytes
        self._parts = request.stream()
        self._received = 0
        self._is_whole = False

    async def read(self, ticket: Ticket) -> bytes:
        """Return the body.

        Raises:
            RefusedError: it is too large, encoded, or comes too slowly; or all bodies together are too large.
            ClientDisconnect: the client is gone.
        """
        encoding = self._request.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            raise RefusedError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the Content-Encoding {encoding!r} is not taken: send plain bytes"
            )
        self._check(int(self._request.headers.get("Content-Length", "0")))
        parts = []
        try:
            async with asyncio.timeout(SECONDS):
                async for part in self._parts:
                    self._received += len(part)
                    self._check(self._received)
                    ticket.hold(len(part))
                    parts.append(part)
        except TimeoutError:
            self._is_whole = True
            raise RefusedError(
                HTTPStatus.REQUEST_TIMEOUT, f"the body did not come within {SECONDS:g} seconds"
            ) from None
        self._is_whole = True
        return b"".join(parts)

    async def client_left(self) -> None:
        """Return when the client hangs up; to be asked once the body is there."""
        while (await self._request.receive())["type"] != "http.disconnect":
            pass

    async def drain(self) -> None:
        """Pass over the rest of a body that was refused, as far as it comes soon; who asks before sending is told."""
        if self._is_whole or "100-continue" in self._request.headers.get("Expect", "").lower():
            return
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                async for part in self._parts:
                    self._received += len(part)
                    if self._received > DRAIN_BODIES * self._max_bytes:
                        return
        except TimeoutError:
            return

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            raise too_large(
                f"the body has more than the {self._max_bytes:,} bytes that are taken (serving.max_body_mb)"
            )
