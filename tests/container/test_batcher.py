"""Images that are asked for together share steps of the model, in their order, and never wait in vain."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from container.serving.batcher import Batcher

# Longer than any test.
FOREVER = 1_000.0


class Model:
    """Gives back what it is given, once it is let go on; counts its steps."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, images: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        self.steps.append(len(images))
        assert self.go_on.wait(30)
        if any(image[0] < 0 for image in images):
            raise ValueError("negative")
        return np.stack(images).astype(np.float32)


def image(number: int) -> NDArray[Any]:
    return np.array([number])


def batcher(model: Model, window: float = FOREVER, is_more_coming: bool = False) -> Batcher:
    return Batcher(model, ThreadPoolExecutor(1), 4, at_most_four, window, lambda: is_more_coming)


def at_most_four(waiting: int) -> int:
    return min(waiting, 4)


def test_an_image_that_comes_alone_does_not_wait() -> None:
    async def run() -> None:
        assert (await batcher(Model()).predict(image(7))).tolist() == [7]

    asyncio.run(run())


def test_a_full_step_does_not_wait_for_what_is_coming() -> None:
    async def run() -> None:
        model = Model()
        together = batcher(model, is_more_coming=True)
        answers = await asyncio.gather(*(together.predict(image(number)) for number in range(8)))
        assert [answer.tolist() for answer in answers] == [[number] for number in range(8)]
        assert model.steps == [4, 4]

    asyncio.run(run())


def test_who_waits_for_others_waits_for_the_window_at_most() -> None:
    async def run() -> None:
        model = Model()
        together = batcher(model, window=0.05, is_more_coming=True)
        answers = await asyncio.gather(together.predict(image(1)), together.predict(image(2)))
        assert [answer.tolist() for answer in answers] == [[1], [2]]
        assert model.steps == [2]

    asyncio.run(run())


def test_a_step_begins_when_nothing_is_coming_any_more() -> None:
    async def run() -> None:
        coming = [True]
        model = Model()
        together = Batcher(model, ThreadPoolExecutor(1), 4, at_most_four, FOREVER, lambda: coming[0])
        answer = together.predict(image(1))
        assert model.steps == []
        coming[0] = False
        together.consider()
        assert (await answer).tolist() == [1]

    asyncio.run(run())


def test_what_comes_while_the_model_computes_shares_the_next_step() -> None:
    async def run() -> None:
        model = Model()
        model.go_on.clear()
        together = batcher(model)
        answers = [together.predict(image(number)) for number in range(4)]
        model.go_on.set()
        await asyncio.gather(*answers)
        assert model.steps == [1, 3]

    asyncio.run(run())


def test_what_a_step_leaves_goes_first_in_the_next_one() -> None:
    async def run() -> None:
        model = Model()
        model.go_on.clear()
        by_twos = Batcher(model, ThreadPoolExecutor(1), 4, lambda waiting: min(waiting, 2), FOREVER, lambda: False)
        answers = [by_twos.predict(image(number)) for number in range(4)]
        model.go_on.set()
        assert [answer.tolist() for answer in await asyncio.gather(*answers)] == [[0], [1], [2], [3]]
        assert model.steps == [1, 2, 1]

    asyncio.run(run())


def test_an_error_is_told_to_those_of_its_step_alone() -> None:
    async def run() -> None:
        model = Model()
        together = batcher(model)
        failing = [together.predict(image(-1))]
        fine = [together.predict(image(number)) for number in range(3)]
        with pytest.raises(ValueError, match="negative"):
            await failing[0]
        assert [answer.tolist() for answer in await asyncio.gather(*fine)] == [[0], [1], [2]]

    asyncio.run(run())


def test_who_gave_up_is_not_predicted() -> None:
    async def run() -> None:
        model = Model()
        model.go_on.clear()
        together = batcher(model)
        first, given_up, last = (together.predict(image(number)) for number in range(3))
        given_up.cancel()
        model.go_on.set()
        assert [answer.tolist() for answer in await asyncio.gather(first, last)] == [[0], [2]]
        assert model.steps == [1, 1]

    asyncio.run(run())
