"""Calls the user's own model_fn, input_fn, predict_fn and output_fn, and checks what they return."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from container.modeling.container_settings import Image
from container.modeling.own_parts.checked import Part
from container.modeling.own_parts.errors import failure
from container.modeling.own_parts.parts import load_function
from container.modeling.own_parts.serving_functions import (
    INPUT_FN,
    MODEL_FN,
    OUTPUT_FN,
    PREDICT_FN,
    chosen_serving_functions,
)
from container.modeling.serving_settings import Serving
from container.serving.answers import Answer
from container.serving.bodies import checked_pixels
from container.serving.errors import BrokenPartError, RefusedError
from container.serving.media_types import Output, single_type

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OwnFunctions:
    """What the settings name of the user's own; None: the project's own way."""

    model: Part | None = None
    input: Part | None = None
    predict: Part | None = None
    output: Part | None = None

    @classmethod
    def load(cls, settings: Serving) -> Self:
        """Import what the settings name.

        Raises:
            PartError: a module cannot be imported, or a function does not take what it is called with.
        """
        parts = {choice.kind: load_function(choice) for choice in chosen_serving_functions(settings)}
        return cls(*(parts.get(kind) for kind in (MODEL_FN, INPUT_FN, PREDICT_FN, OUTPUT_FN)))

    def load_model(self, folder: Path) -> Any:
        """Return the user's model.

        Raises:
            PartError: model_fn failed.
        """
        assert self.model is not None
        return self.model.run(str(folder))

    def read(self, body: bytes, content_type: str) -> Any:
        """Return what input_fn makes of a body.

        Raises:
            RefusedError: input_fn refuses it.
            BrokenPartError: input_fn failed.
        """
        return _called(self.input, body, content_type)

    def predict_with(self, data: Any, model: Any) -> Any:
        """Return what predict_fn predicts.

        Raises:
            RefusedError: predict_fn refuses the data.
            BrokenPartError: predict_fn failed.
        """
        return _called(self.predict, data, model)

    def write(self, prediction: Any, accept: str) -> Answer:
        """Return the answer that output_fn makes of a prediction.

        Raises:
            RefusedError: output_fn refuses the Accept.
            BrokenPartError: output_fn failed, or returned no answer.
        """
        result = _called(self.output, prediction, accept)
        plain_type = single_type(accept) or Output.JSON
        body, content_type = result if isinstance(result, tuple) and len(result) == 2 else (result, plain_type)
        body = body.encode() if isinstance(body, str) else body
        if not isinstance(body, bytes | bytearray) or not isinstance(content_type, str):
            raise _broken(
                self.output, f"must return text or bytes, or (these, content type); it returned {type(result).__name__}"
            )
        if not (content_type.isascii() and content_type.isprintable()):
            raise _broken(self.output, f"returned the content type {content_type!r}, which no header can hold")
        return Answer(bytes(body), content_type)

    def as_pixels(self, data: Any, image: Image) -> NDArray[Any]:
        """Return what input_fn returned as pixels, shape (images, height, width, channels).

        Raises:
            BrokenPartError: they are none, or not those that the model takes.
        """
        with _explained(self.input):
            pixels = np.asarray(data)
        try:
            return checked_pixels(pixels, image)
        except RefusedError as error:
            found = type(data).__name__ if pixels.dtype == object else f"{pixels.dtype} of shape {pixels.shape}"
            raise _broken(self.input, f"must return the model's pixels; it returned {found}: {error}") from None

    def as_probabilities(self, prediction: Any, image_count: int | None, class_count: int) -> NDArray[np.float32]:
        """Return what predict_fn returned as the probabilities of each image, shape (images, classes).

        Args:
            prediction: of all images; of one it may be of shape (classes,).
            image_count: how many images predict_fn was given; None: what an input_fn returned.
            class_count: how many classes there are.

        Raises:
            BrokenPartError: they are none, or of another number of images.
        """
        with _explained(self.predict):
            probabilities = np.asarray(prediction, np.float32)
        if probabilities.ndim == 1:
            probabilities = probabilities[None]
        is_table = probabilities.ndim == 2 and probabilities.shape[1] == class_count
        is_whole = is_table and image_count in (None, len(probabilities))
        if not is_whole or not np.isfinite(probabilities).all():
            raise _broken(
                self.predict,
                f"must return finite numbers of shape ({image_count or 'images'}, {class_count}); it returned an array "
                f"of shape {probabilities.shape}: or set serving.output_fn, which is given whatever predict_fn returns",
            )
        return probabilities


def _called(part: Part | None, *arguments: Any) -> Any:
    assert part is not None
    with _explained(part):
        return part.function(*arguments)


@contextmanager
def _explained(part: Part | None) -> Iterator[None]:
    assert part is not None
    try:
        yield
    except RefusedError:
        raise
    # sys.exit() and the like would end the server: it runs in a thread, where nobody presses Ctrl-C.
    except BaseException as error:
        # Logs the traceback.
        logger.error("%s", failure(str(part.choice), error))
        raise BrokenPartError(f"{part.choice} failed: the server's log says why") from None


def _broken(part: Part | None, rule: str) -> BrokenPartError:
    assert part is not None
    logger.error("%s", part.refused(rule))
    return BrokenPartError(f"{part.choice} returned what it must not: the server's log says more")
