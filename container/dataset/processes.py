"""Work on many things by several processes, handed over in order."""

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TypeVar

# How many batches are under way for each process: what is ready waits in memory.
UNDER_WAY = 4

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_batches(
    function: Callable[[list[Item]], Sequence[Result]], items: Iterable[Item], batch: int, processes: int = 0
) -> Iterator[Result]:
    """Yield what a function makes of each item, in their order.

    Args:
        function: of a module, since other processes call it; gets a list of items, returns as many results.
        items: are taken as they are needed.
        batch: how many items a process gets at once.
        processes: how many; 0: one for each core that this process may use. With 1, or a single batch, the work is
            done in this process.

    Raises:
        BrokenProcessPool: a process died.
    """
    unsent = iter(items)
    batches = iter(lambda: list(itertools.islice(unsent, batch)), [])
    first = list(itertools.islice(batches, 2))
    count = processes or _cores()
    if count == 1 or len(first) < 2:
        for some in itertools.chain(first, batches):
            yield from function(some)
        return
    # A forked process would hold the locks of this one's other threads.
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_begin)
    try:
        under_way: deque[Future[Sequence[Result]]] = deque()
        for some in itertools.chain(first, batches):
            with _interrupts_later():
                under_way.append(pool.submit(function, some))
            if len(under_way) == count * UNDER_WAY:
                yield from under_way.popleft().result()
        for future in under_way:
            yield from future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _cores() -> int:
    # macOS does not tell which cores a process may use.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _interrupts_later() -> Iterator[None]:
    """Keep Ctrl-C waiting: a process that is started meanwhile begins so, and would else be hit before `_begin`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    """Prepare a process: Ctrl-C is the business of the one that started it, and without that it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
