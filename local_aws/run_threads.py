"""The threads that carry jobs through, each from its start to its end."""

from __future__ import annotations

import threading
from collections.abc import Callable


class RunThreads:
    """Threads of a service. Safe to share by threads."""

    def __init__(self) -> None:
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()

    def start(self, run: Callable[[], None]) -> None:
        """Carry a job through in a thread of its own."""
        thread = threading.Thread(target=self._carry, args=(run,), daemon=True)
        with self._lock:
            self._threads.add(thread)
        thread.start()

    def join(self, seconds: float) -> None:
        """Wait for the end of all jobs, of each for so long."""
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(seconds)

    def _carry(self, run: Callable[[], None]) -> None:
        try:
            run()
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())
