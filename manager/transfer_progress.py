"""How far a transfer of many files is: a bar on a terminal, a line now and then elsewhere."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from manager.console import Terminal

LINE_SECONDS = 10.0
MB = 1e6


class TransferProgress(Protocol):
    """Is told how far a transfer is, by any thread."""

    def add_bytes(self, count: int) -> None:
        """So many bytes more went over; fewer than none where some must go again."""

    def add_file(self) -> None:
        """A file more is over."""


@contextlib.contextmanager
def transfer_progress(
    terminal: Terminal, title: str, files: int, size: int, clock: Callable[[], float] = time.monotonic
) -> Iterator[TransferProgress]:
    """Show how far a transfer is while it lasts: the rate, and the time that is left at that rate.

    Args:
        terminal: where to.
        title: what is done.
        files: how many there are.
        size: their bytes.
        clock: seconds.
    """
    if not terminal.err.is_terminal:
        yield _Lines(terminal, title, files, size, clock)
        return
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        TextColumn("{task.fields[files]}"),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=terminal.err, transient=True) as bars:
        yield _Bar(bars, title, files, size)


class _Bar:
    def __init__(self, bars: Progress, title: str, files: int, size: int) -> None:
        self._bars, self._files, self._done = bars, files, 0
        self._task = bars.add_task(escape(title), total=size, files=self._told())

    def add_bytes(self, count: int) -> None:
        self._bars.advance(self._task, count)

    def add_file(self) -> None:
        self._done += 1
        self._bars.update(self._task, files=self._told())

    def _told(self) -> str:
        return f"{self._done:,}/{self._files:,} files"


class _Lines:
    def __init__(self, terminal: Terminal, title: str, files: int, size: int, clock: Callable[[], float]) -> None:
        self._terminal, self._title, self._clock, self._lock = terminal, title, clock, threading.Lock()
        self._files, self._size, self._done_files, self._done_bytes = files, size, 0, 0
        self._began = self._told = clock()

    def add_bytes(self, count: int) -> None:
        with self._lock:
            self._done_bytes += count
            now = self._clock()
            if now - self._told >= LINE_SECONDS:
                self._told = now
                self._terminal.err.print(self._line(now - self._began), markup=False)

    def add_file(self) -> None:
        with self._lock:
            self._done_files += 1

    def _line(self, seconds: float) -> str:
        rate = self._done_bytes / seconds
        left = f"{(self._size - self._done_bytes) / rate:,.0f} s left" if rate > 0 else "nothing yet"
        return (
            f"{self._title}: {self._done_files:,} of {self._files:,} files, {self._done_bytes / MB:,.1f} of "
            f"{self._size / MB:,.1f} MB, {rate / MB:,.1f} MB/s, {left}"
        )
