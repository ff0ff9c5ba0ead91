"""Joins the images of requests that arrive together into steps of the model."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Step = Callable[[Sequence[NDArray[Any]]], NDArray[np.float32]]
"""From the pixels of images to their probabilities, shape (images, classes)."""

# While one step runs a second, full one may be handed over, so that the model need not wait for the event loop.
MOST_STEPS = 2


@dataclass(frozen=True, eq=False)
class _Waiting:
    pixels: NDArray[Any]
    since: float
    """When it came, by the event loop's clock."""
    answer: asyncio.Future[NDArray[np.float32]]


class Batcher:
    """Runs the model on what is waiting; lives on one event loop.

    A step begins when the model is free and there are images for a full one, or none are coming, or the first one has
    waited for the window.
    """

    def __init__(
        self,
        step: Step,
        thread: Executor,
        batch_size: int,
        best_size: Callable[[int], int],
        window_seconds: float,
        is_more_coming: Callable[[], bool],
    ) -> None:
        """Args:
        step: the model's.
        thread: runs one step after the other.
        batch_size: images of a step, at most.
        best_size: how many of the waiting images a step should take, from 1 to all of them.
        window_seconds: how long the first image waits for others while more are coming, at most.
        is_more_coming: whether images are on their way that will be asked for soon.
        """
        self._step, self._thread, self._is_more_coming = step, thread, is_more_coming
        self._batch_size, self._best_size, self._window = batch_size, best_size, window_seconds
        self._waiting: deque[_Waiting] = deque()
        self._steps = 0
        self._timer: asyncio.TimerHandle | None = None

    def predict(self, pixels: NDArray[Any]) -> asyncio.Future[NDArray[np.float32]]:
        """Return what will be the probabilities of an image, shape (classes,); an error of the step is its error."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(pixels, loop.time(), loop.create_future())
        self._waiting.append(waiting)
        self.consider()
        return waiting.answer

    def consider(self) -> None:
        """Begin a step if it is time for one."""
        is_full = len(self._waiting) >= self._batch_size
        while self._waiting and self._steps < (MOST_STEPS if is_full else 1):
            remaining = self._waiting[0].since + self._window - asyncio.get_running_loop().time()
            if not is_full and remaining > 0 and self._is_more_coming():
                self._look_again(remaining)
                return
            self._begin()
            is_full = len(self._waiting) >= self._batch_size

    def _look_again(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.consider()

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # Who was refused for another image of the request waits no longer.
        wanted = [waiting for waiting in self._waiting if not waiting.answer.done()]
        size = self._best_size(len(wanted)) if wanted else 0
        batch, self._waiting = wanted[:size], deque(wanted[size:])
        if not batch:
            return
        self._steps += 1
        pixels = [waiting.pixels for waiting in batch]
        running = asyncio.get_running_loop().run_in_executor(self._thread, self._step, pixels)
        running.add_done_callback(partial(self._finish, batch))

    def _finish(self, batch: Sequence[_Waiting], done: asyncio.Future[NDArray[np.float32]]) -> None:
        self._steps -= 1
        # The model comes before those who wait for its answers.
        self.consider()
        error = done.exception()
        for position, waiting in enumerate(batch):
            if waiting.answer.done():
                continue
            if error is not None:
                waiting.answer.set_exception(error)
            else:
                waiting.answer.set_result(done.result()[position])
