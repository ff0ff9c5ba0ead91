"""From the body of a request to its answer: read, decode, predict, write, each by the project's or the user's function.

The event loop only waits. Bodies are read and images decoded in threads, the model has a thread of its own, and
answers that take long are written in yet others, so that none of these waits for another's queue.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Self, TypeVar

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from container.modeling.input_pipeline.pixel_cache import usable_memory
from container.modeling.serving_settings import Serving
from container.serving.admission import Admission, Ticket
from container.serving.answers import Answer, answer
from container.serving.batcher import Batcher
from container.serving.bodies import Encoded, Link, Source, at_most, images_of
from container.serving.decoder import Decoder
from container.serving.errors import RefusedError
from container.serving.fetching import Fetcher
from container.serving.hosting import Hosting, usable_cores
from container.serving.media_types import Input, input_of, output_of
from container.serving.model import ModelStep, load_model
from container.serving.model_folder import ModelFolder
from container.serving.own_functions import OwnFunctions

logger = logging.getLogger(__name__)

FETCHING_THREADS, ANSWERING_THREADS = 8, 2
# Numbers that the event loop writes by itself: a thread would take longer to begin.
QUICKLY_WRITTEN = 2_000
# Share of the memory that the bodies of requests may fill.
MEMORY_SHARE = 1 / 4

T = TypeVar("T")


class Inference:
    """Answers requests with a model; its methods run on one event loop."""

    def __init__(
        self,
        folder: ModelFolder,
        settings: Serving,
        hosting: Hosting,
        functions: OwnFunctions,
        model: Any,
        step: ModelStep | None,
        model_thread: ThreadPoolExecutor,
    ) -> None:
        self._folder, self._functions, self._model = folder, functions, model
        self._image = folder.settings.image
        self._max_together, self._max_images = 2 * settings.batch_size, settings.max_images
        threads = settings.decoding_threads or usable_cores()
        self._model_thread = model_thread
        self._decoding = ThreadPoolExecutor(threads, "decoding")
        self._fetching = ThreadPoolExecutor(FETCHING_THREADS, "fetching")
        self._answering = ThreadPoolExecutor(ANSWERING_THREADS, "answering")
        self._decoder = Decoder(self._image, settings.max_pixels)
        self._decoder.warm_up()
        self._fetch = Fetcher(settings.url_hosts, hosting.max_body_bytes)
        max_bytes = max(hosting.max_body_bytes, int(MEMORY_SHARE * usable_memory()))
        self.admission = Admission(hosting.max_waiting, self._max_together, max_bytes)
        self._batcher: Batcher | None = None
        if step is not None:
            self._batcher = Batcher(
                step,
                model_thread,
                settings.batch_size,
                step.sizes.best,
                settings.batch_window_ms / 1_000,
                lambda: self.admission.is_more_coming,
            )
            self.admission.nothing_is_coming = self._batcher.consider

    @classmethod
    def load(cls, folder: ModelFolder, settings: Serving, hosting: Hosting, model_thread: ThreadPoolExecutor) -> Self:
        """Load the model, and take first steps; takes seconds, and is to run in the model's thread.

        Raises:
            ProjectError: the model or the user's functions are not as they should be.
        """
        cores = usable_cores()
        tf.config.threading.set_intra_op_parallelism_threads(cores)
        tf.config.threading.set_inter_op_parallelism_threads(cores)
        functions = OwnFunctions.load(settings)
        model = functions.load_model(folder.path) if functions.model else load_model(folder)
        step = None
        if functions.predict is None:
            step = ModelStep(model, folder.settings.image, len(folder.classes), settings.batch_size)
            step.warm_up()
        return cls(folder, settings, hosting, functions, model, step, model_thread)

    def check_headers(self, content_type: str, accept: str) -> None:
        """See that a request sends and wants what there is, before its body is read.

        Raises:
            RefusedError: it does not.
        """
        if self._functions.input is None:
            input_of(content_type)
        if self._functions.output is None:
            output_of(accept)

    async def answer(self, body: bytes, content_type: str, accept: str, ticket: Ticket) -> Answer:
        """Return the answer to a request.

        Raises:
            RefusedError: the body is not as docs/serving.md has it.
            BrokenPartError: a function of the user's own failed.
        """
        images = await self._read(body, content_type, ticket)
        prediction = await self._predict(images, ticket)
        return await self._write(prediction, accept)

    async def _read(self, body: bytes, content_type: str, ticket: Ticket) -> Any:
        """Return the images of a body; by an input_fn of the user's, what that returns."""
        if self._functions.input is not None:
            return await self._in(self._decoding, self._functions.read, body, content_type)
        kind = input_of(content_type)
        if kind is Input.IMAGE:
            return images_of(body, kind, self._image, self._max_images)
        images = await self._in(self._decoding, images_of, body, kind, self._image, self._max_images)
        ticket.announce(len(images))
        return images

    async def _predict(self, images: Any, ticket: Ticket) -> Any:
        """Return probabilities, shape (images, classes); by a predict_fn of the user's, what that returns."""
        if self._batcher is not None:
            if self._functions.input is not None:
                images = await self._in(self._decoding, self._pixels_of, images)
                ticket.announce(len(images))
            return np.stack(await self._each(images, partial(self._probabilities, self._batcher, ticket)))
        count = None
        if self._functions.input is None:
            count = len(images)
            # All of them are in memory at a time, decoded.
            ticket.hold(count * self._image.height * self._image.width * self._image.channels)
            images = np.stack(await self._each(images, self._pixels))
        prediction = await self._in(self._model_thread, self._functions.predict_with, images, self._model)
        if self._functions.output is not None:
            return prediction
        return self._functions.as_probabilities(prediction, count, len(self._folder.classes))

    async def _write(self, prediction: Any, accept: str) -> Answer:
        if self._functions.output is not None:
            return await self._in(self._answering, self._functions.write, prediction, accept)
        output, classes = output_of(accept), self._folder.classes
        if prediction.size <= QUICKLY_WRITTEN:
            return answer(output, prediction, classes)
        return await self._in(self._answering, answer, output, prediction, classes)

    def _pixels_of(self, data: Any) -> Sequence[NDArray[Any]]:
        """Return what input_fn returned as the pixels of images."""
        return at_most(self._max_images, self._functions.as_pixels(data, self._image))

    async def _probabilities(self, batcher: Batcher, ticket: Ticket, source: Source) -> NDArray[np.float32]:
        pixels = await self._pixels(source)
        ticket.arrived()
        return await batcher.predict(pixels)

    async def _pixels(self, source: Source) -> NDArray[Any]:
        """Return the pixels of an image, shape (height, width, channels)."""
        if isinstance(source, Link):
            source = Encoded(await self._in(self._fetching, self._fetch, source.url))
        if isinstance(source, Encoded):
            return await self._in(self._decoding, self._decoder, source.content)
        return source

    async def _each(self, images: Sequence[Source], function: Callable[[Source], Any]) -> list[NDArray[Any]]:
        """Return what a function makes of each image; of one request's images only so many are on their way at a time.

        Raises:
            RefusedError: one image cannot be answered; the others are given up.
        """
        if len(images) == 1:
            return [await function(images[0])]
        results: list[Any] = [None] * len(images)
        numbered = enumerate(images)

        async def work() -> None:
            for position, image in numbered:
                try:
                    results[position] = await function(image)
                except RefusedError as error:
                    raise error.of_image(position + 1, len(images)) from None

        workers = [asyncio.create_task(work()) for _ in range(min(len(images), self._max_together))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
        return results

    async def _in(self, threads: ThreadPoolExecutor, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(threads, function, *arguments)
