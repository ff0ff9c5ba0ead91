"""Work on many things by several threads, handed over as it is done."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_parallel(function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """Yield what a function returns of each item, as it comes; items are taken only as threads get to them.

    Raises:
        Exception: what the function raised first; what was not begun by then never is.
    """
    remaining, done, pending = iter(items), SimpleQueue[Future[R]](), 0
    pool = ThreadPoolExecutor(threads)
    try:
        while True:
            for item in islice(remaining, 2 * threads - pending):
                pool.submit(function, item).add_done_callback(done.put)
                pending += 1
            if not pending:
                break
            future = done.get()
            pending -= 1
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)
