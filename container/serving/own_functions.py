"""Calls the user's own model_fn, input_fn, predict_fn and output_fn, and checks what they return."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

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
from container.serving.errors import BrokenPartError, RefusedError

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
        body, content_type = result if isinstance(result, tuple) and len(result) == 2 else (result, accept)
        body = body.encode() if isinstance(body, str) else body
        if not isinstance(body, bytes | bytearray) or not isinstance(content_type, str):
            raise _broken(
                self.output, f"must return text or bytes, or (these, content type); it returned {type(result).__name__}"
            )
        return Answer(bytes(body), content_type)

    def as_probabilities(self, prediction: Any, class_count: int) -> NDArray[np.float32]:
        """Return what predict_fn returned as the probabilities of each image, shape (images, classes).

        Raises:
            BrokenPartError: they are none.
        """
        with _explained(self.predict):
            probabilities = np.asarray(prediction, np.float32)
        if probabilities.ndim == 1:
            probabilities = probabilities[None]
        is_table = probabilities.ndim == 2 and probabilities.shape[1] == class_count
        if not is_table or not np.isfinite(probabilities).all():
            raise _broken(
                self.predict,
                f"must return finite numbers of shape (images, {class_count}); it returned an array of shape "
                f"{probabilities.shape}: or set serving.output_fn, which is given whatever predict_fn returns",
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
    except Exception as error:
        # Logs the traceback.
        logger.error("%s", failure(str(part.choice), error))
        raise BrokenPartError(f"{part.choice} failed: the server's log says why") from None


def _broken(part: Part | None, rule: str) -> BrokenPartError:
    assert part is not None
    logger.error("%s", part.refused(rule))
    return BrokenPartError(f"{part.choice} returned what it must not: the server's log says more")
