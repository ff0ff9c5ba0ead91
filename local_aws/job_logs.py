"""A program's output as events of a CloudWatch Logs stream."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime

from moto.core.exceptions import ServiceException
from moto.logs.models import logs_backends

from local_aws.executors import Host
from local_aws.storage import Storage
from local_aws.times import this_moment

# CloudWatch counts 26 bytes for each event besides its message, and takes at most 256 KB for one.
LONGEST_MESSAGE = 262_144 - 26

_FLUSH_SECONDS = 0.25
_UNFINISHED_SECONDS = 1.0

_log = logging.getLogger(__name__)


class LineSplitter:
    """Cuts a stream of bytes into lines of text.

    A line ends with a line feed. Of text that a carriage return made a terminal write over, only the last
    state counts, so that a progress bar becomes one line. Bytes that are not UTF-8 are replaced; a line that
    is too long for one event is cut into several.
    """

    def __init__(self) -> None:
        self._unfinished = b""
        self._since = 0.0

    def feed(self, chunk: bytes, now: float) -> list[str]:
        """The lines that the chunk completes; `now` in seconds, of any steady clock."""
        *whole, rest = (self._unfinished + chunk).split(b"\n")
        if rest and (whole or not self._unfinished):
            self._since = now
        lines = [line for part in whole for line in _cut(part)]
        while len(rest) > LONGEST_MESSAGE:
            piece, rest = _break(rest)
            lines.append(piece.decode(errors="replace"))
        self._unfinished = rest
        return lines

    def unfinished(self, now: float) -> list[str]:
        """A line that has waited for its end for a second: a prompt, or a progress bar's state."""
        if not self._unfinished or now - self._since < _UNFINISHED_SECONDS:
            return []
        return self.rest()

    def rest(self) -> list[str]:
        """What is left when nothing more will come."""
        lines, self._unfinished = _cut(self._unfinished), b""
        return lines


class LogStream:
    """Writes one host's output into a stream of CloudWatch Logs, at most a quarter of a second late.

    Safe to share by threads. Whatever happens to the log group (a client may delete it), `write` does not
    raise: a program's output must never stop the program.
    """

    def __init__(
        self,
        account_id: str,
        region: str,
        group: str,
        stream: str,
        on_line: Callable[[str, datetime], None],
    ) -> None:
        self._backend = logs_backends[account_id][region]
        self._group = group
        self._stream = stream
        self._on_line = on_line
        self._splitters: dict[int, LineSplitter] = {}
        self._events: list[dict[str, object]] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._put([])
        self._flusher = threading.Thread(target=self._flush_now_and_then, daemon=True)
        self._flusher.start()

    def write(self, chunk: bytes, source: int = 1) -> None:
        """Takes some bytes of output. Those of different sources never become one line."""
        with self._lock:
            splitter = self._splitters.setdefault(source, LineSplitter())
            self._append(splitter.feed(chunk, time.monotonic()))

    def close(self) -> None:
        """Writes all that is left, an unfinished line included."""
        self._closed.set()
        self._flusher.join()
        with self._lock:
            for splitter in self._splitters.values():
                self._append(splitter.rest())
            self._flush()

    def _flush_now_and_then(self) -> None:
        while not self._closed.wait(_FLUSH_SECONDS):
            with self._lock:
                for splitter in self._splitters.values():
                    self._append(splitter.unfinished(time.monotonic()))
                self._flush()

    def _append(self, lines: list[str]) -> None:
        now = this_moment()
        for line in lines:
            # CloudWatch refuses an empty message.
            if line:
                self._on_line(line, now)
                self._events.append({"timestamp": int(now.timestamp() * 1000), "message": line})

    def _flush(self) -> None:
        events, self._events = self._events, []
        if events:
            self._put(events)

    def _put(self, events: list[dict[str, object]]) -> None:
        try:
            self._backend.ensure_log_group(self._group)
            self._backend.ensure_log_stream(self._group, self._stream)
            if events:
                self._backend.put_log_events(self._group, self._stream, events)
        except ServiceException:
            _log.exception("cannot write to the log stream %s", self._stream)


@contextmanager
def log_streams(
    storage: Storage,
    group: str,
    job_name: str,
    hosts: Sequence[Host],
    epoch: int,
    on_line: Callable[[str, datetime], None] = lambda *_: None,
) -> Iterator[Mapping[str, LogStream]]:
    """The streams of a job's hosts by the hosts' names, named as SageMaker names them; closed at the end.

    Args:
        storage: where the account and the region of the logs are from.
        group: the log group of jobs of this kind.
        job_name: the job's.
        hosts: the job's.
        epoch: seconds, which tell this attempt of the job from its others.
        on_line: gets each line of every host.
    """
    with ExitStack() as stack:
        yield {
            host.name: stack.enter_context(
                closing(
                    LogStream(storage.account_id, storage.region, group, f"{job_name}/{host.name}-{epoch}", on_line)
                )
            )
            for host in hosts
        }


def _cut(line: bytes) -> list[str]:
    shown = next((part for part in reversed(line.split(b"\r")) if part), b"")
    pieces = []
    while len(shown) > LONGEST_MESSAGE:
        piece, shown = _break(shown)
        pieces.append(piece)
    return [piece.decode(errors="replace") for piece in [*pieces, shown]]


def _break(line: bytes) -> tuple[bytes, bytes]:
    end = LONGEST_MESSAGE
    # Not inside a character: bytes of the form 10xxxxxx continue one, and there are at most three of them.
    while end > LONGEST_MESSAGE - 4 and line[end] & 0xC0 == 0x80:
        end -= 1
    return line[:end], line[end:]
