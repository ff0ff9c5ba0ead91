"""Keeping a host of an endpoint in service: its health checks, and its replacement."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from local_aws.serving_errors import ServingError
from local_aws.serving_host import PING_SECONDS
from local_aws.serving_hosts import ServingHosts

# How soon the end of a program is seen.
_CHECK_SECONDS = 0.2

# Health checks in a row: a program may be too busy for one. SageMaker does not say how many it lets pass.
_MOST_FAILURES = 3

# A program that fails again this soon waits for its next start, each time twice as long and at most as long as this.
_LONGEST_PAUSE_SECONDS = 60.0
_FIRST_PAUSE_SECONDS = 1.0

_log = logging.getLogger(__name__)


class HostKeeper:
    """Watches one host, in a thread of its own, so that one that takes long to start keeps no other one waiting.

    A host is replaced when its program has ended, or has failed some health checks in a row.

    Args:
        hosts: have started.
        name: the host's.
        interval_seconds: between two health checks.
        is_over: set when the host is not needed any more.
        say: gets what there is to tell about the host, a line each.
    """

    def __init__(
        self,
        hosts: ServingHosts,
        name: str,
        interval_seconds: float,
        is_over: threading.Event,
        say: Callable[[str], None],
    ) -> None:
        self._hosts = hosts
        self._name = name
        self._interval_seconds = interval_seconds
        self._is_over = is_over
        self._say = say
        self._pause = _Pause()
        self._reason: str | None = None
        self._next_check = time.monotonic() + interval_seconds
        self._failures = 0
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def start(self) -> None:
        """Begins to watch."""
        self._thread.start()

    def join(self) -> None:
        """Waits until the host is left alone; to be called when it `is_over` and the hosts are closed."""
        self._thread.join()

    def _keep(self) -> None:
        while not self._is_over.wait(_CHECK_SECONDS):
            try:
                self._look()
            except Exception:
                # Without its keeper the host would never be replaced again.
                _log.exception("host %s", self._name)

    def _look(self) -> None:
        # What has been withdrawn stays so, whatever it would say while it waits for its replacement.
        self._reason = self._reason or self._hosts.end(self._name) or self._illness()
        if self._reason and self._pause.is_over():
            try:
                self._replace(self._reason)
            finally:
                self._pause.restart()
                self._reason = None
                self._failures = 0
                self._next_check = time.monotonic() + self._interval_seconds

    def _illness(self) -> str | None:
        """Why a host whose program runs has to be replaced, as a phrase; it takes no more requests then."""
        if time.monotonic() < self._next_check:
            return None
        is_healthy = self._hosts.answers_ping(self._name)
        self._failures = 0 if is_healthy else self._failures + 1
        self._next_check = time.monotonic() + self._interval_seconds
        if self._failures < _MOST_FAILURES:
            return None
        self._hosts.withdraw(self._name)
        return (
            f"the program did not answer /ping with status 200 within {PING_SECONDS:g} s, "
            f"{self._failures} times in a row"
        )

    def _replace(self, reason: str) -> None:
        self._say(f"warning: {reason}; it is started anew")
        try:
            self._hosts.replace(self._name)
            self._say("the program is in service again")
        except ServingError as error:
            if not self._is_over.is_set():
                self._say(f"warning: {error}")


class _Pause:
    """How long a host's next start has to wait."""

    def __init__(self) -> None:
        self._last = float("-inf")
        self._seconds = 0.0

    def is_over(self) -> bool:
        return time.monotonic() > self._last + self._seconds

    def restart(self) -> None:
        now = time.monotonic()
        is_soon = now - self._last < self._seconds + _LONGEST_PAUSE_SECONDS
        self._seconds = min(2 * self._seconds or _FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS) if is_soon else 0.0
        self._last = now
